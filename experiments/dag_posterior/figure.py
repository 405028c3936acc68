"""Table 2 of arXiv 2210.00580 (section 4.3), drawn: learned posteriors over graphs against exact ones, and their edges.

(a) Exact JSD, a panel per number of nodes d. Lines are a statistic over graphs (median by default), each graph with its own data;
graphs differ so much that the bands of twelve settings would hide each other: intervals are in table2.csv. (b) The probability of
each edge, exact against learned, at the end of training: a point per ordered pair of nodes and graph, for the settings of the
published table; what has learned the posterior is on the diagonal. Beside the figure: Table 2 as LaTeX and CSV (table2), and how
well marginals of edges, paths and Markov blankets are learned (edge_marginals.csv).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.dag_posterior.budgets import smallest_totals
from gfn_vi.experiments.dag_posterior.latex import table_text
from gfn_vi.experiments.dag_posterior.table2 import (
    ARMS,
    OBJECTIVES,
    SIDES,
    SIZE,
    WORST_JSD,
    csv_text,
    jsd_rows,
    marginal_rows,
    settings,
)
from gfn_vi.experiments.measures import JSD
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import X_LABELS, Curve, curves, draw_curve, n_failed
from gfn_vi.analysis.reading.table import require_columns, table_hash
from gfn_vi.runs.reading import needed_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (JSD,)

CONFIG_KEYS = (SIZE.removeprefix("config."),)
BLOCKS = ("target.data.seed",)  # graphs are replicas: every arm has the same ones
COLORS = dict(zip(OBJECTIVES, (style.palette(6)[n] for n in (0, 1, 5, 2, 3, 4)), strict=True))  # as in the figures of grids
LINES = {"": (0, (3, 1.2)), OFF_POLICY: "-"}
IN_ONE_ROW = 8  # entries of a legend
SHOWN = (  # of which edges are drawn: the rows of the paper's table
    "trajectory_balance_off_policy",
    "modified_detailed_balance_off_policy",
    "trajectory_balance",
    "reverse_kl",
    "reverse_kl_off_policy",
)

Arrays = Mapping[str, Mapping[str, np.ndarray]]
Curves = dict[tuple[str, int], Curve]


def figure(table: pd.DataFrame, arrays: Arrays, x: str = "trajectories", statistic: str = "median") -> Figure:
    """Draw the finished runs of the table; arrays: by run name, `edges_learned` [R, d, d] and `edges_target` [d, d]."""
    from matplotlib.figure import Figure

    require_columns(table, ["arm", SIZE])
    jsd = {(str(arm), int(size)): curve for (arm, size), curve in curves(table, "jsd", ["arm", SIZE], x, WORST_JSD).items()}
    sizes = sorted({size for _, size in jsd})
    present = {arm for arm, _ in jsd}
    shown = [arm for arm in SHOWN if arm in present] or [arm for arm in ARMS if arm in present][: len(SHOWN)]
    heights = [2.7, 0.25 + 1.32 * len(sizes)]
    page = Figure(figsize=(style.WIDTH, sum(heights)), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=heights)
    _curves(upper, table, jsd, sizes, x, statistic)
    _edges(lower, table, arrays, shown, sizes)
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: Table 2 for a paper and in numbers, and the errors of marginals."""
    found = settings(table)
    return {
        "table2.tex": table_text(found, table_hash(table)),
        "table2.csv": csv_text(jsd_rows(found)),
        "edge_marginals.csv": csv_text(marginal_rows(table)),
    }


def _curves(page: SubFigure, table: pd.DataFrame, jsd: Curves, sizes: Sequence[int], x: str, statistic: str) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator

    every = page.subplots(1, len(sizes), squeeze=False)[0]
    equal = smallest_totals(settings(table)) if x == "reward_calls" else {}
    for axes, size in zip(every, sizes, strict=True):
        for arm in ARMS:
            if (arm, size) in jsd:
                objective, side = _parts(arm)
                draw_curve(axes, jsd[arm, size], statistic, COLORS[objective], arm, LINES[side], band=False)
        failed = n_failed(curve for (_, of), curve in jsd.items() if of == size)
        axes.set_title(f"$d = {size}$" + (f". {failed}" if failed else ""), fontsize=6 if failed else None)
        axes.set_xlabel(X_LABELS[x])
        if size in equal:  # settings spend up to a hundred times as much as others
            axes.set_xscale("log")
            axes.axvline(equal[size], color="0.4", linewidth=0.8, linestyle=":", zorder=0)
        else:
            axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_yscale("log")  # of its own: sizes differ by ten orders of magnitude
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    every[0].set_ylabel("Jensen-Shannon divergence")
    every[0].set_title("(a)", loc="left")
    _legend(page, {_parts(arm) for arm, _ in jsd if arm in ARMS}, bool(equal))


