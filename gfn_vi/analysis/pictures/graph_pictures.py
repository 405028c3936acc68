"""The most probable graphs over few nodes, drawn on circles: a node is at the same place in every panel, and no edge runs
through a node. More than FEW_NODES are drawn by consensus_pictures.py.

Where the true graph is known, the color of an edge says whether it is right; where it is not, how probable the edge is in all
that was learned. Graphs that have the same letter have the same skeleton and the same v-structures (Verma & Pearl 1990): they
are Markov equivalent, no observational data can tell them apart. The graphs are those of one replica, never of a mean over
replicas, which may hold what no replica holds.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.edge_pictures import short_names
from gfn_vi.analysis.pictures.found_graphs import Graphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_NODES = 8  # nodes of a graph that is read at a glance
LONGEST_INSIDE, LONGEST_OUTSIDE = 4, 18  # characters of a name
NAME_SIZE = 6.5  # points
INSIDE, DOT = 8.5, 3.2  # radius of a node in points, with its name in it or beside it
RADIUS, TITLE, LEGEND, REMARK = 0.65, 0.2, 0.36, 0.16  # inches; of a circle, and above and below the panels


def top_figure(graphs: Graphs) -> Figure:
    """The most probable graphs of the first replica, learned and exact; of samples those with the largest reward."""
    from matplotlib.figure import Figure

    names = short_names(graphs.names, LONGEST_OUTSIDE)
    n_found = n_top(graphs)
    places = on_circle(np.arange(len(names)))
    node, beside = node_size(names)
    above = beside if node == INSIDE else 0.18
    n_columns = 3 if 6 * (RADIUS + beside) < style.WIDTH else 2
    n_rows = min(2 if n_columns == 3 else 3, -(-n_found // n_columns))
    top = graphs.top[0, : min(n_found, n_columns * n_rows)]
    letters = _letters(top)
    remarks = remarks_on(graphs, letters)
    height = n_rows * (TITLE + RADIUS * np.ptp(places[:, 1]) + 2 * above) + LEGEND + REMARK * len(remarks)
    figure = Figure(figsize=(max(style.WIDTH, 2 * n_columns * (RADIUS + beside)), height), layout="constrained")
    every = figure.subplots(n_rows, min(n_columns, n_found), squeeze=False, subplot_kw={"aspect": "equal"}).flat
    for k, axes in enumerate(every):
        axes.set_axis_off()
        if k < len(top):
            _draw(axes, top[k], graphs, places, names, node)
            axes.set_title(
                f"{k + 1}{letters[k]}: {_probability(graphs, k)}", fontsize=7, pad=2 if node == INSIDE else 72 * above - 4
            )
    _legend(figure, graphs)
    if remarks:
        figure.supxlabel("\n".join(remarks), fontsize=7)
    return figure


def on_circle(order: np.ndarray) -> np.ndarray:
    """Places [d, 2] of nodes that stand clockwise on the unit circle in this order, the first on top."""
    angles = np.pi / 2 - 2 * np.pi * np.argsort(order) / len(order)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def n_top(graphs: Graphs) -> int:
    """Return the number of top graphs of the first replica, which may have drawn fewer different ones than there are places."""
    return int(np.isfinite(graphs.top_log_reward[0]).sum())


def node_size(names: Sequence[str]) -> tuple[float, float]:
    """Return the radius of a node in points and what it takes beyond the circle in inches, with its name in it or beside it."""
    longest = max(map(len, names))
    if longest <= LONGEST_INSIDE:
        return INSIDE, (INSIDE + 3) / 72
    return DOT, (DOT + 3 + longest * 0.58 * NAME_SIZE) / 72


def _probability(graphs: Graphs, k: int) -> str:
    if graphs.top_exact is not None:
        return f"learned {graphs.top_learned[0, k]:.3g}, exact {graphs.top_exact[0, k]:.3g}"
    behind = graphs.top_log_reward[0, k] - graphs.top_log_reward[0].max()
    return f"$\\Delta$ log R {behind:.2f}, {100 * graphs.top_learned[0, k]:.3g}% of samples"


def remarks_on(graphs: Graphs, letters: Sequence[str] = ()) -> list[str]:
    """Return what the reader must know of the top graphs; letters: of their equivalence classes, where they are shown."""
    remarks = []
    if graphs.top_exact is None:
        remarks.append("the graphs with the largest reward R among the samples; $\\Delta$: relative to the first")
    parts = [f"replica {graphs.replicas[0]}, of {graphs.n_replicas} replicas"] if graphs.n_replicas > 1 else []
    parts += ["graphs with the same letter are Markov equivalent"] if any(letters) else []
    remarks += ["; ".join(parts)] if parts else []
    return [*remarks, f"maybe not those of the posterior: importance weights {graphs.doubt}"] if graphs.doubt else remarks


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


def _draw(axes: Axes, graph: np.ndarray, graphs: Graphs, places: np.ndarray, names: Sequence[str], node: float) -> None:
    """One panel, in units of the circle's radius; node: radius in points."""
    for i, j, color, line in _edges(graph, graphs):
        draw_edge(axes, (places[i], places[j]), node, arrowstyle="-|>", color=color, linestyle=line, linewidth=1.1)
    draw_nodes(axes, places, names, node)
    axes.margins(0.1)  # for half a node


