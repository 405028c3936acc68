"""The conclusions of arXiv 2210.00580 from its Fig. 1 (section 4.1), against the table of runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES, OFF_POLICY

from gfn_vi.analysis.reading.curves import Curve, curves, shared_values
from gfn_vi.analysis.statistics.claims import (
    FEWEST_REPLICAS,
    Claim,
    Groups,
    UnfinishedError,
    better,
    first_time,
    in_words,
    judged,
    together,
)

N_MODES = 4


JSD = Groups[str]  # arm -> [R], replicas by seed
Modes = Groups[str]  # arm -> Curve


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return the conclusions of section 4.1, one by one."""
    jsd: JSD = Groups({arm: curve.final for arm, curve in curves(table, "jsd", worst=WORST_JSD).items()})
    modes: Modes = Groups(curves(table, "modes_covered", worst=0.0))
    return [
        judged("Off-policy, TB reaches the lowest JSD.", lambda: _lowest(jsd, OFF_POLICY)),
        judged("On-policy, TB reaches the lowest JSD.", lambda: _lowest(jsd, "")),
        judged("Off-policy TB finds the four modes.", lambda: _finds_all(modes)),
        judged("On-policy, forward KL and wake-sleep find the four modes sooner than TB,", lambda: _sooner(modes)),
        judged("but imprecisely: their JSD ends above that of off-policy TB.", lambda: _imprecise(jsd)),
        judged("On-policy, reverse KL and reverse wake-sleep may miss modes.", lambda: _may_miss(modes)),
        judged("Off-policy sampling helps TB most.", lambda: _helped_most(table)),
    ]


def _lowest(jsd: JSD, how: str) -> tuple[str, bool | None]:
    best = jsd["trajectory_balance" + how]
    others = {name: jsd[name + how] for name in OBJECTIVES if name != "trajectory_balance"}
    runner_up = min(others, key=lambda name: float(np.median(others[name])))
    told = f"median JSD at the end: TB {in_words(best)}, best of the others {OBJECTIVES[runner_up]} {in_words(others[runner_up])}"
    return told, together(better(best, values) for values in others.values())


def _finds_all(modes: Modes) -> tuple[str, bool | None]:
    found = modes["trajectory_balance" + OFF_POLICY].final >= N_MODES
    agrees = None if found.all() and len(found) < FEWEST_REPLICAS else bool(found.all())
    return f"{found.sum()} of {len(found)} replicas do", agrees


def _sooner(modes: Modes) -> tuple[str, bool | None]:
    early = ("forward_kl", "wake_sleep")
    times = {name: _time_to_all(modes[name]) for name in (*early, "trajectory_balance")}
    told = ", ".join(f"{OBJECTIVES[name]} {_in_trajectories(found)}" for name, found in times.items())
    verdict = together(better(times[name], times["trajectory_balance"]) for name in early)
    return f"trajectories until all four are covered, median: {told}", verdict


def _time_to_all(curve: Curve) -> np.ndarray:
    return first_time(curve.x, curve.values, N_MODES)


def _in_trajectories(times: np.ndarray) -> str:
    """Return in words the median of times, some of which may be infinite."""
    middle = float(np.median(times))
    return f"{middle:,.0f}" if math.isfinite(middle) else "never in most replicas"


def _imprecise(jsd: JSD) -> tuple[str, bool | None]:
    late = ("forward_kl", "wake_sleep")
    best = jsd["trajectory_balance" + OFF_POLICY]
    told = ", ".join(f"{OBJECTIVES[name]} {in_words(jsd[name])}" for name in late)
    return f"{told}; off-policy TB {in_words(best)}", together(better(best, jsd[name]) for name in late)


def _may_miss(modes: Modes) -> tuple[str, bool | None]:
    """Judge as seen or not seen: that a few replicas miss none does not refute that others may."""
    missed = {name: modes[name].final < N_MODES for name in ("reverse_kl", "reverse_wake_sleep")}
    told = ", ".join(f"{OBJECTIVES[name]}: {which.sum()} of {len(which)}" for name, which in missed.items())
    return f"replicas that end with fewer than four: {told}", all(which.any() for which in missed.values()) or None


def _helped_most(table: pd.DataFrame) -> tuple[str, bool | None]:
    """Compare gains of pairs of replicas with one seed."""
    found: Groups[str] = Groups(curves(table, "jsd", worst=WORST_JSD))
    gain = {name: _gain(found[name], found[name + OFF_POLICY]) for name in OBJECTIVES}
    best = gain.pop("trajectory_balance")
    runner_up = max(gain, key=lambda name: float(np.median(gain[name])))
    told = (
        f"log10 of JSD on-policy / off-policy, same seeds, median: TB {in_words(best)}, "
        f"best of the others {OBJECTIVES[runner_up]} {in_words(gain[runner_up])}"
    )
    return told, together(better(best, values, lower_is_better=False) for values in gain.values())


def _gain(on: Curve, off: Curve) -> np.ndarray:
    first, second = shared_values(on, off)
    if not len(first):
        raise UnfinishedError("two runs, on-policy and off-policy, with one seed")
    return np.asarray(np.log10(first[:, -1]) - np.log10(second[:, -1]))
