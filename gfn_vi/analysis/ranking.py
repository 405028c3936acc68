"""Does an order of methods change between two conditions? Kendall's tau of the rankings by median, and pairs that turn over.

Both come with what five replicas can say: tau with its bootstrap interval (replicas resampled within every method and
condition), and a pair counts as turned over only if its order is decided, and differently, in both conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from gfn_vi.analysis.claims import better
from gfn_vi.analysis.statistics import Interval

Values = Mapping[str, np.ndarray]  # method -> [n_replicas], lower is better


def ranking(values: Values) -> list[str]:
    """The methods from the best to the worst median."""
    return sorted(values, key=lambda name: float(np.median(values[name])))


def kendall_tau(a: Values, b: Values, level: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> Interval:
    """tau-b between the rankings of the methods of `a`, which `b` has too, in both conditions, with its bootstrap interval.

    1: the same order, -1: the opposite one. Replicas are resampled within each method and condition. An interval of the
    same condition with itself is not [1, 1]: it shows how much of the order is noise.
    """
    rng = np.random.default_rng(seed)

    def medians(values: Values) -> tuple[np.ndarray, np.ndarray]:
        kept = [np.asarray(values[name], dtype=np.float64) for name in a]
        draws = [v[rng.integers(len(v), size=(n_resamples, len(v)))] for v in kept]
        return np.array([np.median(v) for v in kept]), np.stack([np.median(d, axis=1) for d in draws], axis=1)

    (of_a, drawn_a), (of_b, drawn_b) = medians(a), medians(b)
    drawn = np.array([kendalltau(x, y).statistic for x, y in zip(drawn_a, drawn_b, strict=True)])
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(low, np.asarray(kendalltau(of_a, of_b).statistic), high)


def turned_over(a: Values, b: Values) -> list[tuple[str, str]]:
    """Pairs (x, y) with x better than y in `a` and worse in `b`, both decided by their intervals."""
    pairs = [pair for x, y in combinations(a, 2) for pair in ((x, y), (y, x))]
    return [(x, y) for x, y in pairs if better(a[x], a[y]) and better(b[y], b[x])]
