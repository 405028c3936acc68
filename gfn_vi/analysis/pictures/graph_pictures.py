"""The most probable graphs, drawn on circles: a node is at the same place in every panel, and no edge runs through a node
(among many nodes edges are bent inwards, since those between neighbors of a neighbor would).

Where the true graph is known, the color of an edge says whether it is right; where it is not, how probable the edge is in all
that was learned. Graphs that have the same letter have the same skeleton and the same v-structures (Verma & Pearl 1990): they
are Markov equivalent, no observational data can tell them apart. The graphs are those of one replica, never of a mean over
replicas, which may hold what no replica holds.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.circles import circle_order, on_circle
from gfn_vi.analysis.pictures.edge_pictures import short_names
from gfn_vi.analysis.pictures.found_graphs import Graphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_NODES = 8  # names stand upright, nodes in the order of the columns
LONGEST_INSIDE, LONGEST_OUTSIDE = 4, 18  # characters of a name
NAME_SIZE = 6  # points
TITLE, LEGEND, REMARK, GAP = 0.2, 0.36, 0.14, 0.08  # inches


@dataclass(frozen=True)
class Page:
    """Sizes in inches; a panel has its title on top of `height`."""

    n_columns: int
    n_rows: int
    width: float
    height: float
    radius: float  # of the circle
    center: float  # of the panel, above the circle's
    node: float  # radius
    is_inside: bool  # names in the nodes, else beside them
    is_bent: bool  # edges; then names beside the nodes point to the center


def page(names: Sequence[str], n_graphs: int) -> Page:
    """The largest panels in which names fit: six graphs, three in a row, or fewer and larger ones."""
    d, longest = len(names), max(map(len, names))
    is_inside, is_bent = longest <= LONGEST_INSIDE, d > FEW_NODES
    node = (0.13 if d <= 10 else 0.11) if is_inside else 0.045
    beside = node if is_inside else node + 0.04 + longest * 0.58 * NAME_SIZE / 72
    above = beside if is_inside or is_bent else node + 0.15
    most, least = (0.72, 0.6) if d <= 10 else (1.5, 1.2)
    apart = (2 * node + 0.16) * d / (2 * np.pi)  # so that neighbors do not touch, however many nodes there are
    most, least = max(most, apart), max(least, apart)
    n_columns = 3 if style.WIDTH / 6 - GAP - beside >= least else 2
    width = max(style.WIDTH / n_columns, 2 * (least + beside + GAP))
    radius = min(most, width / 2 - GAP - beside)
    lowest = radius * np.cos(np.pi * (d - d % 2) / d)  # an odd number of nodes has none at the bottom
    center = (radius + lowest) / 2
    height = radius - lowest + 2 * above + GAP
    n_rows = 2 if n_columns == 3 or height > 2.3 else 3
    n_columns = min(n_columns, n_graphs)
    return Page(n_columns, min(n_rows, -(-n_graphs // n_columns)), width, height, radius, center, node, is_inside, is_bent)


def top_figure(graphs: Graphs) -> Figure:
    """The most probable graphs of the first replica, learned and exact; of samples those with the largest reward."""
    from matplotlib.figure import Figure

    names = short_names(graphs.names, LONGEST_OUTSIDE)
    n_found = int(np.isfinite(graphs.top_log_reward[0]).sum())  # a replica may have drawn fewer different graphs
    p = page(names, n_found)
    top = graphs.top[0, :n_found][: p.n_columns * p.n_rows]
    letters = _letters(top)
    remarks = _remarks(graphs, letters)
    width = max(p.n_columns * p.width, 0.9 * style.WIDTH)
    height = LEGEND + p.n_rows * (TITLE + p.height) + REMARK * len(remarks) + GAP
    figure = Figure(figsize=(width, height))
    shown = top if graphs.true is None else np.concatenate([top, graphs.true[None]])
    order = np.arange(len(names)) if len(names) <= FEW_NODES else circle_order(shown)
    left = (width - p.n_columns * p.width) / 2
    for k, graph in enumerate(top):
        x = left + k % p.n_columns * p.width
        y = height - LEGEND - (k // p.n_columns + 1) * (TITLE + p.height)
        axes = figure.add_axes((x / width, y / height, p.width / width, p.height / height))
        _draw(axes, graph, graphs, on_circle(order, p.radius), names, p)
        axes.set_title(f"{k + 1}{letters[k]}: {_probability(graphs, k)}", fontsize=7, pad=2)
    _legend(figure, graphs)
    for n, remark in enumerate(remarks):
        figure.text(0.5, (GAP / 2 + REMARK * (len(remarks) - 1 - n)) / height, remark, ha="center", va="bottom", fontsize=7)
    return figure


def _probability(graphs: Graphs, k: int) -> str:
    if graphs.top_exact is not None:
        return f"learned {graphs.top_learned[0, k]:.3g}, exact {graphs.top_exact[0, k]:.3g}"
    behind = graphs.top_log_reward[0, k] - graphs.top_log_reward[0].max()
    return f"$\\Delta$ log R {behind:.2f}, {100 * graphs.top_learned[0, k]:.3g}% of samples"


def _remarks(graphs: Graphs, letters: Sequence[str]) -> list[str]:
    """Below the graphs: what the reader must know of them."""
    remarks = []
    if graphs.top_exact is None:
        remarks.append("the graphs with the largest reward R among the samples; $\\Delta$: relative to the first")
    parts = [f"replica {graphs.replicas[0]}, of {graphs.n_replicas} replicas"] if graphs.n_replicas > 1 else []
    parts += ["graphs with the same letter are Markov equivalent"] if any(letters) else []
    return [*remarks, "; ".join(parts)] if parts else remarks


def equivalence_classes(graphs: np.ndarray) -> list[int]:
    """Number of the Markov equivalence class of each graph, in the order in which they appear: [K, d, d] bool -> K numbers.

    Two graphs are equivalent if they have the same skeleton and the same v-structures a -> c <- b, a and b not adjacent.
    """
    skeleton = graphs | graphs.swapaxes(1, 2)
    colliders = graphs[:, :, None, :] & graphs[:, None, :, :] & ~skeleton[:, :, :, None]  # [K, a, b, c]
    colliders &= ~np.eye(graphs.shape[1], dtype=bool)[:, :, None]
    known: dict[bytes, int] = {}
    return [known.setdefault(s.tobytes() + c.tobytes(), len(known)) for s, c in zip(skeleton, colliders, strict=True)]


def _letters(graphs: np.ndarray) -> list[str]:
    """The equivalence classes as letters; nothing where no two graphs are equivalent."""
    classes = equivalence_classes(graphs)
    return [""] * len(classes) if len(set(classes)) == len(classes) else [string.ascii_lowercase[c] for c in classes]


def _draw(axes: Axes, graph: np.ndarray, graphs: Graphs, places: np.ndarray, names: Sequence[str], p: Page) -> None:
    """One panel; its data units are inches."""
    import networkx as nx

    axes.set_axis_off()
    axes.set_xlim(-p.width / 2, p.width / 2)
    axes.set_ylim(p.center - p.height / 2, p.center + p.height / 2)
    drawn = nx.DiGraph()
    drawn.add_nodes_from(range(len(names)))
    where = dict(enumerate(places))
    size = (2 * 72 * p.node) ** 2
    arrows: dict[str, Any] = {"ax": axes, "node_size": size, "arrowstyle": "-|>", "arrowsize": 7, "width": 1.1}
    for i, j, color, line in _edges(graph, graphs):
        bend = _bend(places[i] / p.radius, places[j] / p.radius) if p.is_bent else 0
        arrows |= {"edgelist": [(i, j)], "edge_color": [color], "style": line, "connectionstyle": f"arc3,rad={bend}"}
        nx.draw_networkx_edges(drawn, where, **arrows)
    face = "white" if p.is_inside else "0.25"
    nx.draw_networkx_nodes(drawn, where, ax=axes, node_size=size, node_color=face, edgecolors="0.25", linewidths=0.7)
    for place, name in zip(places, names, strict=True):
        _name(axes, place, name, p)


def _bend(start: np.ndarray, end: np.ndarray) -> float:
    """matplotlib's rad of an edge between two places on the unit circle, towards the center; more for near ones."""
    is_left = start[0] * end[1] - start[1] * end[0] < 0
    return (1 if is_left else -1) * max(0.2, 0.5 - 0.3 * float(np.linalg.norm(end - start)))