def draw_edge(
    axes: Axes,
    ends: tuple[np.ndarray, np.ndarray],
    node: float,
    *,
    arrowstyle: str,
    color: Any,
    linestyle: Any,
    linewidth: float,
    bend: float = 0.0,
) -> None:
    """Draw an edge between two places; arrowstyle and the rest are matplotlib's, bend is its rad."""
    from matplotlib.patches import FancyArrowPatch

    path: dict[str, Any] = {"connectionstyle": f"arc3,rad={bend}", "shrinkA": node, "shrinkB": node, "mutation_scale": 7}
    look: dict[str, Any] = {"arrowstyle": arrowstyle, "color": color, "linestyle": linestyle, "linewidth": linewidth}
    start, end = ((float(x), float(y)) for x, y in ends)
    axes.add_artist(FancyArrowPatch(start, end, **path, **look))


def draw_nodes(axes: Axes, places: np.ndarray, names: Sequence[str], node: float, along_radius: bool = False) -> None:
    """Draw nodes with their names; names beside nodes stand upright, or along the radius."""
    face = "white" if node == INSIDE else "0.25"
    axes.scatter(places[:, 0], places[:, 1], (2 * node) ** 2, face, edgecolors="0.25", linewidths=0.7, clip_on=False)
    for place, name in zip(places, names, strict=True):
        _name(axes, place, name, node, along_radius)


def _name(axes: Axes, place: np.ndarray, name: str, node: float, along_radius: bool) -> None:
    """Write the name of a node in it, or beside it, away from the center."""
    x, y = map(float, place)
    text: dict[str, Any] = {"ha": "left" if x > 0 else "right", "va": "center"}
    if node == INSIDE:
        text = {"ha": "center", "va": "center_baseline"}
    elif along_radius:
        angle = float(np.degrees(np.arctan2(y, x)))
        is_left = abs(angle) > 90.001
        text |= {"ha": "right" if is_left else "left", "rotation": angle + 180 if is_left else angle, "rotation_mode": "anchor"}
    elif abs(x) < 0.1:
        text = {"ha": "center", "va": "bottom" if y > 0 else "top"}
    away = 0 if node == INSIDE else node + 3  # points
    axes.annotate(name, (x, y), (away * x, away * y), textcoords="offset points", fontsize=NAME_SIZE, parse_math=False, **text)


def _edges(graph: np.ndarray, graphs: Graphs) -> Iterator[tuple[int, int, Any, Any]]:
    """Yield (source, target, color, line style) of every edge to draw."""
    if graphs.true is None:
        colors = probability_colors()
        yield from ((i, j, colors(float(graphs.mean[i, j])), "-") for i, j in np.argwhere(graph).tolist())
    else:
        for color, line, _, edges in against_truth(graph, graphs.true):
            yield from ((i, j, color, line) for i, j in np.argwhere(edges).tolist())


def against_truth(graph: np.ndarray, true: np.ndarray) -> list[tuple[Any, Any, str, np.ndarray]]:
    """(color, line style, meaning, edges [d, d]): what is missing, wrong, reversed and right, drawn in this order."""
    colors = style.palette(6)
    return [
        ("0.6", ":", "edge of the true graph that is missing", true & ~graph & ~graph.T),
        (colors[3], (0, (5, 1.2)), "not in the true graph", graph & ~true & ~true.T),
        (colors[4], (0, (5, 1, 1, 1)), "reversed", graph & true.T),
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

    if graphs.true is None:
        place: dict[str, Any] = {"location": "top", "shrink": 0.25, "aspect": 30, "ticks": (0, 0.5, 1)}
        colors = ScalarMappable(cmap=probability_colors())
        figure.colorbar(colors, ax=figure.axes, label="Learned probability of the edge", **place)
        return
    kinds = against_truth(graphs.top[0, 0], graphs.true)[::-1]
    lines = [Line2D([], [], color=color, ls=line, linewidth=1.3, label=meaning) for color, line, meaning, _ in kinds]
    figure.legend(handles=lines, loc="outside upper center", borderaxespad=0.4, ncols=4, **(style.LEGEND | {"handlelength": 2}))
