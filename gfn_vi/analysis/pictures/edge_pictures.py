"""Probabilities of edges as matrices: row = source, column = target, in the order of the user's columns.

White is 0, as in an adjacency matrix. Edges of the true graph are framed, so that each panel shows what it got right; the
diagonal, where no edge can be, is gray. A figure is as wide as a page up to PAGE_NODES nodes and grows beyond, so that names stay
readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.found_graphs import Graphs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_NODES, NODES_WITH_VALUES = 24, 8
LONGEST_NAME = 24  # characters
CELL, SMALLEST_PANEL, BAR = 0.62, 2.2, 0.11  # inches
NO_EDGE = "0.88"


def edge_figure(graphs: Graphs) -> Figure:
    """Learned probabilities beside the exact ones; beside the true graph where there are none and it is known; or alone."""
    import seaborn
    from matplotlib.figure import Figure

    panels = {f"Learned\n{_spread(graphs)}": graphs.mean}
    if graphs.exact is not None:
        panels[f"Exact posterior\n{graphs.agreement}"] = graphs.exact
    elif graphs.true is not None:
        panels["True graph\n"] = graphs.true.astype(float)
    names = short_names(graphs.names, LONGEST_NAME)
    d, longest = len(names), max(map(len, names))
    scale = max(1.0, d / PAGE_NODES)
    beside = longest * 7 * 0.58 / 72 + 0.3  # inches: names at 7 points and the axis label
    side = min((style.WIDTH * scale - beside - 0.7) / len(panels) - 0.12, max(CELL * d * scale, SMALLEST_PANEL))
    cell = 72 * side / d  # points
    size = min(7.0, 0.9 * cell)  # a name is no higher than its row
    is_upright = longest * size * 0.6 > cell
    below = longest * size * 0.58 / 72 if is_upright else 0.1
    width = beside + len(panels) * (side + 0.12) + 0.7
    figure = Figure(figsize=(width, side + below + 0.75 + (0.2 if graphs.true is not None else 0)), layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    look: dict[str, Any] = {"cmap": style.PROBABILITY, "vmin": 0, "vmax": 1, "cbar": False, "square": True}
    look |= {"mask": np.eye(d, dtype=bool), "linewidths": 0.4, "linecolor": "0.85", "fmt": ".2f"}
    for axes, (title, values) in zip(every, panels.items(), strict=True):
        has_values = d <= NODES_WITH_VALUES and not title.startswith("True")
        seaborn.heatmap(values, ax=axes, annot=has_values, annot_kws={"fontsize": min(7.0, 0.3 * cell)}, **look)
        for i, j in np.argwhere(np.zeros((d, d)) if graphs.true is None else graphs.true):
            axes.add_patch(_frame((j, i), min(1.4, 0.09 * cell)))
        for text in axes.texts:
            text.set_color("white" if float(text.get_text()) > 0.6 else "0.15")
        axes.set(xlabel="Target", facecolor=NO_EDGE)
        axes.set_title(title, fontsize=7.5)
        axes.grid(False)
        axes.tick_params(length=0)
        ticks = np.arange(d) + 0.5
        axes.set_xticks(ticks, names, fontsize=size, rotation=90 if is_upright else 0, parse_math=False)
        axes.set_yticks(ticks, names if axes is every[0] else [""] * d, fontsize=size, rotation=0, parse_math=False)
        axes.spines[:].set(visible=True, color="0.4", linewidth=0.6)
    every[0].set_ylabel("Source")
    place = every[-1].inset_axes((1 + BAR / side, 0, BAR / side, 1))
    figure.colorbar(every[-1].collections[0], cax=place, label="Probability of the edge")
    if graphs.doubt is not None:
        style.note(figure, f"Frequencies of the sampler, maybe not of the posterior: importance weights {graphs.doubt}.")
    if graphs.true is not None:
        figure.legend(handles=[_frame((0, 0))], labels=["edge of the true graph"], loc="outside upper right", **style.LEGEND)
    return figure


def _spread(graphs: Graphs) -> str:
    """Over what was averaged, and what that is worth."""
    kept, n = len(graphs.replicas), graphs.n_replicas
    parts = [f"mean over {kept if kept == n else f'{kept} of {n}'} replicas"] if n > 1 else []
    if graphs.doubt is None and graphs.n_drawn is not None and graphs.bounds is not None:
        low, high = graphs.bounds
        width = f"{(high - low).max():.2g}"
        parts.append(f"with 95% intervals up to {width} apart" if n > 1 else f"95% intervals up to {width} wide")
    return ", ".join(parts)


def _frame(cell: tuple[int, int], width: float = 1.4) -> Any:
    """Around the cell (column, row)."""
    from matplotlib.patches import Rectangle

    return Rectangle(cell, 1, 1, fill=False, edgecolor=style.palette(6)[5], linewidth=width, zorder=3)


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Names in one line of at most `longest` characters, cut in the middle; with their number where two became equal."""
    plain = [" ".join(name.split()) for name in names]
    half = (longest - 1) // 2
    short = [name if len(name) <= longest else f"{name[: longest - 1 - half]}…{name[-half:]}" for name in plain]
    return [name if short.count(name) == 1 else f"{n}: {name}" for n, name in enumerate(short, 1)]
