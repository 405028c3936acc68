"""Table 2 of arXiv 2210.00580 (section 4.3), drawn: learned posteriors over graphs against exact ones, and their edges.

(a) Exact JSD: a row per number of nodes d, a column per objective. A thin line is a graph, a thick one a statistic over graphs
(median by default), broken on-policy and whole off-policy; gray is off-policy TB. Graphs fall in two groups, so that an interval
would cover all heights between them: intervals are in table2.csv. The last two columns have one point per graph, hollow on-policy
and filled off-policy, and the statistic as a bar: after all updates, with the mean that the paper reports, and after as many
reward evaluations as every setting of that size has made. What is below ROUNDING is drawn on the edge of a gray band. (b)
edges.py. Beside the figure: Table 2 as LaTeX and CSV (table2.py), and how well marginals of edges, paths and Markov blankets are
learned (edge_marginals.csv).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.dag_posterior.budgets import Standing, smallest_totals
from gfn_vi.experiments.dag_posterior.edges import SMALL, Arrays, draw_edges
from gfn_vi.experiments.dag_posterior.latex import table_text
from gfn_vi.experiments.dag_posterior.table2 import (
    COLORS,
    MARGINALS,
    OBJECTIVES,
    PAPER,
    REWARD_EVALUATIONS,
    ROUNDING,
    SIZE,
    UPDATES,
    WORST_JSD,
    Settings,
    csv_text,
    jsd_rows,
    marginal_rows,
    settings,
    standings,
)
from gfn_vi.experiments.measures import JSD
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import SHORT, SIDES, parts
from gfn_vi.analysis.reading.curves import X_LABELS, Curve, curves, draw_curve, draw_reference, draw_replicas
from gfn_vi.analysis.reading.table import require_columns, table_hash

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (JSD,)
METRICS, AT_END = ("jsd",), tuple(MARGINALS)  # of the committed results

CONFIG_KEYS = (SIZE.removeprefix("config."),)
BLOCKS = ("target.data.seed",)  # graphs are replicas: every arm has the same ones
LINES = {"": (0, (3, 1.2)), OFF_POLICY: "-"}
REFERENCE = "trajectory_balance" + OFF_POLICY
SAME = ("wake_sleep", "forward_kl")  # with a uniform P_B, run by run
ENDS = {UPDATES: "At equal\nupdates", REWARD_EVALUATIONS: "At equal\nevaluations"}
STATISTICS = {"median": "Median over graphs", "mean": "Mean over graphs", "iqm": "Interquartile mean"}
IN_ONE_ROW = 6  # entries of a legend
DODGE = 0.2  # between the two sides at the end

Curves = dict[tuple[str, int], Curve]


def figure(table: pd.DataFrame, arrays: Arrays, x: str = "trajectories", statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `edges_learned` [R, d, d] and `edges_target` [d, d]."""
    from matplotlib.figure import Figure

    require_columns(table, ["arm", SIZE])
    jsd = {
        (str(arm), int(size)): replace(curve, values=np.maximum(curve.values, ROUNDING))
        for (arm, size), curve in curves(table, "jsd", ["arm", SIZE], x, WORST_JSD).items()
    }
    sizes = sorted({size for _, size in jsd})
    heights = [0.85 + 1.1 * len(sizes), 0.55 + 1.15 * len(sizes)]
    page = Figure(figsize=(style.WIDTH, sum(heights)), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=heights)
    _distances(upper, settings(table), jsd, sizes, x, statistic)
    draw_edges(lower, table, arrays, {arm for arm, _ in jsd}, sizes)
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: Table 2 for a paper and in numbers, and the errors of marginals."""
    found = settings(table)
    return {
        "table2.tex": table_text(found, table_hash(table)),
        "table2.csv": csv_text(jsd_rows(found)),
        "edge_marginals.csv": csv_text(marginal_rows(table)),
    }


def _distances(page: SubFigure, found: Settings, jsd: Curves, sizes: Sequence[int], x: str, statistic: str) -> None:
    columns = _columns(jsd)
    widths = [1.0] * len(columns) + [1.0 + 0.1 * len(columns)] * len(ENDS)
    every = page.subplots(len(sizes), len(widths), squeeze=False, sharey="row", width_ratios=widths)
    budgets, by_budget = smallest_totals(found), standings(found)
    for row, size in zip(every, sizes, strict=True):
        for axes, objective in zip(row, columns, strict=False):
            if {(objective + side, size) for side in SIDES} & set(jsd):
                _lines(axes, jsd, objective, size, statistic)
                _dress(axes, x, budgets[size])
            else:
                axes.set_axis_off()
        for axes, budget in zip(row[len(columns) :], ENDS, strict=True):
            of_size = {arm: standing for (arm, of), standing in by_budget[budget].items() if of == size}
            _ends(axes, of_size, list(columns), statistic)
            if budget == UPDATES:
                _published(axes, list(columns), size, of_size)
        failed = sum(curve.n_failed for (_, of), curve in jsd.items() if of == size)
        row[0].set_ylabel(f"$d = {size}$\nJSD" + (f"\nfailed: {failed}" if failed else ""), fontsize=SMALL)
        _scale(row)
    for axes, (objective, title) in zip(every[0], columns.items(), strict=False):
        axes.set_title(title, fontsize=SMALL, color=COLORS[objective], linespacing=1.0)
    for axes, title in zip(every[0, len(columns) :], ENDS.values(), strict=True):
        axes.set_title(title, fontsize=SMALL, linespacing=1.0)
    for axes in every[-1, len(columns) :]:
        axes.set_xticks(range(len(columns)), [SHORT[name] for name in columns], fontsize=6.5, rotation=90)
    every[-1, len(columns) // 2].set_xlabel(X_LABELS[x], fontsize=SMALL)
    _legend(page, set(jsd), statistic, any(axes.patches for axes in every[:, 0]), x == "reward_calls")


def _columns(jsd: Curves) -> dict[str, str]:
    """Return objective -> title of its column; wake-sleep has none where all its numbers are those of forward KL."""
    present = {parts(arm)[0] for arm, _ in jsd}
    titles = {name: title.replace(" ", "\n", 1) for name, title in OBJECTIVES.items() if name in present}
    one, other = SAME
    pairs = [(curve.values, jsd.get((other + parts(arm)[1], d))) for (arm, d), curve in jsd.items() if parts(arm)[0] == one]
    if pairs and all(of is not None and np.array_equal(values, of.values) for values, of in pairs):
        titles = {name: title for name, title in titles.items() if name != one} | {
            other: f"{OBJECTIVES[other]} =\n{OBJECTIVES[one].lower()}"
        }
    return titles


def _lines(axes: Axes, jsd: Curves, objective: str, size: int, statistic: str) -> None:
    """Draw an objective on- and off-policy, over off-policy TB."""
    if (REFERENCE, size) in jsd and objective + OFF_POLICY != REFERENCE:
        draw_reference(axes, jsd[REFERENCE, size], statistic)
    for side, line in LINES.items():
        if (objective + side, size) in jsd:
            curve, color = jsd[objective + side, size], COLORS[objective]
            axes.plot(curve.x, curve.values.T, color=color, linestyle=line, linewidth=0.5, alpha=0.45, label="_graph")
            draw_curve(axes, curve, statistic, color, objective + side, line, band=False)


def _dress(axes: Axes, x: str, budget: float) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if x == "reward_calls":  # settings spend up to a hundred times as much as others
        axes.set_xscale("log")
        axes.axvline(budget, color="0.4", linewidth=0.8, linestyle=":", zorder=0)
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _ends(axes: Axes, found: Mapping[str, Standing], columns: Sequence[str], statistic: str) -> None:
    """Draw each graph and the statistic over graphs; what has no evaluation within the budget is marked as not available."""
    for place, objective in enumerate(columns):
        for shift, side in zip((-DODGE, DODGE), SIDES, strict=True):
            standing, x = found.get(objective + side), place + shift
            if standing is not None and standing.is_trained:
                draw_replicas(axes, x, np.maximum(standing.values, ROUNDING), statistic, COLORS[objective], bool(side))
            elif standing is not None:
                axes.text(x, 0.03, "n/a", rotation=90, ha="center", fontsize=6.5, transform=axes.get_xaxis_transform())
    axes.set_xticks(range(len(columns)), [])
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.grid(axis="x", visible=False)


def _published(axes: Axes, columns: Sequence[str], size: int, found: Container[str]) -> None:
    """Draw the means over 20 graphs that the paper reports, of the arms that have been run."""
    for arm, by_size in PAPER.items():
        objective, side = parts(arm)
        if arm in found and size in by_size:
            x = columns.index(objective) + (DODGE if side else -DODGE)
            axes.plot(x, by_size[size][0], "x", color="0.1", markersize=4, markeredgewidth=0.9, zorder=5)


def _scale(row: np.ndarray) -> None:
    """Make a row logarithmic, of its own, since sizes differ by ten orders of magnitude, and shade what is only rounding."""
    from matplotlib.ticker import LogLocator

    row[0].set_yscale("log")
    row[0].yaxis.set_major_locator(LogLocator(numticks=6))
    if row[0].get_ylim()[0] < ROUNDING:
        row[0].set_ylim(bottom=ROUNDING / 10)
        for axes in row:
            axes.axhspan(ROUNDING / 10, ROUNDING, color="0.85", linewidth=0, zorder=0)


def _legend(page: SubFigure, drawn: set[tuple[str, int]], statistic: str, has_rounding: bool, has_budget: bool) -> None:
    """Name what is drawn, of these settings and numbers of nodes, and nothing that a sweep which has just begun lacks."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    faces = {"": "white", OFF_POLICY: "0.35"}
    handles = [
        Line2D([], [], color="0.35", linestyle=LINES[side], marker="o", markersize=3, markerfacecolor=faces[side], label=title)
        for side, title in SIDES.items()
        if any(parts(arm)[1] == side for arm, _ in drawn)
    ]
    if any((REFERENCE, size) in drawn and parts(arm)[0] != parts(REFERENCE)[0] for arm, size in drawn):
        handles.append(Line2D([], [], color="0.6", linewidth=0.9, label="Off-policy TB"))
    handles.append(Line2D([], [], color="0.1", linewidth=1.2, label=STATISTICS[statistic]))
    if any(size in PAPER.get(arm, {}) for arm, size in drawn):
        handles.append(Line2D([], [], color="0.1", linestyle="", marker="x", markersize=4, label="Mean in the paper"))
    if has_rounding:
        handles.append(Patch(color="0.85", label="Rounding"))
    if has_budget:
        handles.append(Line2D([], [], color="0.4", linestyle=":", linewidth=0.8, label="Equal evaluations"))
    look = style.LEGEND | {"handlelength": 2.2, "fontsize": SMALL}
    columns = len(handles) if len(handles) <= IN_ONE_ROW else -(-len(handles) // 2)
    page.legend(handles=handles, loc="outside upper center", ncols=columns, title="(a) Exact JSD", title_fontsize=8, **look)
