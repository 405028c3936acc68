"""The small grids of arXiv 2210.00580: exact JSD and modes covered of six objectives, on-policy, in two and in four dimensions.

Lines are a statistic over replicas (median by default), bands its 95% bootstrap interval; modes are a mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import JSD, WORST_JSD
from gfn_vi.experiments.paper_arms import OBJECTIVES

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import X_LABELS, curves, draw_curve, n_failed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADLINES = (JSD,)

TARGET = ("config.target.n_dims", "config.target.side")
CONFIG_KEYS = tuple(name.removeprefix("config.") for name in TARGET)
METRICS = ("jsd", "modes_covered")  # of the committed results
MARKERS = dict(zip(OBJECTIVES, "osD^vX", strict=True))


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    x: str = "trajectories",
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table, a column per target; arrays are not looked at."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    jsd = curves(table, "jsd", ["arm", *TARGET], x, WORST_JSD)
    modes = curves(table, "modes_covered", ["arm", *TARGET], x, 0.0)
    targets = sorted({(n_dims, side) for _, n_dims, side in jsd})
    colors = dict(zip(OBJECTIVES, style.palette(len(OBJECTIVES)), strict=True))
    page = Figure(figsize=(style.WIDTH, 4.0), layout="constrained")
    axes = page.subplots(2, len(targets), sharex="col", squeeze=False, height_ratios=[2, 1])
    for column, (n_dims, side) in enumerate(targets):
        for place, (arm, label) in enumerate(OBJECTIVES.items()):
            key = (arm, n_dims, side)
            if key in jsd:
                draw_curve(axes[0, column], jsd[key], statistic, colors[arm], label, marker=MARKERS[arm], first=place)
                draw_curve(axes[1, column], modes[key], "mean", colors[arm], label, marker=MARKERS[arm], first=place)
        failed = n_failed(curve for (_, *where), curve in jsd.items() if tuple(where) == (n_dims, side))
        axes[0, column].set_title(" x ".join([str(side)] * n_dims) + (f". {failed}" if failed else ""))
        axes[1, column].set_xlabel(X_LABELS[x])
        axes[1, column].xaxis.set_major_formatter(EngFormatter(sep=""))
        axes[1, column].set_xlim(left=0)
        axes[1, column].yaxis.set_major_locator(MaxNLocator(integer=True))
        axes[1, column].set_ylim(bottom=0)
        axes[0, column].sharey(axes[0, 0])
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("Jensen-Shannon divergence")
    axes[1, 0].set_ylabel("Modes covered\n(mean)")
    drawn = {label: line for panel in axes[0] for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    labels = [label for label in OBJECTIVES.values() if label in drawn]
    page.legend([drawn[label] for label in labels], labels, loc="outside upper center", ncols=6, **style.LEGEND)
    return page
