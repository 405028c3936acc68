"""The effect of deviations of the published code (arXiv 2210.00580): exact JSD at the end of training, and the order of settings.

(a) Median over replicas of the JSD at the end, with its 95% bootstrap interval, for the algorithm as it should be and with each
deviation that touches it; small ticks are the replicas. A full mark differs from the algorithm as it should be by the test of the
claims, a hollow one does not. (b) The rank of each setting by that median, as it should be and as published (with every deviation
that applies), with the 95% bootstrap interval of the rank; in words, how many pairs of settings have an order that is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.deviations.conditions import DEVIATION, FACTOR, NONE, conditions, published
from gfn_vi.experiments.deviations.ranking import kendall_tau, pairs, rank_intervals
from gfn_vi.experiments.measures import JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES, OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import SIDES
from gfn_vi.analysis.statistics.claims import better
from gfn_vi.analysis.statistics.estimates import Interval, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered")  # of the committed results

LABELS = {arm + side: f"{label}, {when.lower()}" for side, when in SIDES.items() for arm, label in OBJECTIVES.items()}
CONFIG_KEYS = tuple(name.removeprefix("config.") for name in (DEVIATION, FACTOR))
COLORS = style.palette(6)
CONDITIONS: dict[str, tuple[str, str, Any]] = {
    NONE: ("As it should be", "o", "0.15"),
    "frozen_backward": ("$P_B$ frozen", "s", COLORS[0]),
    "constant_stop_bias": ("Stop bias constant", "^", COLORS[3]),
    "frozen_backward_and_constant_stop_bias": ("Both", "D", COLORS[2]),
}
PUBLISHED = ("As published", "X", COLORS[4])
PITCH = 0.2  # of a row, between marks of one setting

Values = Mapping[str, np.ndarray]  # arm -> final JSD [R]


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    by_deviation = conditions(table)
    as_published = published(table, by_deviation)
    arms = [arm for arm in LABELS if arm in by_deviation[NONE]]
    ranked = {arm: by_deviation[NONE][arm] for arm in arms if arm in as_published}
    page = Figure(figsize=(style.WIDTH, 1.4 + 0.33 * len(arms)), layout="constrained")
    is_order = len(ranked) > 1  # where most settings are not finished yet, there is none
    left, *right = page.subplots(1, 2, width_ratios=[1.5, 1], sharey=True) if is_order else [page.subplots()]
    any_undecided = _values(left, by_deviation, arms)
    if is_order:
        left.set_title("(a)", loc="left")
        _ranks(right[0], ranked, as_published, arms)
    for axes in (left, *right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        for edge in range(1, len(arms)):
            whole = arms[edge].endswith(OFF_POLICY) != arms[edge - 1].endswith(OFF_POLICY)
            axes.axhline(edge - 0.5, color="0.4" if whole else "0.88", linewidth=0.8 if whole else 0.4, zorder=0)
    left.set_yticks(range(len(arms)), [LABELS[arm] for arm in arms])
    left.set_ylim(len(arms) - 0.5, -0.5)
    looks = [(*look, look[2]) for name, look in CONDITIONS.items() if name in by_deviation]
    looks += [(*PUBLISHED, PUBLISHED[2])] * is_order
    looks += [(f"Undecided{' in (a)' * is_order}", "o", "0.5", "white")] * any_undecided
    _legend(page, looks)
    return page


def _values(axes: Axes, by_deviation: Mapping[str, Values], arms: list[str]) -> bool:
    """Draw the values of each setting in every condition and return whether the test leaves any of them undecided."""
    any_undecided = False
    for row, arm in enumerate(arms):
        present = [name for name in CONDITIONS if arm in by_deviation.get(name, {})]
        correct = by_deviation[NONE][arm]
        for y, name in zip(_places(row, len(present)), present, strict=True):
            values = by_deviation[name][arm]
            _, marker, color = CONDITIONS[name]
            decided = name == NONE or better(values, correct) is not None
            any_undecided |= not decided
            axes.plot(values, np.full(len(values), y), "|", color=color, markersize=4, markeredgewidth=0.6)
            _mark(axes, interval(values, "median"), y, marker, color, decided)
    axes.set(xscale="log", xlabel="Jensen-Shannon divergence at the end")
    return any_undecided


def _ranks(axes: Axes, correct: Values, as_published: Values, arms: list[str]) -> None:
    """Draw the rank of each setting in both conditions; `correct` has the arms that `as_published` has."""
    looks = (CONDITIONS[NONE], PUBLISHED)
    for values, (_, marker, color), shift in zip((correct, as_published), looks, (0, 1), strict=True):
        for arm, rank in rank_intervals(values).items():
            _mark(axes, rank, _places(arms.index(arm), 2)[shift], marker, color, decided=True)
    off = [{arm: values for arm, values in of.items() if arm.endswith(OFF_POLICY)} for of in (correct, as_published)]
    found = pairs(correct, as_published)
    axes.set_title(
        f"(b)  Kendall's tau {_in_words(kendall_tau(correct, as_published))}\n"
        f"{len(off[0])} off-policy settings {_in_words(kendall_tau(*off))}\n"
        f"{sum(map(len, found))} pairs of {len(correct)} settings: {len(found.kept)} decided\n"
        f"alike, {len(found.turned)} turned over, {len(found.undecided)} undecided",
        loc="left",
        fontsize=7,
    )
    axes.set(xlabel="Rank (1 is best)", xticks=range(1, len(correct) + 1), xlim=(0.4, len(correct) + 0.6))


def _in_words(tau: Interval) -> str:
    return "unknown" if np.isnan(tau.estimate) else tau.in_words(".2f")


def _places(row: int, n: int) -> np.ndarray:
    """Return the heights of n marks around the middle of a row: [n]."""
    return row + PITCH * (np.arange(n) - (n - 1) / 2)


def _mark(axes: Axes, bounds: Interval, y: float, marker: str, color: Any, decided: bool) -> None:
    """Draw an estimate between its bounds (without them where there are none), hollow where nothing is decided."""
    axes.plot([bounds.low, bounds.high], [y, y], color=color, linewidth=1)
    axes.plot(bounds.estimate, y, marker, color=color, markerfacecolor=color if decided else "white", markersize=4.5, zorder=3)


def _legend(page: Figure, looks: list[tuple[str, str, Any, Any]]) -> None:
    """Name what is drawn; looks: label, marker, color of the line and of the face of each."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, markerfacecolor=face, label=label, linewidth=1)
        for label, marker, color, face in looks
    ]
    page.legend(handles=handles, loc="outside upper center", ncols=6, **style.LEGEND)
