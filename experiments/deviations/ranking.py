"""Does an order of methods change between two conditions? Kendall's tau of the rankings by median, and pairs that turn over.

Both come with what the replicas can say: tau with its bootstrap interval (replicas resampled within every method), and a pair
counts as turned over only if its order is decided, and differently, in both conditions. Replicas are in the order of their seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from gfn_vi.analysis.statistics.claims import better
from gfn_vi.analysis.statistics.estimates import Interval

Values = Mapping[str, np.ndarray]  # method -> [n_replicas], lower is better


def ranking(values: Values) -> list[str]:
    """The methods from the best to the worst median."""
    return sorted(values, key=lambda name: float(np.median(values[name])))


def kendall_tau(a: Values, b: Values, level: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> Interval:
    """tau-b between the rankings of the methods of `a`, which `b` has too, in both conditions, with its bootstrap interval.

    1: the same order, -1: the opposite one. Replicas are resampled within each method: the same ones in both conditions,
    which share their seeds, so that a method that a condition does not touch adds nothing. The bounds are NaN where a method has
    one replica; draws in which all methods of a condition tie have no tau and are left out. Fewer than two methods have no tau,
    it is NaN. Raises ValueError where numbers differ.
    """
    if len(a) < 2:
        return Interval(*np.full(3, np.nan))
    rng = np.random.default_rng(seed)
    estimates, draws = [], []
    for name in a:
        pair = np.stack([np.asarray(a[name], dtype=np.float64), np.asarray(b[name], dtype=np.float64)])
        estimates.append(np.median(pair, axis=1))
        draws.append(np.median(pair[:, rng.integers(pair.shape[1], size=(n_resamples, pair.shape[1]))], axis=2))
    drawn = np.array([kendalltau(x, y).statistic for x, y in zip(*np.stack(draws, axis=-1), strict=True)])
    tail = (1 - level) / 2
    drawn = drawn[np.isfinite(drawn)]
    known = len(drawn) > 0 and min(len(values) for values in a.values()) > 1
    low, high = np.quantile(drawn, [tail, 1 - tail]) if known else np.full(2, np.nan)
    return Interval(low, np.asarray(kendalltau(*np.stack(estimates, axis=-1)).statistic), high)


def turned_over(a: Values, b: Values) -> list[tuple[str, str]]:
    """Pairs (x, y) with x better than y in `a` and worse in `b`, both decided (`better`)."""
    pairs = [pair for x, y in combinations(a, 2) for pair in ((x, y), (y, x))]
    return [(x, y) for x, y in pairs if better(a[x], a[y]) and better(b[y], b[x])]
