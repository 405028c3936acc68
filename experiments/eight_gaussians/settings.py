"""The settings of the experiment and what was measured of each: distances to the target, and when replicas became non-finite.

A setting is an arm at a number of steps T. An arm is the name of an objective, with a suffix where every step is widened.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from gfn_vi.experiments import paper_arms
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import arms
from gfn_vi.analysis.reading.curves import Curve, curves
from gfn_vi.analysis.statistics.claims import first_time
from gfn_vi.core.headline import Headline

N_STEPS = "config.sampler.n_steps"
# Twice the largest value of the kernel: no two distributions have a larger squared MMD.
SQUARED_MMD = Headline("squared_mmd", "minimize", 2.0, "squared MMD to exact samples")
# Modified detailed balance has no version for densities: it needs a stop action in every state.
OBJECTIVES = {name: label for name, label in paper_arms.OBJECTIVES.items() if name != "modified_detailed_balance"}
SIDES = arms.SIDES | {OFF_POLICY: "Widened by 0.1"}
ARMS = tuple(name + side for side in SIDES for name in OBJECTIVES)
TRAINS_BACKWARD_BY_FORWARD_KL = ("forward_kl", "reverse_wake_sleep")


class Setting(NamedTuple):
    """Replicas of one arm at one T along training.

    mmd: squared, and floor: of two sets of exact samples. mode_mass_error: total variation between shares and masses of modes.
    gap: EUBO - ELBO in nats. failed_after: trajectories until a replica became non-finite (inf: never), [R].
    """

    mmd: Curve
    floor: Curve
    mode_mass_error: Curve
    gap: Curve
    failed_after: np.ndarray


def settings(table: pd.DataFrame, x: str = "trajectories") -> dict[tuple[str, int], Setting]:
    """(arm, T) -> what its finished runs have measured; a frozen replica has the worst value of each distance from then on."""
    by = ["arm", N_STEPS]
    mmd = curves(table, SQUARED_MMD.metric, by, x, SQUARED_MMD.worst)
    floor = curves(table, f"{SQUARED_MMD.metric}_floor", by, x)
    error = curves(table, "mode_mass_error", by, x, 1.0)
    gap = curves(table, "bound_gap", by, x, math.inf)
    frozen = curves(table, "frozen", by)
    return {
        (str(key[0]), int(key[1])): Setting(mmd[key], floor[key], error[key], gap[key], _first_frozen(frozen[key])) for key in mmd
    }


def _first_frozen(frozen: Curve) -> np.ndarray:
    return first_time(frozen.x, frozen.values, 1.0)
