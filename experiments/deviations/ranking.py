"""Does an order of methods change between two conditions? Ranks by the median, Kendall's tau, and pairs that turn over.

All come with what the replicas can say: ranks and tau with bootstrap intervals (replicas resampled within every method), and a
pair counts as decided only if its order is (`better`). Replicas are in the order of their seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, rankdata

from gfn_vi.analysis.statistics.claims import better
from gfn_vi.analysis.statistics.estimates import Interval

Values = Mapping[str, np.ndarray]  # method -> [n_replicas], lower is better
LEVEL = 0.95
N_RESAMPLES = 2000


def ranking(values: Values) -> list[str]:
    """The methods from the best to the worst median."""
    return sorted(values, key=lambda name: float(np.median(values[name])))


def rank_intervals(values: Values, level: float = LEVEL, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Return method -> its rank by the median, with its bootstrap interval.

    1 is best, equal medians share the mean of their ranks. Replicas are resampled within each method; bounds are ranks that were
    drawn, and NaN where a method has one replica.
    """
    rng = np.random.default_rng(seed)
    medians = np.array([np.median(of_method) for of_method in values.values()])
    drawn = np.stack([_drawn_medians(of_method, n_resamples, rng) for of_method in values.values()], axis=1)
    ranks, tail = rankdata(drawn, axis=1), (1 - level) / 2
    low, high = np.quantile(ranks, tail, axis=0, method="lower"), np.quantile(ranks, 1 - tail, axis=0, method="higher")
    if min(len(of_method) for of_method in values.values()) == 1:
        low, high = np.full((2, len(values)), np.nan)
    return {name: Interval(*bounds) for name, *bounds in zip(values, low, rankdata(medians), high, strict=True)}


def kendall_tau(a: Values, b: Values, level: float = LEVEL, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Interval:
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
        pair = np.stack([np.asarray(a[name], dtype=np.float64), np.asarray(b[name], dtype=np.float64)], axis=1)
        estimates.append(np.median(pair, axis=0))
        draws.append(_drawn_medians(pair, n_resamples, rng).T)
    drawn = np.array([kendalltau(x, y).statistic for x, y in zip(*np.stack(draws, axis=-1), strict=True)])
    tail = (1 - level) / 2
    drawn = drawn[np.isfinite(drawn)]
    known = len(drawn) > 0 and min(len(values) for values in a.values()) > 1
    low, high = np.quantile(drawn, [tail, 1 - tail]) if known else np.full(2, np.nan)
    return Interval(low, np.asarray(kendalltau(*np.stack(estimates, axis=-1)).statistic), high)


def _drawn_medians(values: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return the medians over replicas of resampled `values` [n_replicas, ...]: [n_resamples, ...]."""
    return np.asarray(np.median(values[rng.integers(len(values), size=(n_resamples, len(values)))], axis=1))


class Pairs(NamedTuple):
    """Pairs of methods, better one in the first condition first: decided in both alike, in both the other way round, or not."""

    kept: list[tuple[str, str]]
    turned: list[tuple[str, str]]
    undecided: list[tuple[str, str]]


def pairs(a: Values, b: Values) -> Pairs:
    """Return all pairs of the methods of `a` by whether their order (`better`) is decided in `a` and in `b`, and the same."""
    found = Pairs([], [], [])
    for x, y in combinations(a, 2):
        here, there = better(a[x], a[y]), better(b[x], b[y])
        first = (x, y) if here is not False else (y, x)
        (found.undecided if None in (here, there) else found.kept if here is there else found.turned).append(first)
    return found
