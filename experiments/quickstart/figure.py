"""Six objectives on a 16 x 16 grid: exact JSD and modes covered against trajectories, and what each has learned.

Lines are the median (JSD) and the mean (modes) over replicas, bands their 95% bootstrap intervals. The pictures show
one replica, not a mean over replicas: a mean of distributions covers modes that no replica covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.learned import TARGET, draw_pictures, learned_pictures
from gfn_vi.experiments.measures import JSD, WORST_JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import label_of
from gfn_vi.analysis.reading.curves import X_LABELS, curves, draw_curve, n_failed
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered")  # of the committed results
FIRST_REPLICA = ("learned",)

ARMS = (
    "trajectory_balance",
    "trajectory_balance_off_policy",
    "reverse_kl",
    "forward_kl",
    "wake_sleep",
    "reverse_wake_sleep",
)
COLUMNS = ("run", "state", "arm", "seed", "trajectories", "metric", "value")
WORST = {"jsd": WORST_JSD, "modes_covered": 0.0}  # for replicas that became NaN


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    x: str = "trajectories",
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `states` [S, 2], `learned` [R, S], `target` [S].

    statistic: of the JSD; modes are a mean.
    """
    from matplotlib.figure import Figure

    require_columns(table, COLUMNS)
    table = table[(table["state"] == "done") & table["arm"].notna()]
    if table.empty:
        raise TableError("no run of a named arm is done yet: nothing to draw")
    jsd, modes = (curves(table, metric, x=x, worst=worst) for metric, worst in WORST.items())
    arms = [arm for arm in ARMS if arm in jsd] + sorted(set(jsd) - set(ARMS))
    names = [*ARMS, *sorted(set(jsd) - set(ARMS))]  # a color belongs to an arm, also when others are missing
    colors = dict(zip(names, style.palette(len(names)), strict=True))

    page = Figure(figsize=(style.WIDTH, 4.0), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=[2.75, 1.25])
    left, right = upper.subplots(1, 2, width_ratios=[1.45, 1])
    for arm in arms:
        draw_curve(left, jsd[arm], statistic, colors[arm], label_of(arm))
        draw_curve(right, modes[arm], "mean", colors[arm], label_of(arm))
    _dress(left, right, x)
    upper.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=min(len(arms), 6), **style.LEGEND)
    if failed := n_failed(jsd.values()):
        left.set_title(failed, loc="left", fontsize=7)
    _images(lower, learned_pictures(table, arrays, arms), colors)
    return page


def _dress(left: Axes, right: Axes, x: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    left.set_yscale("log")
    left.set_ylabel("Jensen-Shannon divergence")
    right.set_ylabel("Modes covered (mean)")
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel(X_LABELS[x])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(0, 1.01 * max(line.get_xdata()[-1] for line in axes.lines))


def _images(panel: SubFigure, pictures: Mapping[str, np.ndarray], colors: Mapping[str, tuple[float, float, float]]) -> None:
    """Draw the target, then one replica of each arm, on one color scale that ends at the target's maximum."""
    if not pictures:
        return
    every = panel.subplots(1, len(pictures), squeeze=False)[0]
    titles = {name: _two_lines(label_of(name)) for name in pictures}
    cells = {axes: (titles[name], pictures[name], colors.get(name)) for axes, name in zip(every, pictures, strict=True)}
    draw_pictures(cells, float(pictures[TARGET].max()), beside=every[-1])


def _two_lines(label: str) -> str:
    """Break a label that is wider than a picture."""
    return label.replace(" ", "\n", 1) if len(label) > 11 else label
