"""Eight Gaussians (appendix of arXiv 2210.00580): squared MMD of five objectives, on-policy and widened, at each number of steps.

(a) Squared MMD to exact samples. Lines are a statistic over replicas (median by default), broken on-policy and whole with widened
steps; bands are 95% bootstrap intervals. The gray band is the floor, the squared MMD of two sets of exact samples: 95% of its
values over all replicas and settings. They lie around 0, so the axis is linear up to the largest of them. (b) Samples of one
replica, the first, over the contours of the target. Beside the figure: mmd.csv, the numbers at the end and when replicas failed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.eight_gaussians.settings import ARMS, N_STEPS, OBJECTIVES, SIDES, SQUARED_MMD, Setting, parts, settings
from gfn_vi.experiments.paper_arms import OBJECTIVES as ALL_OBJECTIVES
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.densities import contours
from gfn_vi.analysis.reading.curves import X_LABELS, draw_curve, n_failed
from gfn_vi.analysis.statistics.estimates import interval
from gfn_vi.runs.reading import needed_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (SQUARED_MMD,)
CONFIG_KEYS = (N_STEPS.removeprefix("config."),)
COLORS = dict(zip(ALL_OBJECTIVES, style.palette(len(ALL_OBJECTIVES)), strict=True))  # as in the figures of grids
LINES = {"": (0, (3, 1.2)), OFF_POLICY: "-"}
NEEDED = ("samples", "grid", "log_density")
METRICS = (SQUARED_MMD.metric, f"{SQUARED_MMD.metric}_floor", "mode_mass_error", "bound_gap")  # of the committed results
FIRST_REPLICA = ("samples",)

Arrays = Mapping[str, Mapping[str, np.ndarray]]
Settings = Mapping[tuple[str, int], Setting]


def figure(table: pd.DataFrame, arrays: Arrays, x: str = "trajectories", statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `samples` [R, n, 2], the target on a grid; without any no (b)."""
    from matplotlib.figure import Figure

    found = settings(table, x)
    every_t = sorted({n_steps for _, n_steps in found})
    heights = [2.6, 1.65]
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
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    every = page.subplots(1, len(every_t), sharey=True, squeeze=False)[0]
    floors = np.concatenate([setting.floor.values.ravel() for setting in found.values()])
    low, high = np.quantile(floors[np.isfinite(floors)], [0.025, 0.975])
    for axes, n_steps in zip(every, every_t, strict=True):
        axes.axhspan(low, high, color="0.85", linewidth=0)
        for arm in ARMS:
            if (arm, n_steps) in found:
                objective, side = parts(arm)
                draw_curve(axes, found[arm, n_steps].mmd, statistic, COLORS[objective], arm, LINES[side])
        failed = n_failed(setting.mmd for (_, of), setting in found.items() if of == n_steps)
        axes.set_title(f"$T = {n_steps}$" + (f". {failed}" if failed else ""))
        axes.set_xlabel(X_LABELS[x])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    linear_below = float(np.abs(floors[np.isfinite(floors)]).max())
    every[0].set_yscale("symlog", linthresh=linear_below)
    every[0].set_ylim(bottom=-linear_below)
    every[0].set_ylabel("Squared MMD")
    every[0].set_title("(a)", loc="left")
    shown = [Line2D([], [], color=COLORS[name], label=label) for name, label in OBJECTIVES.items()]
    shown += [Line2D([], [], color="0.3", linestyle=LINES[side], label=label) for side, label in SIDES.items()]
    page.legend(handles=shown, loc="outside upper center", ncols=len(shown), **style.LEGEND)


def _samples(page: SubFigure, table: pd.DataFrame, arrays: Arrays, every_t: list[int]) -> None:
    """Draw for each T a block with a row for each side and a column for each objective."""
    blocks = page.subfigures(1, len(every_t), squeeze=False)[0]
    for block, n_steps in zip(blocks, every_t, strict=True):
        every = block.subplots(len(SIDES), len(OBJECTIVES), squeeze=False)
        for row, (side, how) in enumerate(SIDES.items()):
            for axes, (objective, label) in zip(every[row], OBJECTIVES.items(), strict=True):
                axes.set(xticks=[], yticks=[], box_aspect=1)
                for spine in axes.spines.values():
                    spine.set(visible=True, color="0.2", linewidth=0.5)
                if row == 0:
                    axes.set_title(label.replace(" ", "\n", 1), fontsize=6, pad=2, linespacing=0.9)
                content = _arrays_of(table, arrays, objective + side, n_steps)
                if content is None:
                    axes.set_axis_off()
                else:
                    _cloud(axes, content, COLORS[objective])
            every[row, 0].set_ylabel(how, fontsize=6)
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