def _name(axes: Axes, place: np.ndarray, name: str, p: Page) -> None:
    """Write the name of a node in it; beside it, away from the center; or, if there are many nodes, along the radius."""
    text: dict[str, Any] = {"fontsize": NAME_SIZE, "parse_math": False}
    if p.is_inside:
        axes.text(place[0], place[1], name, ha="center", va="center_baseline", **text)
        return
    direction = place / p.radius
    x, y = place + direction * (p.node + 0.04)
    text |= {"ha": "left" if x > 0 else "right", "va": "center"}
    if p.is_bent:
        angle = float(np.degrees(np.arctan2(direction[1], direction[0])))
        is_left = abs(angle) > 90.001
        text |= {"ha": "right" if is_left else "left", "rotation": angle + 180 if is_left else angle, "rotation_mode": "anchor"}
    elif abs(direction[0]) < 0.1:
        text |= {"ha": "center", "va": "bottom" if y > 0 else "top"}
    axes.text(x, y, name, **text)


def _edges(graph: np.ndarray, graphs: Graphs) -> Iterator[tuple[int, int, Any, str]]:
    """Yield (source, target, color, line style) of every edge to draw."""
    if graphs.true is None:
        colors = probability_colors()
        yield from ((i, j, colors(float(graphs.mean[i, j])), "-") for i, j in np.argwhere(graph).tolist())
    else:
        for color, line, _, edges in against_truth(graph, graphs.true):
            yield from ((i, j, color, line) for i, j in np.argwhere(edges).tolist())


