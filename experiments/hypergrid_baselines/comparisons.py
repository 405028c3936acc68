"""Which two baselines are compared, and by how much one is better: by pairs of replicas with one seed.

A pair starts from the same parameters and draws from the same stream of random numbers, so that its ratio of JSDs is that of the
baselines as far as chance can be held fixed; training soon drives the two apart. Verdicts are those of claims.py (two-sided test
of Mann and Whitney at 5%, not paired): five pairs can decide nothing by their signs (2 / 2^5 = 6%).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD

from gfn_vi.analysis.pictures.arms import OBJECTIVES, SIDES, uncapitalized
from gfn_vi.analysis.reading.curves import curves, shared_values
from gfn_vi.analysis.statistics.claims import Groups, better
from gfn_vi.analysis.statistics.estimates import area_under_curve

NAMES = {name: uncapitalized(OBJECTIVES[name]) for name in ("reverse_kl", "forward_kl", "reverse_wake_sleep")}
SETTINGS = {name + side: f"{NAMES[name]} {when.lower()}" for name in NAMES for side, when in SIDES.items()}
BASELINE = "config.objective.baseline._target_"
BASELINES = {
    "GlobalLogZ": "log Z",
    "BatchMean": "batch mean",
    "NoBaseline": "none",
    "LeaveOneOut": "leave-one-out",
    "Optimal": "optimal",
}
# What claims.py asks: is the first better than the second?
COMPARED = (
    ("GlobalLogZ", "BatchMean"),
    ("GlobalLogZ", "NoBaseline"),
    ("LeaveOneOut", "BatchMean"),
    ("Optimal", "GlobalLogZ"),
)
FINAL, AREA = "Ratio of JSDs at the end", "Ratio of mean JSDs over training"

Key = tuple[str, str]  # (arm, class of the baseline)


class Comparison(NamedTuple):
    """ratios: [R] JSD of the second / JSD of the first, by pairs of one seed; is_better: the first, None where undecided.

    Runs that have no seed in common can be compared, and have no ratios.
    """

    ratios: np.ndarray
    is_better: bool | None


def curves_of(table: pd.DataFrame) -> Groups[Key]:
    """Return (arm, class of the baseline) -> curve of the JSD over the finished runs."""
    found = curves(table, "jsd", ["arm", BASELINE], worst=WORST_JSD)
    return Groups({(arm, path.rpartition(".")[2]): curve for (arm, path), curve in found.items()})


def heights(measure: str, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return FINAL or AREA of replicas: [R], from their values [R, N] at x [N]."""
    return values[:, -1] if measure == FINAL else area_under_curve(x, values)


def comparison(found: Groups[Key], arm: str, first: str, second: str, measure: str) -> Comparison:
    """Compare two baselines of an arm. Raises UnfinishedError where one of them has no finished run."""
    one, other = found[arm, first], found[arm, second]
    mine, theirs = shared_values(one, other)
    verdict = better(heights(measure, one.x, one.values), heights(measure, other.x, other.values))
    return Comparison(heights(measure, other.x, theirs) / heights(measure, one.x, mine), verdict)
