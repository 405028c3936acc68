"""The conclusions of the appendix of arXiv 2210.00580 on densities, against the table of runs.

The paper has ten steps; what is said of a hundred is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from gfn_vi.experiments.eight_gaussians.settings import OBJECTIVES, SIDES, TRAINS_BACKWARD_BY_FORWARD_KL, Setting, settings
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, Groups, better, in_words, judged, together

TB = "trajectory_balance"
STEPS_OF_THE_PAPER = 10
RUNAWAY = 1000.0  # nats of EUBO - ELBO; before training it is about 35

Told = tuple[str, bool | None]
AtOneT = Groups[str]  # arm -> Setting


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the conclusions at every T that has finished runs."""
    found = settings(table)
    return [claim for n_steps in sorted({n for _, n in found}) for claim in _at(n_steps, found)]


def _at(n_steps: int, found: Mapping[tuple[str, int], Setting]) -> list[Claim]:
    at: AtOneT = Groups({arm: setting for (arm, n), setting in found.items() if n == n_steps})
    start = f"T = {n_steps}:" if n_steps == STEPS_OF_THE_PAPER else f"(Not in the paper) T = {n_steps}:"
    others = [name for name in OBJECTIVES if name not in TRAINS_BACKWARD_BY_FORWARD_KL]
    return [
        judged(f"{start} widened by 0.1, TB ends with a lower squared MMD than on-policy.", lambda: _widened_is_better(at)),
        judged(f"{start} forward KL and reverse wake-sleep, which train P_B by forward KL, become NaN.", lambda: _fail(at)),
        judged(
            f"(Not in the paper) T = {n_steps}: P_B of these two runs away, EUBO - ELBO ends above {RUNAWAY:,.0f} nats.",
            lambda: _run_away(at),
        ),
        judged(f"{start} the other objectives stay finite.", lambda: _stay_finite(at, others)),
        judged(
            f"(Not in the paper) T = {n_steps}: widened by 0.1, TB ends with the lowest squared MMD of the objectives.",
            lambda: _lowest(at),
        ),
    ]


def _widened_is_better(at: AtOneT) -> Told:
    widened, on_policy = at[TB + OFF_POLICY].mmd.final, at[TB].mmd.final
    told = f"median squared MMD at the end: widened {in_words(widened)}, on-policy {in_words(on_policy)}"
    return f"{told}; floor {in_words(at[TB].floor.final)}", better(widened, on_policy)


def _fail(at: AtOneT) -> Told:
    """Yes where all replicas of all four arms fail, no where those of one of them do not."""
    after = {name + side: at[name + side].failed_after for name in TRAINS_BACKWARD_BY_FORWARD_KL for side in SIDES}
    return _failures(after), together(_all_or_none(np.isfinite(times)) for times in after.values())


def _run_away(at: AtOneT) -> Told:
    """Judge as for NaN."""
    gaps = {name + side: at[name + side].gap.final for name in TRAINS_BACKWARD_BY_FORWARD_KL for side in SIDES}
    told = (f"{arm} {(gap > RUNAWAY).sum()} of {len(gap)} (median {np.median(gap):.3g})" for arm, gap in gaps.items())
    return f"replicas: {', '.join(told)}", together(_all_or_none(gap > RUNAWAY) for gap in gaps.values())


def _all_or_none(replicas: np.ndarray) -> bool | None:
    """Return True or False where it is true or false of every replica [R], of enough of them."""
    if len(replicas) < FEWEST_REPLICAS or replicas.any() != replicas.all():
        return None
    return bool(replicas.all())


def _stay_finite(at: AtOneT, names: list[str]) -> Told:
    after = {name + side: at[name + side].failed_after for name in names for side in SIDES}
    if any(np.isfinite(times).any() for times in after.values()):
        return _failures(after), False
    enough = min(len(times) for times in after.values()) >= FEWEST_REPLICAS
    return _failures(after), True if enough else None


def _failures(after: Mapping[str, np.ndarray]) -> str:
    """Return in words how many replicas of each arm became non-finite, and when the first did."""
    told = []
    for arm, times in after.items():
        first = f" (first after {times.min():,.0f} trajectories)" if math.isfinite(times.min()) else ""
        told.append(f"{arm} {np.isfinite(times).sum()} of {len(times)}{first}")
    return f"replicas that became non-finite: {', '.join(told)}"


def _lowest(at: AtOneT) -> Told:
    best = at[TB + OFF_POLICY].mmd.final
    others = {name: at[name + OFF_POLICY].mmd.final for name in OBJECTIVES if name != TB}
    runner_up = min(others, key=lambda name: float(np.median(others[name])))
    told = f"median squared MMD at the end: TB {in_words(best)}, best of the others {OBJECTIVES[runner_up]}"
    return f"{told} {in_words(others[runner_up])}", together(better(best, values) for values in others.values())
