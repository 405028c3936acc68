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
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.edge_pictures import short_names
from gfn_vi.analysis.pictures.found_graphs import Graphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_NODES = 8  # names stand upright, nodes in the order of the columns; edges among more are bent, names point to the center
LONGEST_INSIDE, LONGEST_OUTSIDE = 4, 18  # characters of a name
NAME_SIZE = 6  # points
INSIDE, DOT = 8.5, 3.2  # radius of a node in points, with its name in it or beside it
TITLE, LEGEND, REMARK = 0.2, 0.36, 0.16  # inches


def top_figure(graphs: Graphs) -> Figure:
    """The most probable graphs of the first replica, learned and exact; of samples those with the largest reward."""
    from matplotlib.figure import Figure

    names, d = short_names(graphs.names, LONGEST_OUTSIDE), len(graphs.names)
    n_found = int(np.isfinite(graphs.top_log_reward[0]).sum())  # a replica may have drawn fewer different graphs
    shown = graphs.top[0] if graphs.true is None else np.concatenate([graphs.top[0], graphs.true[None]])
    places = on_circle(np.arange(d) if d <= FEW_NODES else circle_order(shown))
    node = INSIDE if max(map(len, names)) <= LONGEST_INSIDE else DOT
    beside = (node + 3) / 72 + (0 if node == INSIDE else max(map(len, names)) * 0.58 * NAME_SIZE / 72)
    above = beside if node == INSIDE or d > FEW_NODES else 0.18
    radius = max(0.65 if d <= 10 else 1.4, (2 * node / 72 + 0.16) * d / (2 * np.pi))  # so that neighbors do not touch
    n_columns = 3 if 6 * (radius + beside) < style.WIDTH else 2
    n_rows = min(2 if n_columns == 3 or d > FEW_NODES else 3, -(-n_found // n_columns))
    top = graphs.top[0, : min(n_found, n_columns * n_rows)]
    letters = _letters(top)
    remarks = _remarks(graphs, letters)
    height = n_rows * (TITLE + radius * np.ptp(places[:, 1]) + 2 * above) + LEGEND + REMARK * len(remarks)
    figure = Figure(figsize=(max(style.WIDTH, 2 * n_columns * (radius + beside)), height), layout="constrained")
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


def circle_order(graphs: np.ndarray) -> np.ndarray:
    """An order of nodes in which those that edges of the graphs [K, d, d] connect stand close together (Fiedler 1973)."""
    import networkx as nx

    weight = graphs.sum(0)
    return np.array(nx.spectral_ordering(nx.from_numpy_array((weight + weight.T).astype(float)), seed=0))


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
    from matplotlib.patches import FancyArrowPatch

    is_many = len(names) > FEW_NODES
    for i, j, color, line in _edges(graph, graphs):
        bend = _bend(places[i], places[j]) if is_many else 0
        path: dict[str, Any] = {"connectionstyle": f"arc3,rad={bend}", "shrinkA": node, "shrinkB": node}
        look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "color": color, "linestyle": line, "linewidth": 1.1}
        axes.add_artist(FancyArrowPatch(places[i], places[j], **path, **look))
    face = "white" if node == INSIDE else "0.25"
    axes.scatter(places[:, 0], places[:, 1], (2 * node) ** 2, face, edgecolors="0.25", linewidths=0.7, clip_on=False)
    axes.margins(0.1)  # for half a node
    for place, name in zip(places, names, strict=True):
        _name(axes, place, name, node, is_many)


def _bend(start: np.ndarray, end: np.ndarray) -> float:
    """matplotlib's rad of an edge between two places on the unit circle, towards the center; more for near ones."""
    is_left = start[0] * end[1] - start[1] * end[0] < 0
    return (1 if is_left else -1) * max(0.2, 0.5 - 0.3 * float(np.linalg.norm(end - start)))


def _name(axes: Axes, place: np.ndarray, name: str, node: float, is_many: bool) -> None:
    """Write the name of a node in it; beside it, away from the center; or, if there are many nodes, along the radius."""
    x, y = map(float, place)
    text: dict[str, Any] = {"ha": "left" if x > 0 else "right", "va": "center"}
    if node == INSIDE:
        text = {"ha": "center", "va": "center_baseline"}
    elif is_many:
        angle = float(np.degrees(np.arctan2(y, x)))
        is_left = abs(angle) > 90.001
        text |= {"ha": "right" if is_left else "left", "rotation": angle + 180 if is_left else angle, "rotation_mode": "anchor"}
    elif abs(x) < 0.1:
        text = {"ha": "center", "va": "bottom" if y > 0 else "top"}
    away = 0 if node == INSIDE else node + 3  # points
    axes.annotate(name, (x, y), (away * x, away * y), textcoords="offset points", fontsize=NAME_SIZE, parse_math=False, **text)


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

    if graphs.true is None:
        place: dict[str, Any] = {"location": "top", "shrink": 0.25, "aspect": 30, "ticks": (0, 0.5, 1)}
        colors = ScalarMappable(cmap=probability_colors())
        figure.colorbar(colors, ax=figure.axes, label="Learned probability of the edge", **place)
        return
    kinds = against_truth(graphs.top[0, 0], graphs.true)[::-1]
    lines = [Line2D([], [], color=color, ls=line, linewidth=1.3, label=meaning) for color, line, meaning, _ in kinds]
    figure.legend(handles=lines, loc="outside upper center", borderaxespad=0.4, ncols=4, **style.LEGEND)
