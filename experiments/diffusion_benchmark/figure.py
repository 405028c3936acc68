"""Objectives and explorations of diffusion samplers on densities: a row of panels per density, a column per exploration.

Lines are the gap EUBO - ELBO, a statistic over replicas (median by default); of a density without exact samples (Cox process) the
ELBO. Colors are objectives; the dashed line is on-policy TB in every panel of its row. The bands of eight objectives would hide
each other: intervals are in benchmark.csv. Arms that are no objective with an exploration stand in a last column. Beside the
figure: benchmark.csv, the numbers at the end beside published ones, and the same as LaTeX (benchmark.tex).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.diffusion_benchmark.latex import table_text
from gfn_vi.experiments.diffusion_benchmark.rows import benchmark_rows, csv_text
from gfn_vi.experiments.diffusion_benchmark.settings import (
    DENSITIES,
    ELBO,
    EXPLORATIONS,
    FUNNEL_S,
    GAP,
    OBJECTIVES,
    OPTIONAL,
    Setting,
    Settings,
    label_of,
    parts,
    settings,
)

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import SCORE_CALLS, X_LABELS, Curve, draw_curve
from gfn_vi.analysis.reading.table import table_hash

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (GAP, ELBO)
CONFIG_KEYS = (FUNNEL_S.removeprefix("config."),)
METRICS = (ELBO.metric, "sampled_log_Z", *OPTIONAL, SCORE_CALLS)  # of the committed results
OTHERS = "Other arms"
REFERENCE = "trajectory_balance"
REFERENCE_LINE = (0, (3, 1.2))
# A gap that is infinite or larger than this is drawn here: in a panel it is as good as not trained at all.
LARGEST_GAP = 1e5

Arrays = Mapping[str, Mapping[str, np.ndarray]]


def figure(table: pd.DataFrame, arrays: Arrays, x: str = "trajectories", statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; nothing is drawn of arrays."""
    from matplotlib.figure import Figure

    found = settings(table, x)
    densities = list(dict.fromkeys(density for _, density in found))
    columns = [exploration for exploration in EXPLORATIONS if any(parts(arm)[1] == exploration for arm, _ in found)]
    others = [arm for arm in dict.fromkeys(arm for arm, _ in found) if parts(arm)[1] is None]
    objectives = [name for name in OBJECTIVES if any(parts(arm)[0] == name for arm, _ in found)] + others
    colors = dict(zip([*OBJECTIVES, *others], style.palette(len(OBJECTIVES) + len(others)), strict=True))
    page = Figure(figsize=(style.WIDTH, 0.75 + 1.3 * len(densities)), layout="constrained")
    shown: list[str | None] = [*columns, *([None] if others else [])]
    every = page.subplots(len(densities), len(shown), squeeze=False, sharex=True, sharey="row")
    for row, density in zip(every, densities, strict=True):
        for axes, exploration in zip(row, shown, strict=True):
            _panel(axes, found, density, exploration, colors, statistic)
        has_gap = any(GAP.metric in of.measured for (_, name), of in found.items() if name == density)
        if has_gap:
            _logarithmic(row)
        failed = sum(of.n_failed for (_, name), of in found.items() if name == density)
        label = f"{DENSITIES.get(density, density)}\n{'EUBO - ELBO' if has_gap else 'ELBO'} (nats)"
        row[0].set_ylabel(label + (f"\n(replicas that failed: {failed})" if failed else ""))
    page.align_ylabels(every[:, 0])
    for axes, exploration in zip(every[0], shown, strict=True):
        axes.set_title(OTHERS if exploration is None else EXPLORATIONS[exploration])
    _axis_of_x(every[0, 0], x)
    for axes in every[-1]:
        axes.set_xlabel(X_LABELS[x] + (" (of arms that ask)" if x == SCORE_CALLS else ""))
    has_reference = len(shown) > 1 and any(arm == REFERENCE for arm, _ in found)
    _legend(page, objectives, colors, has_reference)
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: the numbers at the end beside published ones, in numbers and for a paper."""
    found = settings(table)
    return {"benchmark.csv": csv_text(benchmark_rows(found)), "benchmark.tex": table_text(found, table_hash(table))}


def _panel(axes: Axes, found: Settings, density: str, exploration: str | None, colors: Mapping[str, Any], statistic: str) -> None:
    """Draw the arms of one exploration on one density, and on-policy TB behind those of another."""
    reference = found.get((REFERENCE, density))
    if reference is not None and exploration != "":
        draw_curve(axes, _shown(reference), statistic, colors[REFERENCE], "_reference", REFERENCE_LINE, band=False)
    for (arm, name), setting in found.items():
        if name == density and parts(arm)[1] == exploration:
            draw_curve(axes, _shown(setting), statistic, colors[parts(arm)[0]], arm, band=False)


def _shown(setting: Setting) -> Curve:
    """Return the curve that a panel has: finite, so that it has an interval."""
    gap = setting.measured.get(GAP.metric)
    if gap is not None:
        return Curve(gap.x, np.minimum(gap.values, LARGEST_GAP), gap.seeds, gap.n_failed)
    elbo = setting.elbo
    lowest = elbo.values[np.isfinite(elbo.values)].min()  # before training, as a rule: failing is no better
    return Curve(elbo.x, np.maximum(elbo.values, lowest), elbo.seeds, elbo.n_failed)


def _logarithmic(row: Sequence[Axes]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    row[0].set_yscale("log")  # all panels of a row share the axis
    row[0].yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=6))
    row[0].yaxis.set_major_formatter(EngFormatter(sep=""))
    row[0].yaxis.set_minor_locator(NullLocator())


def _axis_of_x(axes: Axes, x: str) -> None:
    """Set the axis that all panels share; one of calls is logarithmic: arms spend up to a hundred times as much as others."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

    if x in ("reward_calls", SCORE_CALLS):
        axes.set_xscale("log", nonpositive="mask")  # before training there are no calls
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _legend(page: Figure, objectives: Sequence[str], colors: Mapping[str, Any], has_reference: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colors[name], label=label_of(name)) for name in objectives]
    if has_reference:
        handles.append(Line2D([], [], color=colors[REFERENCE], linestyle=REFERENCE_LINE, label="TB, on-policy, in every panel"))
    columns = -(-len(handles) // 2) if len(handles) > 5 else len(handles)
    page.legend(handles=handles, loc="outside upper center", ncols=columns, **(style.LEGEND | {"fontsize": 7}))
