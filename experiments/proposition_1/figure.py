"""Relative errors of the theorems of arXiv 2210.00580 (Proposition 1 and others) against floating-point precision.

Five targets, (a) untrained and (b) trained, float32 (filled circles) and float64 (hollow squares). Every mark is one replica. A
theorem that holds leaves nothing but rounding: marks lie near the machine epsilon of their precision, whatever the target, and
by up to 3,000 times higher where training has made the gradients small that errors are relative to; sides that ask the same of
the networks agree to the last bit, and errors of exactly 0 stand in the gray band, a row for each precision. Theorem 6 is an
inequality whose error is its excess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.runs.reading import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFIG_KEYS = ("dtype",)
COLUMNS = ("state", "arm", "trajectories", "metric", "value", "config.dtype")
TARGETS = {
    "tiny_dag": "tiny DAG",
    "grid_8x8": "8 x 8",
    "grid_32x32": "32 x 32",
    "grid_8x8x8x8": "8 x 8 x 8 x 8",
    "grid_128x128": "128 x 128",
}
THEOREMS = {
    "theorem_1": r"1: $\mathrm{E}_{P_F}[\nabla_\theta u^2]$" + "\n" + r"$=2\nabla_\theta\mathrm{KL}(P_F,P_B)$",
    "theorem_2": r"2: $\mathrm{E}_{P_B}[\nabla_\phi u^2]$" + "\n" + r"$=2\nabla_\phi\mathrm{KL}(P_B,P_F)$",
    "theorem_3": "3: surrogate\nof eq. 9",
    "theorem_4": "4: TB training =\nreverse KL training",
    "theorem_5": "5: SubTB =\nnested VI",
    "theorem_6": "6: data\nprocessing",
}
MARKERS = {"float32": "o", "float64": "s"}
FILLED = ("float32",)
PRECISIONS = tuple(MARKERS)
METRICS = tuple(THEOREMS)  # of the committed results
FLOOR, TOP = 1e-17, 1e-1  # errors are drawn between these; at TOP also what is not a number: a theorem that fails
ROWS_OF_0 = {"float32": 2.5e-18, "float64": 2.5e-19}  # where exactly 0 is drawn, so that marks do not lie on each other
LOWEST = 6e-20  # of the axis
LOWEST_TOP = 1e-5  # of the axis, where nothing fails
LOOK = {"s": 13, "linewidths": 0.8}


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table."""
    from matplotlib.figure import Figure

    require_columns(table, COLUMNS)
    rows = table[(table["state"] == "done") & table["metric"].isin(list(THEOREMS))]
    if rows.empty:
        raise TableError("no run that measures theorems is done yet: nothing to draw")
    is_trained = rows["trajectories"] > 0
    parts = {"(a) Untrained": rows[~is_trained], "(b) Trained": rows[is_trained]}
    page = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    every = page.subplots(2, 1, sharex=True, sharey=True)
    for axes, (title, own) in zip(every, parts.items(), strict=True):
        _draw(axes, own, [arm for arm in TARGETS if arm in set(rows["arm"])])
        axes.set_title(title, loc="left")
    _axes(every, highest=max([LOWEST_TOP, *_shown(rows["value"].to_numpy(), FLOOR)]))
    _legend(page)
    return page


def _colors() -> dict[str, Any]:
    return dict(zip(TARGETS, style.palette(len(TARGETS)), strict=True))


def _shown(values: np.ndarray, of_0: float) -> np.ndarray:
    """Return where errors are drawn: within FLOOR and TOP, what is no number at TOP, exactly 0 at `of_0`."""
    return np.where(values == 0, of_0, np.clip(np.where(np.isfinite(values), values, TOP), FLOOR, TOP))


def _draw(axes: Axes, rows: pd.DataFrame, arms: Sequence[str]) -> None:
    """Draw a mark for each replica; arms: the targets of both panels, each with a place of its own."""
    colors = _colors()
    for place, theorem in enumerate(THEOREMS):
        for precision, marker in MARKERS.items():
            for offset, arm in enumerate(arms):
                chosen = (rows["metric"] == theorem) & (rows["config.dtype"] == precision) & (rows["arm"] == arm)
                values = rows.loc[chosen, "value"].to_numpy()
                spread = np.linspace(-0.055, 0.055, len(values)) if len(values) > 1 else np.zeros(len(values))
                where = place + 0.175 * (offset - (len(arms) - 1) / 2) + spread
                face = colors[arm] if precision in FILLED else "none"
                heights = _shown(values, ROWS_OF_0[precision])
                axes.scatter(where, heights, marker=marker, facecolors=face, edgecolors=[colors[arm]], **LOOK)


def _axes(every: Sequence[Axes], highest: float) -> None:
    """Set the axes that the panels share, with the machine epsilons; highest: the largest error."""
    powers = [k for k in range(-16, 0, 4) if 10.0**k < 2 * highest]
    for axes in every:
        for precision in PRECISIONS:
            epsilon = float(np.finfo(precision).eps)
            axes.axhline(epsilon, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.text(
                len(THEOREMS) - 0.52, epsilon * 1.5, rf"$\epsilon$ {precision}", ha="right", va="bottom", fontsize=7, color="0.3"
            )
        axes.set_yscale("log")
        axes.set_ylabel("Relative error")
        axes.set_ylim(LOWEST, 2 * highest)
        axes.axhspan(LOWEST, FLOOR, color="0.93", linewidth=0, zorder=0)
        of_0 = float(np.sqrt(np.prod(list(ROWS_OF_0.values()))))
        axes.set_yticks([of_0, *(10.0**k for k in powers)], ["exactly 0", *(rf"$10^{{{k}}}$" for k in powers)])
        axes.minorticks_off()
        axes.set_xlim(-0.5, len(THEOREMS) - 0.5)
        axes.grid(axis="x", visible=False)
        for edge in range(1, len(THEOREMS)):
            axes.axvline(edge - 0.5, color="0.9", linewidth=0.6, zorder=0)
    every[-1].set_xticks(range(len(THEOREMS)), list(THEOREMS.values()))


def _legend(page: Figure) -> None:
    """Draw what colors and shapes mean: targets, then precisions."""
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str = "o", color: Any = "0.35", face: Any = "0.35") -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, markersize=4, color=color, markerfacecolor=face, label=label)

    targets = [mark(label, color=color, face=color) for label, color in zip(TARGETS.values(), _colors().values(), strict=True)]
    of_precision = [mark(name, marker, face="0.35" if name in FILLED else "none") for name, marker in MARKERS.items()]
    page.legend(handles=[*targets, *of_precision], loc="outside upper center", ncols=7, handletextpad=0.1, columnspacing=1.4)
