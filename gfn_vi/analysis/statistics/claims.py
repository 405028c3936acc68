"""Claims of the paper beside what was measured: what experiments/<name>/claims.py returns, reproduce prints, report shows.

A comparison of two groups of replicas is decided by the two-sided test of Mann and Whitney at 5% (exact for few replicas, equal
values or not): what is not significant is undecided. 3 replicas against 3 can decide nothing, 4 against 4 only if they lie
apart, 5 against 5 tell groups that do not differ apart in 3% of comparisons. Comparisons are not corrected for their number: of
11 with five replicas a third of one is expected to be decided by chance, and any correction would let 5 against 5 decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from gfn_vi.analysis.statistics.estimates import interval, probability_of_improvement
from gfn_vi.runs.folders import TableError

CLAIMS_FILE, CLAIMS_COLUMNS = "claims.csv", ["claim", "measured", "agrees"]
LEVEL = 0.05
# Ways to deal values that tie to two groups: up to 10 against 10 all of them are counted, beyond so many are drawn.
MOST_DEALS = 200_000
FEWEST_REPLICAS = 4  # that can support a statement about all replicas
VERDICTS = {True: "yes", False: "no", None: "undecided"}


class Claim(NamedTuple):
    """claim: of the paper, a sentence; measured: here, with numbers; agrees: None where the tests cannot tell."""

    claim: str
    measured: str
    agrees: bool | None

    @property
    def verdict(self) -> str:
        """yes, no or undecided."""
        return VERDICTS[self.agrees]


Key = TypeVar("Key")


class UnfinishedError(TableError):
    """A claim needs runs that are not there."""


class Groups(dict[Key, Any]):
    """The measurements of each group; asking for a group that has no finished runs is an UnfinishedError."""

    def __missing__(self, key: Key) -> Any:
        raise UnfinishedError(", ".join(map(str, key)) if isinstance(key, tuple) else str(key))


def judged(claim: str, judge: Callable[[], tuple[str, bool | None]]) -> Claim:
    """The claim with what `judge` has measured and decided; undecided where runs that it needs are not done."""
    try:
        return Claim(claim, *judge())
    except UnfinishedError as error:
        return Claim(claim, f"not measured: no finished run of {error}", None)


def p_value(x: np.ndarray, y: np.ndarray) -> float:
    """Return the p-value of the two-sided Mann-Whitney test that replicas `x` [n] and `y` [m] come from one distribution.

    Where values are equal, as those of replicas that failed are, it is the share of all ways to deal the values to two groups of
    these sizes that are as far apart, counted up to MOST_DEALS ways and else estimated from so many of a fixed seed: scipy's
    normal approximation, its default there, calls 3 against 3 decided.
    """
    from scipy.stats import PermutationMethod, mannwhitneyu

    if len(np.unique(np.concatenate([x, y]))) == len(x) + len(y):
        return float(mannwhitneyu(x, y).pvalue)
    if 1 in (len(x), len(y)):  # which scipy's counting refuses: all values are equally likely to be the single one
        (single,), pooled = (x, y)[len(x) > 1], np.concatenate([x, y])
        return min(1.0, 2 * min(float((pooled <= single).mean()), float((pooled >= single).mean())))
    return float(mannwhitneyu(x, y, method=PermutationMethod(MOST_DEALS, rng=np.random.default_rng(0))).pvalue)


def better(x: np.ndarray, y: np.ndarray, lower_is_better: bool = True) -> bool | None:
    """Whether a replica of `x` [n] is more likely than not better than one of `y` [m]; None where that is undecided."""
    if p_value(x, y) >= LEVEL:
        return None
    return float(probability_of_improvement(x, y, lower_is_better).estimate) > 0.5


def together(verdicts: Iterable[bool | None]) -> bool | None:
    """Return the verdict on a claim that has several parts: False if one is, True if all are, else None."""
    found = list(verdicts)
    if False in found:
        return False
    return None if None in found else True


def first_time(x: np.ndarray, values: np.ndarray, at_least: float) -> np.ndarray:
    """The first of `x` [N] at which each row of `values` [R, N] reaches `at_least`; inf for one that never does: [R]."""
    reached = values >= at_least
    return np.where(reached.any(1), np.asarray(x, dtype=np.float64)[reached.argmax(1)], np.inf)


def in_words(values: np.ndarray, statistic: str = "median") -> str:
    """Return "0.0023 (0.0014 to 0.0058)": the statistic of `values` [R] with its 95% interval, which one replica has not."""
    return interval(values, statistic).in_words()


def undecided(claims: Iterable[Claim], remark: str) -> list[Claim]:
    """Return the claims without their verdicts, the reason before what was measured: runs of a preset that decides nothing."""
    reason = remark.partition(":")[0]
    return [Claim(claim.claim, f"{reason}; {claim.measured}", None) for claim in claims]


def write_claims(claims: Sequence[Claim], folder: Path) -> Path:
    """<folder>/claims.csv: claim, measured, agrees (yes, no, undecided)."""
    path = folder / CLAIMS_FILE
    rows = [(claim.claim, claim.measured, claim.verdict) for claim in claims]
    pd.DataFrame(rows, columns=CLAIMS_COLUMNS).to_csv(path, index=False, lineterminator="\n")
    return path
