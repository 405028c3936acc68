"""Gradients of all estimators at the same parameters and on the same trajectories: along training, off-policy, and as published.

Estimators whose numbers are equal up to rounding share a panel; its title has the name of each (estimators.py finds them).
(a) The cosine of batch gradients with the exact expected gradient while TB trains. (b) Signal-to-noise ratio |exact gradient| /
sqrt(total variance), and how much of the exact gradient is missing in expectation, as the behavior that draws the batches moves
away from P_F. (c) How far the cosine exceeds the exact one when its reference is sampled: one that contains the small batches, as
in the code of arXiv 2210.00580, or an independent one. Lines and points are medians over replicas, bands and bars their 95%
bootstrap intervals. Beside the figure: equal.csv and numbers.csv (numbers.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.gradient_variance.estimators import (
    PLAIN,
    TB,
    Group,
    at_end,
    chosen,
    curves_along,
    differences,
    equal_groups,
    name_of,
    roles_of,
    signal_to_noise,
    statistics_in,
)
from gfn_vi.experiments.gradient_variance.numbers import equal_rows, number_rows
from gfn_vi.experiments.gradient_variance.references import ARM as MEASUREMENTS
from gfn_vi.experiments.gradient_variance.references import REFERENCES, excess, predicted_excess
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import OBJECTIVES
from gfn_vi.analysis.reading.curves import Curve, draw_curve, draw_reference
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (JSD,)

TRAINING, BEHAVIORS = "along_training", "behaviors"
SYMBOLS = {"forward": r"$\theta$", "backward": r"$\phi$"}  # the parameters of P_F and of P_B
BLUE, _, GREEN, RED, _, ORANGE = style.palette(6)  # objectives have the colors that they have in the figures of grids
COLORS = {TB: BLUE, "log_variance": ORANGE, "forward_kl": RED}
DASHED = (0, (3, 1.2))
SMALL = 7  # points
LETTERS = 22  # of a line of a panel's title


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    rows = statistics_in(table)
    heights = [3.1, 3.55, 1.75]
    page = Figure(figsize=(style.WIDTH, sum(heights)), layout="constrained")
    top, middle, bottom = page.subfigures(3, 1, height_ratios=heights)
    along_training(top, rows)
    behaviors(middle, rows)
    measurements(bottom, rows)
    return page


def tables(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, str]:
    """Return equal.csv, the groups of equal estimators and how equal they are, and numbers.csv, what they measured at the end."""
    rows = statistics_in(table)
    parts = {"equal.csv": equal_rows(rows, (TRAINING, BEHAVIORS)), "numbers.csv": number_rows(rows, (TRAINING, BEHAVIORS))}
    return {name: part.to_csv(index=False, float_format="%.3g", lineterminator="\n") for name, part in parts.items()}


def along_training(page: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (a): a panel per group of equal estimators, for each role."""
    from matplotlib.ticker import EngFormatter

    chosen(rows, TRAINING)
    groups = {role: equal_groups(differences(chosen(rows, TRAINING, role=role))) for role in roles_of(rows, TRAINING)}
    every = page.subplots(len(groups), max(map(len, groups.values())), sharex=True, sharey=True, squeeze=False)
    for row, role in zip(every, groups, strict=True):
        found = curves_along(chosen(rows, TRAINING, statistic="cosine", role=role), "trajectories")
        for axes, group in zip(row, groups[role], strict=False):
            _panel(axes, found, group)
            _title(axes, name_of(group, tuple(found)), _color(group))
        for unused in row[len(groups[role]) :]:
            unused.set_axis_off()
        row[0].set_ylabel(f"{SYMBOLS[role]}: cosine", fontsize=SMALL)
    for column in every.T:
        lowest = next(axes for axes in column[::-1] if axes.axison)
        lowest.tick_params(labelbottom=True)
        if lowest is column[-1]:
            lowest.set_xlabel("Trajectories", fontsize=SMALL)
    every[0, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
    page.suptitle("(a) Cosine with the exact gradient while TB trains, on-policy. Gray: TB", fontsize=8)


def behaviors(page: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (b): a column per group of equal estimators, the same with plain weights in it."""
    last, role = at_end(rows, BEHAVIORS), "forward"
    ratio = signal_to_noise(last, BEHAVIORS, role)
    bias = chosen(last, BEHAVIORS, statistic="bias_along", role=role)
    drawn = [  # the first two share their axis
        (_along(ratio, "bias"), "Signal / noise", None),
        (_along(bias, "bias"), "Bias / gradient", "Stop bias (nats)"),
        (_along(ratio, "epsilon"), "Signal / noise", r"$\varepsilon$ of uniform actions"),
    ]
    apart = differences(chosen(last, BEHAVIORS, role=role))
    groups = equal_groups(apart)
    every = page.subplots(len(drawn), len(groups), sharey="row", squeeze=False)
    for row, (found, label, x) in zip(every, drawn, strict=True):
        for axes, group in zip(row, groups, strict=True):
            _panel(axes, found, group)
            if x is None:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(x, fontsize=SMALL)
            if label.startswith("Bias"):
                axes.axhline(0, color="0.3", linewidth=0.6, zorder=0)
        if label.startswith("Signal"):
            row[0].set_yscale("log")
        row[0].set_ylabel(label, fontsize=SMALL)
    for axes, group in zip(every[0], groups, strict=True):
        _title(axes, name_of(group, tuple(apart)), _color(group))
    told = r"(b) $\theta$, as the behavior moves away from $P_F$. Gray: TB. Dashed: weights not self-normalized"
    page.suptitle(told, fontsize=8)


def measurements(page: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (c): the cosine with a sampled reference, less the exact one, on the same replicas."""
    shown = {name: OBJECTIVES[name] for name in (TB, "reverse_kl_leave_one_out")} | {"noise": "Pure noise (scores)"}
    last = at_end(rows, MEASUREMENTS)
    present = set(chosen(last, MEASUREMENTS, statistic="cosine")["estimator"])
    shown = {name: title for name, title in shown.items() if name in present}
    every = page.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(every, shown.items(), strict=True):
        axes.axhline(0, color="0.3", linewidth=0.6, zorder=0)
        for shift, (reference, (label, color, marker)) in zip((-0.08, 0.08), REFERENCES.items(), strict=True):
            found = excess(last, name, reference)
            low, estimate, high = interval(found.values)
            x = found.x * 2.0**shift
            axes.errorbar(
                x, estimate, [estimate - low, high - estimate], fmt=marker, color=color, markersize=4, linewidth=1, label=label
            )
            predicted = predicted_excess(last, name, reference)
            line = "Predicted from signal and noise" if reference == "nested" else "_"
            axes.plot(predicted.x, np.median(predicted.values, axis=0), color=color, linestyle=DASHED, linewidth=0.9, label=line)
        sizes = found.x
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{int(size)}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("Batch size b", fontsize=SMALL)
        axes.set_title(title, fontsize=SMALL)
    every[0].set_ylabel("Cosine, excess over\nthe exact one", fontsize=SMALL)
    handles, labels = every[0].get_legend_handles_labels()
    told = r"(c) $\theta$, how the cosine is measured: reference of 1024 trajectories"
    page.legend(handles, labels, loc="outside upper center", ncols=3, title=told, title_fontsize=8, fontsize=SMALL)


def _panel(axes: Axes, found: Mapping[str, Curve], group: Group) -> None:
    """Draw one line for the whole group, dashed the same with plain weights, and TB behind them."""
    if TB in found and TB not in group:
        draw_reference(axes, found[TB], "median")
    first = next(name for name in group if name in found)
    draw_curve(axes, found[first], "median", _color(group), first)
    for name in group:
        if PLAIN.get(name) in found:
            draw_curve(axes, found[PLAIN[name]], "median", _color(group), PLAIN[name], DASHED, band=False)


def _color(group: Group) -> Any:
    return COLORS.get(group[0], GREEN)


def _title(axes: Axes, text: str, color: Any) -> None:
    axes.set_title("\n".join(textwrap.wrap(text, LETTERS, break_on_hyphens=False)), fontsize=SMALL, color=color, linespacing=1.0)


def _along(rows: pd.DataFrame, family: str) -> dict[str, Curve]:
    """Return curves over the behaviors of one family, named <family>_<distance> with p for the point; on-policy is at 0."""
    distance = rows["behavior"].where(rows["behavior"] != "on_policy", f"{family}_0")
    mine = distance.str.startswith(f"{family}_")
    number = distance[mine].str.removeprefix(f"{family}_").str.replace("p", ".").astype(float)
    return curves_along(rows[mine].assign(distance=number), "distance")
