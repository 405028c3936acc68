"""Relative errors of the theorems of arXiv 2210.00580 (Proposition 1 and others) against floating-point precision.

Five targets, untrained (hollow) and trained (filled), float32 (circles) and float64 (squares). Every mark is one replica. A
theorem that holds leaves nothing but rounding: no mark is far above the machine epsilon of its precision, whatever the target;
sides that ask the same of the networks agree to the last bit. Theorem 6 is an inequality whose error is its excess.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
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
PRECISIONS = tuple(MARKERS)
METRICS = tuple(THEOREMS)  # of the committed results
FLOOR, TOP = 1e-18, 1e-1  # exactly 0 is drawn here, and here what is larger or not a number: a theorem that fails
LOWEST_TOP = 1e-5  # of the axis, where nothing fails
LOOK = {"s": 13, "linewidths": 0.8}


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table."""
    from matplotlib.figure import Figure

    require_columns(table, COLUMNS)
    rows = table[(table["state"] == "done") & table["metric"].isin(list(THEOREMS))]
    if rows.empty:
        raise TableError("no run that measures theorems is done yet: nothing to draw")
    page = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
    _draw(page.subplots(), rows)
    _legend(page)
    return page


def _colors() -> dict[str, Any]:
    return dict(zip(TARGETS, style.palette(len(TARGETS)), strict=True))


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    colors = _colors()
    present = [arm for arm in TARGETS if arm in set(rows["arm"])]
    highest = LOWEST_TOP
    for place, theorem in enumerate(THEOREMS):
        for precision, marker in MARKERS.items():
            for offset, arm in enumerate(present):
                chosen = (rows["metric"] == theorem) & (rows["config.dtype"] == precision) & (rows["arm"] == arm)
                found = rows.loc[chosen].sort_values("trajectories", kind="stable")
                values, trained = found["value"].to_numpy(), found["trajectories"].to_numpy() > 0
                spread = np.linspace(-0.055, 0.055, len(values)) if len(values) > 1 else np.zeros(len(values))
                where = place + 0.15 * (offset - (len(present) - 1) / 2) + spread
                shown = np.clip(np.where(np.isfinite(values), values, TOP), FLOOR, TOP)
                highest = max(highest, float(shown.max(initial=0)))
                for of, face in ((~trained, "none"), (trained, colors[arm])):
                    axes.scatter(where[of], shown[of], marker=marker, facecolors=face, edgecolors=[colors[arm]], **LOOK)
    for precision in PRECISIONS:
        epsilon = float(np.finfo(precision).eps)
        axes.axhline(epsilon, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.text(
            len(THEOREMS) - 0.52, epsilon * 1.5, rf"$\epsilon$ {precision}", ha="right", va="bottom", fontsize=7, color="0.3"
        )
    axes.set_yscale("log")
    axes.set_ylabel("Relative error")
    axes.set_ylim(FLOOR / 3, 2 * highest)
    powers = [k for k in range(-16, 0, 4) if 10.0**k < 2 * highest]
    axes.set_yticks([FLOOR, *(10.0**k for k in powers)], ["0", *(rf"$10^{{{k}}}$" for k in powers)])
    axes.minorticks_off()
    axes.set_xticks(range(len(THEOREMS)), list(THEOREMS.values()))
    axes.set_xlim(-0.5, len(THEOREMS) - 0.5)
    axes.grid(axis="x", visible=False)
    for edge in range(1, len(THEOREMS)):
        axes.axvline(edge - 0.5, color="0.9", linewidth=0.6, zorder=0)


def _legend(page: Figure) -> None:
    """Draw what colors, shapes and fillings mean, in two lines: targets above the rest."""
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str = "o", color: Any = "0.35", face: Any = "0.35") -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, markersize=4, color=color, markerfacecolor=face, label=label)

    above = [mark(label, color=color, face=color) for label, color in zip(TARGETS.values(), _colors().values(), strict=True)]
    below = [mark("untrained", face="none"), mark("trained"), *(mark(name, marker) for name, marker in MARKERS.items())]
    columns = [handle for pair in zip_longest(above, below) for handle in pair if handle is not None]
    page.legend(handles=columns, loc="outside upper center", ncols=len(above), handletextpad=0.1, columnspacing=1.6)
