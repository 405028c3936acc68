"""Objectives and explorations of diffusion samplers on densities: where each ends, a panel per density and measure.

A row is an objective, or an arm that is no objective with an exploration. Marks are a statistic over replicas (median by default)
at the end of training, lines its 95% bootstrap interval, which for the median of five replicas is their range; explorations have
a marker and a height within the row. Less is better in every panel. Measures are EUBO - ELBO, |log Z - ELBO|, the error of the
reweighted estimate of log Z, W2, and errors of the masses of modes or wells; of a density without exact samples (Cox process) it
is how far the ELBO is below the highest of all replicas. A mark is hollow where importance weights do not carry its number.
Replicas that failed lie at the right edge. The dotted line is the median before training, the gray band W2 between two sets of
exact samples. Beside the figure: benchmark.csv, these numbers beside published ones, and the same as LaTeX (benchmark.tex).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.diffusion_benchmark.latex import OTHERS, table_text
from gfn_vi.experiments.diffusion_benchmark.panels import Panel, panels
from gfn_vi.experiments.diffusion_benchmark.rows import benchmark_rows, csv_text
from gfn_vi.experiments.diffusion_benchmark.settings import (
    DENSITIES,
    ELBO,
    EXPLORATIONS,
    FUNNEL_S,
    GAP,
    OBJECTIVES,
    OPTIONAL,
    Settings,
    label_of,
    parts,
    settings,
    spread,
)

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import SCORE_CALLS
from gfn_vi.analysis.reading.table import table_hash
from gfn_vi.analysis.statistics.summary import STATISTICS, interval_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (GAP, ELBO)
CONFIG_KEYS = (FUNNEL_S.removeprefix("config."),)
METRICS = (ELBO.metric, "sampled_log_Z", *OPTIONAL, SCORE_CALLS)  # of the committed results
COLUMNS = 5  # panels side by side
COLORS = style.palette(5)
LOOKS: dict[str | None, tuple[str, Any]] = {  # exploration -> marker, color
    "": ("o", "0.15"),
    "_widened": ("s", COLORS[0]),
    "_replay": ("^", COLORS[3]),
    "_local_search": ("D", COLORS[2]),
    None: ("X", COLORS[4]),
}
PITCH = 0.21  # of a row, between marks of one objective
EDGE = 2.0  # replicas that failed lie so many times as far to the right as what is largest
LEAST = 2.0  # factor that every logarithmic axis shows
FEWEST_ROWS = 4  # that a panel has the height of
SMALL = 7  # points
NOT_RECORDED = "What the importance weights behind the reweighted log Z error are worth was not recorded: it may be far off."

Arrays = Mapping[str, Mapping[str, np.ndarray]]


def figure(table: pd.DataFrame, arrays: Arrays, statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; nothing is drawn of arrays."""
    from matplotlib.figure import Figure

    found = settings(table)
    every = panels(found)
    used = {parts(arm) for arm, _ in found}
    rows = [name for name in OBJECTIVES if any(objective == name for objective, _ in used)]
    rows += list(dict.fromkeys(arm for arm, _ in found if parts(arm)[1] is None))
    n_rows = math.ceil(len(every) / COLUMNS)
    page = Figure(figsize=(style.WIDTH, 0.7 + n_rows * (0.65 + 0.21 * max(len(rows), FEWEST_ROWS))), layout="constrained")
    grid = page.subplots(n_rows, min(COLUMNS, len(every)), squeeze=False, sharey=True).ravel()
    for axes, panel in zip(grid, every, strict=False):
        _draw(axes, panel, rows, statistic)
    for axes in grid[len(every) :]:
        axes.set_visible(False)
    _legend(page, found, every, statistic)
    if any(setting.n_weak is None and not np.isnan(setting.reweighted_error).all() for setting in found.values()):
        style.note(page, NOT_RECORDED)
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: the numbers at the end beside published ones, in numbers and for a paper."""
    found = settings(table)
    return {"benchmark.csv": csv_text(benchmark_rows(found)), "benchmark.tex": table_text(found, table_hash(table))}


def _draw(axes: Axes, panel: Panel, rows: Sequence[str], statistic: str) -> None:
    """Draw a mark with its interval for every arm, in the row of its objective."""
    bounds = {arm: spread(values, statistic) for arm, values in panel.replicas.items()}
    finite = [bound for of_arm in bounds.values() for bound in of_arm if math.isfinite(bound)]
    edge = EDGE * max(finite, default=1.0)
    for row in range(0, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.96", linewidth=0, zorder=0)
    if not math.isnan(panel.floor[0]):
        axes.axvspan(*panel.floor, color="0.8", linewidth=0, zorder=1)
    if math.isfinite(panel.untrained):
        axes.axvline(panel.untrained, color="0.4", linewidth=0.9, linestyle=":", zorder=1)
    for arm, of_arm in bounds.items():
        objective, exploration = parts(arm)
        marker, color = LOOKS[exploration]
        place = 0.0 if exploration is None else PITCH * (list(EXPLORATIONS).index(exploration) - (len(EXPLORATIONS) - 1) / 2)
        y = rows.index(objective) + place
        low, estimate, high = (edge if bound == math.inf else bound for bound in of_arm)
        if arm in panel.weak:
            style.mark_weak(axes, [estimate], [y], color, marker)
            continue
        axes.plot([low, high], [y, y], color=color, linewidth=1)
        axes.plot(estimate, y, marker, color=color, markersize=3.4, markeredgewidth=0, label=arm, zorder=3)
    _scale(axes, panel.scale)
    axes.set_yticks(range(len(rows)), [label_of(name) for name in rows], fontsize=SMALL)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_title(DENSITIES.get(panel.density, panel.density) + (f"\nfailed: {panel.n_failed}" if panel.n_failed else ""))
    axes.set_xlabel(panel.label, fontsize=SMALL)


def _scale(axes: Axes, scale: str) -> None:
    """Scale the axis of numbers; one that spans less than two decades has ticks within them. symlog: linear below 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if scale == "linear":
        return
    if scale == "symlog":
        axes.set_xscale(scale, linthresh=1)
        axes.set_xlim(left=-0.3)
    else:
        axes.set_xscale(scale)
        low, high = axes.get_xlim()
        wider = max(1.0, math.sqrt(LEAST * low / high))
        low, high = axes.set_xlim(low / wider, high * wider)
        subs = (1.0,) if high > 50 * low else (1.0, 2.0, 5.0) if high > 6 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        if len(subs) > 1:
            axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(page: Figure, found: Settings, every: Sequence[Panel], statistic: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {parts(arm)[1] for arm, _ in found}
    titles = {**EXPLORATIONS, None: OTHERS}
    handles: list[Any] = [
        Line2D([], [], color=color, marker=marker, markersize=4, linewidth=1, label=titles[exploration])
        for exploration, (marker, color) in LOOKS.items()
        if exploration in used
    ]
    handles.append(Line2D([], [], color="0.4", linewidth=0.9, linestyle=":", label="Before training"))
    if not all(math.isnan(panel.floor[0]) for panel in every):
        handles.append(Patch(color="0.8", label="Two exact samples"))
    replicas = "/".join(map(str, sorted({len(setting.elbo.final) for setting in found.values()})))
    spent = " or ".join(f"{n:,}" for n in sorted({int(setting.elbo.x[-1]) for setting in found.values()}))
    interval = interval_in_words([len(setting.elbo.final) for setting in found.values()], statistic)
    estimate = STATISTICS[statistic].capitalize()
    told = f"{estimate} of {replicas} replicas and their {interval}, after {spent} trajectories; less is better"
    page.legend(handles=handles, loc="outside upper center", ncols=len(handles), title=told, title_fontsize=8, **style.LEGEND)
