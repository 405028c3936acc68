"""The probability of each edge, exact against learned: a point per ordered pair of nodes and graph.

What has learned the posterior is on the diagonal; a row of points at 1/2 is a sampler that draws complete graphs in any order of
the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.dag_posterior.table2 import ARMS, COLORS, OBJECTIVES, SIZE

from gfn_vi.analysis.pictures.arms import SIDES, parts
from gfn_vi.runs.reading import needed_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SHOWN = (  # the rows of the paper's table
    "trajectory_balance_off_policy",
    "modified_detailed_balance_off_policy",
    "trajectory_balance",
    "reverse_kl",
    "reverse_kl_off_policy",
)
SMALL = 7  # points

Arrays = Mapping[str, Mapping[str, np.ndarray]]


def draw_edges(page: SubFigure, table: pd.DataFrame, arrays: Arrays, present: set[str], sizes: Sequence[int]) -> None:
    """Draw a row per number of nodes and a column per arm; `present`: arms that have finished runs."""
    from matplotlib.ticker import MaxNLocator

    shown = [arm for arm in SHOWN if arm in present] or [arm for arm in ARMS if arm in present][: len(SHOWN)]
    every = page.subplots(len(sizes), len(shown), sharex=True, sharey=True, squeeze=False)
    found = {(size, arm): _marginals(table, arrays, arm, size) for size in sizes for arm in shown}
    points = np.concatenate([part for exact, learned, _ in found.values() for part in (exact, learned)])
    low, high = (float(points.min()) - 0.03, float(points.max()) + 0.03) if len(points) else (0.0, 1.0)
    for column, arm in enumerate(shown):
        objective, side = parts(arm)
        for row, size in enumerate(sizes):
            axes = every[row, column]
            axes.set(box_aspect=1, xlim=(low, high), ylim=(low, high))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
            axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=1)
            exact, learned, failed = found[size, arm]
            title = f"{SIDES[side]}\n{OBJECTIVES.get(objective, objective)}\n" if row == 0 else ""
            if len(exact):
                title += f"RMSE {np.sqrt(np.mean((learned - exact) ** 2)):.2g}" + (f", {failed} failed" if failed else "")
                _points(axes, exact, learned, COLORS.get(objective, "0.3"), bool(side))
            axes.set_title(title, fontsize=SMALL, pad=3)
    for row, size in enumerate(sizes):
        every[row, 0].set_ylabel(f"$d = {size}$\nLearned", fontsize=SMALL)
    for axes in every[-1]:
        axes.set_xlabel("Exact probability", fontsize=SMALL)
    page.suptitle("(b) Probability of each edge at the end, a point per pair of nodes and graph", fontsize=8)


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
