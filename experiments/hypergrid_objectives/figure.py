"""Fig. 1 of arXiv 2210.00580: exact JSD and modes covered, on-policy and off-policy, and what each objective has learned.

A column is an objective: its lines are a statistic over replicas (median by default; modes are a mean), broken on-policy and
whole off-policy, bands are 95% bootstrap intervals; thin and gray is off-policy TB, in every column. The last column has all of
them at the end: hollow on-policy, filled off-policy. The pictures show one replica, the first, and never a mean over replicas,
which would cover modes that no replica covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.learned import TARGET, draw_pictures, learned_pictures
from gfn_vi.experiments.measures import JSD, WORST_JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES, OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import SHORT, SIDES
from gfn_vi.analysis.reading.curves import X_LABELS, Curve, curves, draw_curve, draw_reference, n_failed
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered", "modes_visited")  # of the committed results
FIRST_REPLICA = ("learned",)

LINES: dict[str, Any] = {"": (0, (3, 1.2)), OFF_POLICY: "-"}
REFERENCE = "trajectory_balance" + OFF_POLICY
COLORS = dict(zip(OBJECTIVES, style.palette(len(OBJECTIVES)), strict=True))
COLUMNS = ("run", "state", "arm", "seed", "trajectories", "metric", "value")
NARROWEST = 0.65  # share of the page that the legend needs
DODGE = 0.17  # between the two sides at the end


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    x: str = "trajectories",
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `states` [S, 2], `learned` [R, S], `target` [S]."""
    from matplotlib.figure import Figure

    require_columns(table, COLUMNS)
    jsd = curves(table, "jsd", x=x, worst=WORST_JSD)
    modes = curves(table, "modes_covered", x=x, worst=0.0)
    pictures = learned_pictures(table, arrays, [arm + side for side in SIDES for arm in OBJECTIVES if arm + side in jsd])
    objectives = [name for name in OBJECTIVES if any(name + side in jsd for side in SIDES)]
    sides = [side for side in SIDES if any(name + side in jsd for name in objectives)]
    heights = [1.7, 0.95, *([0.85] * len(sides) if pictures else [])]
    width = style.WIDTH * max(NARROWEST, (len(objectives) + 1) / (len(OBJECTIVES) + 1))
    page = Figure(figsize=(width, 1.0 + sum(heights)), layout="constrained")
    axes = page.subplots(len(heights), len(objectives) + 1, height_ratios=heights)
    for row, (found, of) in enumerate(((jsd, statistic), (modes, "mean"))):
        for column, objective in enumerate(objectives):
            _lines(axes[row, column], found, objective, of)
        _ends(axes[row, -1], found, objectives, of)
    _dress(axes[:2], objectives, x, max(curve.x[-1] for curve in jsd.values()))
    _legend(page, sides, n_failed(jsd.values()), REFERENCE in jsd)
    if pictures:
        _images(axes[2:], objectives, sides, pictures)
    return page


def _lines(axes: Axes, found: Mapping[str, Curve], objective: str, statistic: str) -> None:
    """Draw an objective on- and off-policy, over off-policy TB."""
    if REFERENCE in found and objective + OFF_POLICY != REFERENCE:
        draw_reference(axes, found[REFERENCE], statistic)
    for side, line in LINES.items():
        if objective + side in found:
            draw_curve(axes, found[objective + side], statistic, COLORS[objective], objective + side, line)


def _ends(axes: Axes, found: Mapping[str, Curve], objectives: Sequence[str], statistic: str) -> None:
    """Draw where every setting ends, with its interval."""
    for place, objective in enumerate(objectives):
        for shift, side in zip((-DODGE, DODGE), SIDES, strict=True):
            if objective + side in found:
                low, estimate, high = interval(found[objective + side].final, statistic)
                color, face = COLORS[objective], COLORS[objective] if side else "white"
                axes.plot([place + shift] * 2, [low, high], color=color, linewidth=1)
                axes.plot(place + shift, estimate, marker="o", markersize=3.5, color=color, markerfacecolor=face)


def _dress(axes: np.ndarray, objectives: Sequence[str], x: str, end: float) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for first, *others in axes:
        for panel in others:
            panel.sharey(first)
            panel.tick_params(which="both", labelleft=False)
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("Jensen-Shannon divergence")
    axes[1, 0].set_ylabel("Modes covered\n(mean)")
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1, 0].set_ylim(0, 1.06 * max(axes[1, 0].get_ylim()[1], 1))
    for (above, below), objective in zip(axes[:, :-1].T, objectives, strict=True):
        above.set_title(_two_lines(OBJECTIVES[objective]), color=COLORS[objective], fontsize=7, linespacing=1.0)
        for panel in (above, below):
            panel.set_xlim(0, 1.02 * end)
            panel.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 5, 10]))
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
            panel.tick_params(axis="x", labelsize=6, labelbottom=panel is below)
    axes[1, len(objectives) // 2].set_xlabel(X_LABELS[x])
    axes[0, -1].set_title("At the end", fontsize=7)
    names = [SHORT[name] for name in objectives]
    for panel in axes[:, -1]:
        panel.set_xticks(range(len(objectives)), names if panel is axes[1, -1] else [], fontsize=6, rotation=90)
        panel.set_xlim(-0.6, len(objectives) - 0.4)
        panel.grid(axis="x", visible=False)


def _legend(page: Figure, sides: Sequence[str], failed: str, has_reference: bool) -> None:
    from matplotlib.lines import Line2D

    marks = {"": "white", OFF_POLICY: "0.3"}
    handles = [
        Line2D(
            [], [], color="0.3", linestyle=LINES[side], marker="o", markersize=3.5, markerfacecolor=marks[side], label=SIDES[side]
        )
        for side in sides
    ]
    if has_reference:
        handles.append(Line2D([], [], color="0.6", linewidth=0.9, label="TB, off-policy, in every column"))
    shape = style.LEGEND | {"handlelength": 2.6}
    page.legend(handles=handles, loc="outside upper center", ncols=3, title=failed or None, title_fontsize=7, **shape)


def _images(axes: np.ndarray, objectives: Sequence[str], sides: Sequence[str], pictures: Mapping[str, np.ndarray]) -> None:
    """Draw below each column what its objective has learned, on-policy and off-policy, and the target below the last."""
    cells: dict[Axes, tuple[str, np.ndarray, Any]] = {axes[0, -1]: ("Target", pictures[TARGET], None)}
    for row, side in enumerate(sides):
        for axis, objective in zip(axes[row], objectives, strict=False):
            if objective + side in pictures:
                cells[axis] = ("", pictures[objective + side], COLORS[objective])
    for unused in set(axes.flat) - set(cells):
        unused.set_axis_off()
    draw_pictures(cells, float(pictures[TARGET].max()), beside=axes[0, -1])
    for row, side in enumerate(sides):
        axes[row, 0].set_ylabel(SIDES[side], fontsize=7)


def _two_lines(label: str) -> str:
    return label.replace(" ", "\n", 1) if len(label) > 11 else label