def _legend(page: SubFigure, present: set[tuple[str, str]], has_budget: bool) -> None:
    """Draw the legend: colors are objectives, lines are sides."""
    from matplotlib.lines import Line2D

    objectives = [name for name in OBJECTIVES if name in {objective for objective, _ in present}]
    handles = [Line2D([], [], color=COLORS[name], label=OBJECTIVES[name]) for name in objectives]
    for side, title in SIDES.items():
        if side in {of for _, of in present}:
            handles.append(Line2D([], [], color="0.35", linestyle=LINES[side], label=title.lower()))
    if has_budget:
        handles.append(Line2D([], [], color="0.4", linestyle=":", linewidth=0.8, label="equal evaluations"))
    look = style.LEGEND | {"handlelength": 1.6, "columnspacing": 0.9, "fontsize": 7}
    columns = len(handles) if len(handles) <= IN_ONE_ROW else -(-len(handles) // 2)
    page.legend(handles=handles, loc="outside upper center", ncols=columns, **look)


def _edges(page: SubFigure, table: pd.DataFrame, arrays: Arrays, shown: Sequence[str], sizes: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    every = page.subplots(len(sizes), len(shown), sharex=True, sharey=True, squeeze=False)
    found = {(size, arm): _marginals(table, arrays, arm, size) for size in sizes for arm in shown}
    points = np.concatenate([part for exact, learned, _ in found.values() for part in (exact, learned)])
    low, high = (float(points.min()) - 0.03, float(points.max()) + 0.03) if len(points) else (0.0, 1.0)
    for column, arm in enumerate(shown):
        objective, side = _parts(arm)
        for row, size in enumerate(sizes):
            axes = every[row, column]
            axes.set(box_aspect=1, xlim=(low, high), ylim=(low, high))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=1)
            exact, learned, failed = found[size, arm]
            title = f"{SIDES[side]}\n{OBJECTIVES.get(objective, objective)}\n" if row == 0 else ""
            if len(exact):
                title += f"RMSE {np.sqrt(np.mean((learned - exact) ** 2)):.2g}" + (f", {failed} failed" if failed else "")
                _points(axes, exact, learned, COLORS.get(objective, "0.3"), bool(side))
            axes.set_title(title, fontsize=7, pad=3)
    page.text(0.01, 0.99, "(b)", va="top")
    for row, size in enumerate(sizes):
        every[row, 0].set_ylabel(f"$d = {size}$\nLearned", fontsize=7)
    for axes in every[-1]:
        axes.set_xlabel("Exact probability", fontsize=7)


def _points(axes: Axes, exact: np.ndarray, learned: np.ndarray, color: Any, is_filled: bool) -> None:
    look: dict[str, Any] = {"facecolors": color, "edgecolors": "none", "alpha": 0.55} if is_filled else {"facecolors": "none"}
    if not is_filled:
        look |= {"edgecolors": color, "linewidths": 0.6, "alpha": 0.8}
    axes.scatter(exact, learned, s=9, zorder=2, clip_on=False, **look)


def _marginals(table: pd.DataFrame, arrays: Arrays, arm: str, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return exact and learned probabilities of all ordered pairs of nodes, of all finite replicas, and how many were not."""
    pairs = ~np.eye(size, dtype=bool)
    exact, learned, failed = [np.zeros(0)], [np.zeros(0)], 0
    runs = table.loc[(table["arm"] == arm) & (table[SIZE] == size) & (table["state"] == "done"), "run"]
    for run in sorted(set(runs)):
        content = needed_arrays(arrays, run, ("edges_learned", "edges_target"))
        for of_replica in content["edges_learned"]:
            if np.isfinite(of_replica).all():
                exact.append(content["edges_target"][pairs])
                learned.append(of_replica[pairs])
            else:
                failed += 1
    return np.concatenate(exact), np.concatenate(learned), failed


def _parts(arm: str) -> tuple[str, str]:
    """Return the objective and the side of an arm."""
    side = OFF_POLICY if arm.endswith(OFF_POLICY) else ""
    return arm.removesuffix(side), side
