"""The effect of deviations of the published code (arXiv 2210.00580): exact JSD at the end of training, and the order of settings.

(a) Median over replicas of the JSD at the end, with its 95% bootstrap interval, for the algorithm as it should be and with each
deviation that touches it. (b) Ranks by that median, as it should be against as published (every deviation that applies); a
thick line is a setting that is in a pair whose order is decided in both and turned over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.deviations.conditions import DEVIATION, FACTOR, NONE, conditions, published
from gfn_vi.experiments.deviations.ranking import kendall_tau, ranking, turned_over
from gfn_vi.experiments.measures import JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES, OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)

LABELS = OBJECTIVES | {arm + OFF_POLICY: f"{label}, off-policy" for arm, label in OBJECTIVES.items()}
CONFIG_KEYS = tuple(name.removeprefix("config.") for name in (DEVIATION, FACTOR))
CONDITIONS = {
    NONE: ("As it should be", "o"),
    "frozen_backward": ("$P_B$ frozen", "s"),
    "constant_stop_bias": ("Stop bias constant", "^"),
    "frozen_backward_and_constant_stop_bias": ("Both", "D"),
}


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    by_deviation = conditions(table)
    as_published = published(table, by_deviation)
    page = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    left, right = page.subplots(1, 2, width_ratios=[1.5, 1])
    _values(left, by_deviation)
    _ranks(right, {arm: values for arm, values in by_deviation[NONE].items() if arm in as_published}, as_published)
    page.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4, **style.LEGEND)
    return page


def _values(axes: Axes, by_deviation: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    arms = [arm for arm in LABELS if arm in by_deviation[NONE]][::-1]
    for offset, (color, (deviation, (label, marker))) in enumerate(zip(style.palette(4), CONDITIONS.items(), strict=True)):
        present = [
            (row, by_deviation.get(deviation, {})[arm]) for row, arm in enumerate(arms) if arm in by_deviation.get(deviation, {})
        ]
        if present:
            bounds = [interval(values, "median") for _, values in present]
            x = np.array([float(b.estimate) for b in bounds])
            error = np.array([[float(b.estimate - b.low) for b in bounds], [float(b.high - b.estimate) for b in bounds]])
            y = [row + 0.27 - 0.18 * offset for row, _ in present]
            axes.errorbar(x, y, xerr=error, fmt=marker, color=color, markersize=4, linewidth=1, label=label)
    axes.set(yticks=range(len(arms)), xscale="log", xlabel="Jensen-Shannon divergence at the end")
    axes.set_yticklabels([LABELS[arm] for arm in arms])
    axes.set_title("(a)", loc="left")


def _ranks(axes: Axes, correct: Mapping[str, np.ndarray], as_published: Mapping[str, np.ndarray]) -> None:
    before, after = ranking(correct), ranking(as_published)
    turned = {name for pair in turned_over(correct, as_published) for name in pair}
    colors = dict(zip(OBJECTIVES, style.palette(len(OBJECTIVES)), strict=True))
    for name in before:
        off = name.endswith(OFF_POLICY)
        ranks = [before.index(name) + 1, after.index(name) + 1]
        width = 2.2 if name in turned else 0.9
        axes.plot(
            [0, 1],
            ranks,
            "-" if off else "--",
            color=colors[name.removesuffix(OFF_POLICY)],
            linewidth=width,
            marker="o",
            markersize=3,
        )
        for x, rank, side in ((-0.04, ranks[0], "right"), (1.04, ranks[1], "left")):
            axes.text(x, rank, LABELS[name].replace(", off-policy", " (off)"), ha=side, va="center", fontsize=6)
    tau = kendall_tau(correct, as_published)
    bounds = "" if np.isnan(tau.low) else f" ({tau.low:.2f} to {tau.high:.2f})"
    axes.set_title(f"(b)  Kendall's tau {tau.estimate:.2f}{bounds}", loc="left")
    axes.set(xticks=[0, 1], xlim=(-0.9, 1.9), ylim=(len(before) + 0.5, 0.5), yticks=[])
    axes.set_xticklabels(["As it\nshould be", "As\npublished"])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
