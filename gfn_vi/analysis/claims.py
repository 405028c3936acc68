"""Claims of the paper beside what was measured: what experiments/<name>/claims.py returns, reproduce prints, report shows.

A comparison is decided by an interval: P(X is better than Y) over pairs of replicas above 1/2 agrees, below 1/2
disagrees, an interval around 1/2 is undecided with these seeds. With fewer than 4 replicas on a side nothing is decided:
3 against 3 lie apart by chance in 1 of 10 cases, 4 against 4 in 1 of 35. Groups that do not differ are told apart in 6% of
comparisons of 4 with 4, 10% of 5 with 5, 5% of 10 with 10; several comparisons are not corrected for their number.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gfn_vi.analysis.statistics import interval, probability_of_improvement

CLAIMS_FILE = "claims.csv"
FEWEST_REPLICAS = 4
VERDICTS = {True: "yes", False: "no", None: "undecided"}


class Claim(NamedTuple):
    """claim: of the paper, a sentence; measured: here, with numbers; agrees: None where the intervals cannot tell."""

    claim: str
    measured: str
    agrees: bool | None

    @property
    def verdict(self) -> str:
        """yes, no or undecided."""
        return VERDICTS[self.agrees]


def better(x: np.ndarray, y: np.ndarray, lower_is_better: bool = True) -> bool | None:
    """Whether a replica of `x` [n] is more likely than not better than one of `y` [m]; None where that is undecided."""
    if min(len(x), len(y)) < FEWEST_REPLICAS:
        return None
    low, _, high = probability_of_improvement(x, y, lower_is_better)
    if low > 0.5:
        return True
    return False if high < 0.5 else None


def together(verdicts: Iterable[bool | None]) -> bool | None:
    """Of a claim that has several parts: False if one is, True if all are."""
    found = list(verdicts)
    if False in found:
        return False
    return None if None in found else True


def first_time(x: np.ndarray, values: np.ndarray, at_least: float) -> np.ndarray:
    """The first of `x` [N] at which each row of `values` [R, N] reaches `at_least`; inf for one that never does: [R]."""
    reached = values >= at_least
    return np.where(reached.any(1), np.asarray(x, dtype=np.float64)[reached.argmax(1)], np.inf)


def in_words(values: np.ndarray, statistic: str = "median") -> str:
    """ "2.3e-03 (1.4e-03 to 5.8e-03)": the statistic of `values` [R] with its 95% interval, which one replica does not have."""
    low, estimate, high = map(float, interval(values, statistic))
    return f"{estimate:.3g}" if math.isnan(low) else f"{estimate:.3g} ({low:.3g} to {high:.3g})"


def write_claims(claims: Sequence[Claim], folder: Path) -> Path:
    """<folder>/claims.csv: claim, measured, agrees (yes, no, undecided)."""
    path = folder / CLAIMS_FILE
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("claim", "measured", "agrees"))
        writer.writerows((claim.claim, claim.measured, claim.verdict) for claim in claims)
    return path