def against_truth(graph: np.ndarray, true: np.ndarray) -> list[tuple[Any, str, str, np.ndarray]]:
    """(color, line style, meaning, edges [d, d]): what is missing, wrong, reversed and right, drawn in this order."""
    colors = style.palette(6)
    return [
        ("0.6", ":", "edge of the true graph that is missing", true & ~graph & ~graph.T),
        (colors[3], "-", "not in the true graph", graph & ~true & ~true.T),
        (colors[4], "-", "reversed", graph & true.T),
        (colors[0], "-", "in the true graph", graph & true),
    ]


def probability_colors() -> Any:
    """The colors of probabilities without the palest, in which a line on white would be lost."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    colors = matplotlib.colormaps[style.PROBABILITY](np.linspace(0.3, 1, 64))
    return LinearSegmentedColormap.from_list("probability_of_lines", colors)


def _legend(figure: Figure, graphs: Graphs) -> None:
    """Above the graphs: what the colors of edges mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    if graphs.true is None:
        axes = figure.add_axes((0.55, 1 - 0.15 / height, 1.8 / width, 0.07 / height))
        bar = figure.colorbar(ScalarMappable(cmap=probability_colors()), cax=axes, orientation="horizontal", ticks=(0, 0.5, 1))
        bar.ax.tick_params(length=1.5, pad=1)
        bar.outline.set_linewidth(0.5)
        figure.text(0.54, 1 - 0.115 / height, "learned probability of the edge", ha="right", va="center", fontsize=8)
        return
    kinds = against_truth(graphs.top[0, 0], graphs.true)[::-1]
    lines = [Line2D([], [], color=color, ls=line, linewidth=1.3) for color, line, _, _ in kinds]
    meanings = [meaning for _, _, meaning, _ in kinds]
    figure.legend(lines, meanings, loc="upper center", borderaxespad=0.4, ncols=4, **style.LEGEND)
