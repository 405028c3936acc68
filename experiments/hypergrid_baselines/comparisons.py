"""Which two baselines are compared, and by how much one is better: by pairs of replicas with one seed.

A pair starts from the same parameters and draws from the same stream of random numbers, so that its ratio of JSDs is that of the
baselines as far as chance can be held fixed; training soon drives the two apart. What all pairs say is shown and decides nothing:
five pairs agree by chance in 2 / 2^5 = 6% of comparisons of baselines that do not differ. Claims are decided in claims.py, by the
test of all claims, which is not paired.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD

from gfn_vi.analysis.pictures.arms import OBJECTIVES, SIDES
from gfn_vi.analysis.reading.curves import Curve, curves, shared_values
from gfn_vi.analysis.statistics.claims import Groups
from gfn_vi.analysis.statistics.estimates import area_under_curve

SETTINGS = {
    name + side: f"{OBJECTIVES[name]}, {when.lower()}"
    for name in ("reverse_kl", "forward_kl", "reverse_wake_sleep")
    for side, when in SIDES.items()
}
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


def curves_of(table: pd.DataFrame) -> Groups[Key]:
    """Return (arm, class of the baseline) -> curve of the JSD over the finished runs."""
    found = curves(table, "jsd", ["arm", BASELINE], worst=WORST_JSD)
    return Groups({(arm, path.rpartition(".")[2]): curve for (arm, path), curve in found.items()})


def heights(measure: str, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return FINAL or AREA of replicas: [R], from their values [R, N] at x [N]."""
    return values[:, -1] if measure == FINAL else area_under_curve(x, values)


def ratios(one: Curve, other: Curve, measure: str) -> np.ndarray:
    """Return the JSD of the other divided by that of the one, by pairs of one seed: [R], empty without a seed in common."""
    mine, theirs = shared_values(one, other)
    return heights(measure, other.x, theirs) / heights(measure, one.x, mine)


def in_every_pair(of_pairs: np.ndarray) -> bool | None:
    """Return True where all ratios [R] are above 1 (the one is better), False where all are below, None where pairs disagree."""
    return True if (of_pairs > 1).all() else False if (of_pairs < 1).all() else None
