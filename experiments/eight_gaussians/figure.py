"""Eight Gaussians (appendix of arXiv 2210.00580): squared MMD of five objectives, on-policy and widened, at each number of steps.

(a) Squared MMD to exact samples, a row per number of steps T and a column per objective. Lines are a statistic over replicas
(median by default), broken on-policy and whole with widened steps, bands its 95% bootstrap interval; thin and gray is widened TB.
The last column has one point per replica at the end, hollow on-policy and filled widened, and the statistic as a bar. The gray
band is the floor, the squared MMD of two sets of exact samples: 95% of its values over all replicas and settings. They lie around
0, so the axis is linear up to the largest of them. (b) Samples of one
replica, the first, over the contours of the target. Beside the figure: mmd.csv, the numbers at the end and when replicas failed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.eight_gaussians.settings import ARMS, N_STEPS, OBJECTIVES, SIDES, SQUARED_MMD, Setting, settings
from gfn_vi.experiments.paper_arms import OBJECTIVES as ALL_OBJECTIVES
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import SHORT, parts
from gfn_vi.analysis.pictures.densities import contours
from gfn_vi.analysis.reading.curves import X_LABELS, Curve, draw_curve, draw_reference, draw_replicas
from gfn_vi.analysis.statistics.estimates import interval
from gfn_vi.runs.reading import needed_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (SQUARED_MMD,)
CONFIG_KEYS = (N_STEPS.removeprefix("config."),)
COLORS = dict(zip(ALL_OBJECTIVES, style.palette(len(ALL_OBJECTIVES)), strict=True))  # as in the figures of grids
LINES = {"": (0, (3, 1.2)), OFF_POLICY: "-"}
REFERENCE = "trajectory_balance" + OFF_POLICY
STATISTICS = {"median": "Median of replicas", "mean": "Mean of replicas", "iqm": "Interquartile mean"}
DODGE = 0.2  # between the two sides at the end
SMALL = 7  # points
NEEDED = ("samples", "grid", "log_density")
MMD = SQUARED_MMD.metric
METRICS = (MMD, f"{MMD}_floor", "mode_mass_error", "modes_covered", "bound_gap")  # of the committed results
FIRST_REPLICA = ("samples",)

Arrays = Mapping[str, Mapping[str, np.ndarray]]
Settings = Mapping[tuple[str, int], Setting]


def figure(table: pd.DataFrame, arrays: Arrays, x: str = "trajectories", statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `samples` [R, n, 2], the target on a grid; without any no (b)."""
    from matplotlib.figure import Figure

    found = settings(table, x)
    every_t = sorted({n_steps for _, n_steps in found})
    heights = [0.7 + 1.15 * len(every_t), 2.0]
    page = Figure(figsize=(style.WIDTH, sum(heights) if len(arrays) else heights[0]), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=heights) if len(arrays) else (page.subfigures(1, 1), None)
    _curves(upper, found, every_t, x, statistic)
    if lower is not None:
        _samples(lower, table, arrays, every_t)
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: distances at the end, squared MMD beside its floor, and the replicas that became non-finite."""
    rows = []
    for (arm, n_steps), setting in sorted(settings(table).items(), key=lambda item: (item[0][1], ARMS.index(item[0][0]))):
        objective, side = parts(arm)
        row: dict[str, object] = {"n_steps": n_steps, "objective": objective, "steps": SIDES[side].lower()}
        row["replicas"] = len(setting.failed_after)
        intervals = {"squared_mmd": setting.mmd, "floor": setting.floor, "mode_mass_error": setting.mode_mass_error}
        for name, curve in intervals.items():
            low, estimate, high = map(float, interval(curve.final, "median"))
            row |= {f"{name}_median": estimate, f"{name}_low": low, f"{name}_high": high}
        gap = setting.gap.final  # of a replica that failed it is infinite, so that it has no bootstrap interval
        row |= {"bound_gap_median": np.median(gap), "bound_gap_smallest": gap.min(), "bound_gap_largest": gap.max()}
        failed = np.isfinite(setting.failed_after)
        row |= {"non_finite": int(failed.sum()), "first_after": float(setting.failed_after.min()) if failed.any() else math.nan}
        rows.append(row)
    text = io.StringIO()
    pd.DataFrame(rows).to_csv(text, index=False, float_format="%.4g", lineterminator="\n")
    return {"mmd.csv": text.getvalue()}


def _curves(page: SubFigure, found: Settings, every_t: list[int], x: str, statistic: str) -> None:
    """Draw a row for each T: a panel for each objective, and where all of them end."""
    widths = [1.0] * len(OBJECTIVES) + [1.7]
    every = page.subplots(len(every_t), len(widths), sharex="col", sharey=True, squeeze=False, width_ratios=widths)
    floors = np.concatenate([setting.floor.values.ravel() for setting in found.values()])
    floors = floors[np.isfinite(floors)]
    for row, n_steps in zip(every, every_t, strict=True):
        at = {arm: setting.mmd for (arm, n), setting in found.items() if n == n_steps}
        for axes, objective in zip(row, OBJECTIVES, strict=False):
            _lines(axes, at, objective, statistic)
        _ends(row[-1], at, statistic)
        for axes in row:
            axes.axhspan(*np.quantile(floors, [0.025, 0.975]), color="0.88", linewidth=0, zorder=0)
        failed = sum(curve.n_failed for curve in at.values())
        row[0].set_ylabel(f"$T = {n_steps}$\nSquared MMD" + (f"\nfailed: {failed}" if failed else ""), fontsize=SMALL)
    _dress(every, float(np.abs(floors).max()), x)
    _legend(page, statistic)


def _lines(axes: Axes, at: Mapping[str, Curve], objective: str, statistic: str) -> None:
    """Draw an objective on-policy and widened, over widened TB."""
    if REFERENCE in at and objective + OFF_POLICY != REFERENCE:
        draw_reference(axes, at[REFERENCE], statistic)
    for side, line in LINES.items():
        if objective + side in at:
            draw_curve(axes, at[objective + side], statistic, COLORS[objective], objective + side, line)


def _ends(axes: Axes, at: Mapping[str, Curve], statistic: str) -> None:
    """Draw every replica of every setting after all updates."""
    for place, objective in enumerate(OBJECTIVES):
        for shift, side in zip((-DODGE, DODGE), SIDES, strict=True):
            if objective + side in at:
                draw_replicas(axes, place + shift, at[objective + side].final, statistic, COLORS[objective], bool(side))
    axes.set_xticks(range(len(OBJECTIVES)), [SHORT[name] for name in OBJECTIVES], fontsize=SMALL)
    axes.set_xlim(-0.6, len(OBJECTIVES) - 0.4)
    axes.grid(axis="x", visible=False)


def _dress(every: np.ndarray, linear_below: float, x: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    every[0, 0].set_yscale("symlog", linthresh=linear_below)
    every[0, 0].set_ylim(bottom=-linear_below)
    every[0, 0].set_yticks([0.0, *(10.0**power for power in range(math.ceil(math.log10(linear_below)), 1))])
    every[0, 0].minorticks_off()
    for axes, (objective, label) in zip(every[0], OBJECTIVES.items(), strict=False):
        axes.set_title(label.replace(" ", "\n", 1), fontsize=SMALL, color=COLORS[objective], linespacing=1.0)
        axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    every[0, -1].set_title("At the end", fontsize=SMALL)
    every[-1, len(OBJECTIVES) // 2].set_xlabel(X_LABELS[x], fontsize=SMALL)


def _legend(page: SubFigure, statistic: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    faces = {"": "white", OFF_POLICY: "0.35"}
    handles: list[Any] = [
        Line2D([], [], color="0.35", linestyle=LINES[side], marker="o", markersize=3, markerfacecolor=faces[side], label=title)
        for side, title in SIDES.items()
    ]
    handles += [
        Line2D([], [], color="0.6", linewidth=0.9, label="TB, widened"),
        Line2D([], [], color="0.1", linewidth=1.2, label=STATISTICS[statistic]),
        Patch(color="0.88", label="Two exact samples"),
    ]
    look = style.LEGEND | {"handlelength": 2.2, "fontsize": SMALL}
    page.legend(handles=handles, loc="outside upper center", ncols=len(handles), **look)
    page.text(0.005, 0.99, "(a)", va="top")


def _samples(page: SubFigure, table: pd.DataFrame, arrays: Arrays, every_t: list[int]) -> None:
    """Draw for each T a block with a row for each side and a column for each objective."""
    blocks = page.subfigures(1, len(every_t), squeeze=False)[0]
    for block, n_steps in zip(blocks, every_t, strict=True):
        block.suptitle(f"$T = {n_steps}$", fontsize=SMALL)
        every = block.subplots(len(SIDES), len(OBJECTIVES), squeeze=False)
        for row, (side, how) in enumerate(SIDES.items()):
            for axes, (objective, label) in zip(every[row], OBJECTIVES.items(), strict=True):
                axes.set(xticks=[], yticks=[], box_aspect=1)
                for spine in axes.spines.values():
                    spine.set(visible=True, color="0.2", linewidth=0.5)
                if row == 0:
                    axes.set_title(label.replace(" ", "\n", 1), fontsize=6.5, pad=2, linespacing=0.9)
                content = _arrays_of(table, arrays, objective + side, n_steps)
                if content is None:
                    axes.set_axis_off()
                else:
                    _cloud(axes, content, COLORS[objective])
            every[row, 0].set_ylabel(how, fontsize=6.5)
    page.text(0.005, 0.99, "(b)", va="top")


def _cloud(axes: Axes, content: Mapping[str, np.ndarray], color: Any) -> None:
    contours(axes, {name: content[name] for name in NEEDED[1:]})
    axes.scatter(*content["samples"][0].T, s=1.2, color=color, alpha=0.5, linewidths=0, rasterized=True)
    (left, right), (bottom, top) = (axis[[0, -1]] for axis in content["grid"])
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _arrays_of(table: pd.DataFrame, arrays: Arrays, arm: str, n_steps: int) -> Mapping[str, np.ndarray] | None:
    """Return the arrays of the first finished run of a setting; None without such a run."""
    runs = set(table.loc[(table["arm"] == arm) & (table[N_STEPS] == n_steps) & (table["state"] == "done"), "run"])
    return needed_arrays(arrays, min(runs), NEEDED) if runs else None
