"""What the paper concludes from its first figure, against the table of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from gfn_vi.analysis.claims import Claim, better, first_time, in_words, together
from gfn_vi.analysis.curves import Curve, curves

NAMES = {
    "trajectory_balance": "TB",
    "modified_detailed_balance": "modified DB",
    "reverse_kl": "reverse KL",
    "forward_kl": "forward KL",
    "wake_sleep": "wake-sleep",
    "reverse_wake_sleep": "reverse wake-sleep",
}
OFF = "_off_policy"
N_MODES = 4


def claims(table: pd.DataFrame) -> list[Claim]:
    """The conclusions of section 4.1, one by one."""
    table = table[table["state"] == "done"]
    jsd = {arm: curve.values[:, -1] for arm, curve in curves(table, "jsd", worst=math.log(2)).items()}
    modes = curves(table, "modes_covered", worst=0.0)
    return [
        _lowest(jsd, OFF),
        _lowest(jsd, ""),
        _finds_all(modes),
        _sooner(modes),
        _imprecise(jsd),
        _may_miss(modes),
        _helped_most(jsd),
    ]


def _lowest(jsd: Mapping[str, np.ndarray], how: str) -> Claim:
    best = "trajectory_balance"
    others = {name: jsd[name + how] for name in NAMES if name != best}
    runner_up = min(others, key=lambda name: float(np.median(others[name])))
    return Claim(
        f"{'Off' if how else 'On'}-policy, TB reaches the lowest JSD.",
        f"median JSD at the end: TB {in_words(jsd[best + how])}, "
        f"best of the others {NAMES[runner_up]} {in_words(others[runner_up])}",
        together(better(jsd[best + how], values) for values in others.values()),
    )


def _finds_all(modes: Mapping[str, Curve]) -> Claim:
    found = modes["trajectory_balance" + OFF].values[:, -1] >= N_MODES
    return Claim("Off-policy TB finds the four modes.", f"{found.sum()} of {len(found)} replicas do", bool(found.all()))


def _sooner(modes: Mapping[str, Curve]) -> Claim:
    times = {name: first_time(modes[name].x, modes[name].values, N_MODES) for name in NAMES}
    early = ("forward_kl", "wake_sleep")
    told = [f"{NAMES[name]} {_time(times[name])}" for name in (*early, "trajectory_balance")]
    return Claim(
        "On-policy, forward KL and wake-sleep find the four modes sooner than TB,",
        f"trajectories until all four are covered, median: {', '.join(told)}",
        together(better(times[name], times["trajectory_balance"]) for name in early),
    )


def _time(times: np.ndarray) -> str:
    """The median of times, some of which may be infinite."""
    middle = float(np.sort(times)[len(times) // 2])
    return f"{middle:,.0f}" if math.isfinite(middle) else "never in most replicas"


def _imprecise(jsd: Mapping[str, np.ndarray]) -> Claim:
    late = ("forward_kl", "wake_sleep")
    best = "trajectory_balance" + OFF
    told = [f"{NAMES[name]} {in_words(jsd[name])}" for name in late]
    return Claim(
        "but imprecisely: their JSD ends above that of off-policy TB.",
        f"{', '.join(told)}; off-policy TB {in_words(jsd[best])}",
        together(better(jsd[best], jsd[name]) for name in late),
    )


def _may_miss(modes: Mapping[str, Curve]) -> Claim:
    missed = {name: modes[name].values[:, -1] < N_MODES for name in ("reverse_kl", "reverse_wake_sleep")}
    told = [f"{NAMES[name]}: {which.sum()} of {len(which)}" for name, which in missed.items()]
    return Claim(
        "On-policy, reverse KL and reverse wake-sleep may miss modes.",
        f"replicas that end with fewer than four: {', '.join(told)}",
        all(which.any() for which in missed.values()),
    )


def _helped_most(jsd: Mapping[str, np.ndarray]) -> Claim:
    gain = {name: np.log10(jsd[name]) - np.log10(jsd[name + OFF]) for name in NAMES}
    best = "trajectory_balance"
    others = {name: gain[name] for name in NAMES if name != best}
    runner_up = max(others, key=lambda name: float(np.median(others[name])))
    return Claim(
        "Off-policy sampling helps TB most.",
        f"log10 of JSD on-policy / off-policy, same seeds, median: TB {in_words(gain[best])}, "
        f"best of the others {NAMES[runner_up]} {in_words(others[runner_up])}",
        together(better(gain[best], values, lower_is_better=False) for values in others.values()),
    )
