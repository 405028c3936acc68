"""Fig. 1 of arXiv 2210.00580: exact JSD and modes covered, on-policy and off-policy, and what each objective has learned.

Lines are a statistic over replicas (median by default), bands its 95% bootstrap interval; modes are a mean. The pictures show
one replica, the first, and never a mean over replicas, which would cover modes that no replica covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.learned import TARGET, draw_pictures, learned_pictures
from gfn_vi.experiments.measures import JSD, WORST_JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES, OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import X_LABELS, curves, draw_curve, n_failed
from gfn_vi.analysis.reading.table import require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered")  # of the committed results
FIRST_REPLICA = ("learned",)

SIDES = {"": "On-policy", OFF_POLICY: "Off-policy"}
COLUMNS = ("run", "state", "arm", "seed", "trajectories", "metric", "value")


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
    colors = dict(zip(OBJECTIVES, style.palette(len(OBJECTIVES)), strict=True))
    page = Figure(figsize=(style.WIDTH, 5.8), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=[3.5, 2.3])
    axes = upper.subplots(2, 2, sharex=True, sharey="row", height_ratios=[2, 1])
    for column, (side, title) in enumerate(SIDES.items()):
        for arm, label in OBJECTIVES.items():
            if arm + side in jsd:
                draw_curve(axes[0, column], jsd[arm + side], statistic, colors[arm], label)
                draw_curve(axes[1, column], modes[arm + side], "mean", colors[arm], label)
        failed = n_failed(curve for arm, curve in jsd.items() if arm.endswith(OFF_POLICY) == bool(side))
        axes[0, column].set_title(f"{title}. {failed}" if failed else title)
    _dress(axes, x)
    upper.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6, **style.LEGEND)
    pictures = learned_pictures(table, arrays, [arm + side for side in SIDES for arm in OBJECTIVES if arm + side in jsd])
    if pictures:
        _images(lower.subplots(2, len(OBJECTIVES) + 1), pictures, colors)
    return page


def _dress(axes: np.ndarray, x: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("Jensen-Shannon divergence")
    axes[1, 0].set_ylabel("Modes covered")
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1, 0].set_ylim(bottom=0)
    for below in axes[1]:
        below.set_xlabel(X_LABELS[x])
        below.xaxis.set_major_formatter(EngFormatter(sep=""))
        below.set_xlim(left=0)


def _images(axes: np.ndarray, pictures: Mapping[str, np.ndarray], colors: Mapping[str, tuple[float, float, float]]) -> None:
    """Draw a row of on-policy and a row of off-policy pictures, the target in front of the first."""
    cells: dict[Axes, tuple[str, np.ndarray, Any]] = {axes[0, 0]: ("Target", pictures[TARGET], None)}
    for row, side in enumerate(SIDES):
        for axis, (arm, label) in zip(axes[row, 1:], OBJECTIVES.items(), strict=True):
            if arm + side in pictures:
                title = label.replace(" ", "\n", 1) if len(label) > 11 else label
                cells[axis] = ("" if row else title, pictures[arm + side], colors[arm])
    for unused in set(axes.flat) - set(cells):
        unused.set_axis_off()
    draw_pictures(cells, float(pictures[TARGET].max()), beside=axes[0, -1])
    for row, title in enumerate(SIDES.values()):
        axes[row, 1].set_ylabel(title, fontsize=7)
