"""The settings of the experiment, and the correlation of log P_T with log R that the replicas of each reach.

A setting is an arm at a rate of P_F and an exponent beta of the reward, as it should be or as published: with the deviations of
the published code that touch it (arXiv 2210.00580, section 4.2). Training counted a stop as possible where it is not; the density
of the behavior did not know of forced stops, of which there are none on-policy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from gfn_vi.experiments.paper_arms import OBJECTIVES as ALL_OBJECTIVES
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.reading.curves import Curve, curves
from gfn_vi.analysis.statistics.claims import Groups
from gfn_vi.core.headline import Headline

CORRELATION = Headline("log_p_correlation", "maximize", -1.0, "correlation of log P_T with log R on held-out molecules")
RANK_CORRELATION = "log_p_rank_correlation"
BETA, RATE, DEVIATION = "config.target.beta", "config.optimizer.lr_forward", "config.deviation_name"
OBJECTIVES = {name: ALL_OBJECTIVES[name] for name in ("trajectory_balance", "reverse_kl", "forward_kl", "wake_sleep")}
ARMS = ("trajectory_balance", "reverse_kl", *(name + OFF_POLICY for name in OBJECTIVES))
NONE, ILLEGAL, BOTH = "none", "illegal_stop", "illegal_stop_and_uncounted_early_stops"


class Condition(NamedTuple):
    """The beta and the faults that the settings of one panel share."""

    beta: float
    is_as_published: bool


class Rates(Groups[float]):
    """The curves of one arm, one for each rate of P_F."""

    @property
    def final(self) -> np.ndarray:
        """Return the last values of the replicas of all rates: [rates * R]."""
        return np.concatenate([self[rate].final for rate in sorted(self)])

    @property
    def initial(self) -> np.ndarray:
        """Return the values before training of the seeds of one rate, which those of every other rate share: [R]."""
        return np.asarray(self[min(self)].values[:, 0])

    @property
    def seeds(self) -> list[tuple[float, int]]:
        """Return the rate and the seed of each."""
        return [(rate, seed) for rate in sorted(self) for seed in self[rate].seeds]


def settings(table: pd.DataFrame, metric: str = CORRELATION.metric) -> dict[tuple[str, float, float, str], Curve]:
    """Return (arm, beta, rate of P_F, deviation or "none") -> what its finished runs have measured; the worst is -1.

    Raises TableError for a missing column.
    """
    found = curves(table, metric, ["arm", BETA, RATE, DEVIATION], worst=CORRELATION.worst)
    order = {arm: place for place, arm in enumerate(ARMS)}
    named = {
        (str(arm), float(beta), float(rate), deviation if isinstance(deviation, str) else NONE): curve
        for (arm, beta, rate, deviation), curve in found.items()
    }
    return dict(sorted(named.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])))


def conditions(table: pd.DataFrame) -> dict[Condition, Groups[str]]:
    """Return condition -> arm -> correlations by rate, in the order of beta, each as it should be before as published.

    An arm that lacks a rate which others of its condition have is left out: its replicas would be of other settings than theirs.
    """
    found: dict[Condition, Groups[str]] = {}
    for (arm, beta, rate, deviation), curve in settings(table).items():
        published = BOTH if arm.endswith(OFF_POLICY) else ILLEGAL
        if deviation in (NONE, published):
            by_arm = found.setdefault(Condition(beta, deviation == published), Groups())
            by_arm.setdefault(arm, Rates())[rate] = curve
    for by_arm in found.values():
        most = max(map(len, by_arm.values()))
        for arm in [arm for arm, rates in by_arm.items() if len(rates) < most]:
            del by_arm[arm]
    return dict(sorted(found.items()))
