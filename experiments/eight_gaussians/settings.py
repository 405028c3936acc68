"""The settings of the experiment and what was measured of each: squared MMD, its floor, and when replicas became non-finite.

A setting is an arm at a number of steps T. An arm is the name of an objective, with a suffix where every step is widened.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from gfn_vi.experiments import paper_arms
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.reading.curves import Curve, curves
from gfn_vi.analysis.statistics.claims import first_time
from gfn_vi.core.headline import Headline

N_STEPS = "config.sampler.n_steps"
# Twice the largest value of the kernel: no two distributions have a larger squared MMD.
SQUARED_MMD = Headline("squared_mmd", "minimize", 2.0, "squared MMD to exact samples")
# Modified detailed balance has no version for densities: it needs a stop action in every state.
OBJECTIVES = {name: label for name, label in paper_arms.OBJECTIVES.items() if name != "modified_detailed_balance"}
SIDES = {"": "On-policy", OFF_POLICY: "Widened by 0.1"}
ARMS = tuple(name + side for side in SIDES for name in OBJECTIVES)
TRAINS_BACKWARD_BY_FORWARD_KL = ("forward_kl", "reverse_wake_sleep")


class Setting(NamedTuple):
    """Replicas of one arm at one T: squared MMD and its floor along training, and trajectories until non-finite (inf: never)."""

    mmd: Curve
    floor: Curve
    failed_after: np.ndarray


def settings(table: pd.DataFrame, x: str = "trajectories") -> dict[tuple[str, int], Setting]:
    """(arm, T) -> what its finished runs have measured; a frozen replica has the worst squared MMD from then on."""
    by = ["arm", N_STEPS]
    mmd = curves(table, SQUARED_MMD.metric, by, x, SQUARED_MMD.worst)
    floor = curves(table, f"{SQUARED_MMD.metric}_floor", by, x)
    frozen = curves(table, "frozen", by)
    return {
        (str(arm), int(n_steps)): Setting(curve, floor[arm, n_steps], _first_frozen(frozen[arm, n_steps]))
        for (arm, n_steps), curve in mmd.items()
    }


def _first_frozen(frozen: Curve) -> np.ndarray:
    return first_time(frozen.x, frozen.values, 1.0)


def parts(arm: str) -> tuple[str, str]:
    """Return the objective and the side of an arm."""
    side = OFF_POLICY if arm.endswith(OFF_POLICY) else ""
    return arm.removesuffix(side), side
