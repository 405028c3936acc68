"""What many graphs agree on: their consensus, the strongest edges, and which of the most probable graphs hold these.

Graphs over more nodes than graph_pictures.FEW_NODES cannot be read one by one. Two nodes are joined where more than half of the
probability has an edge between them, in either direction (a graph has at most one of them),

    learned(i -> j) + learned(j -> i) > 1/2,

and an arrow stands where at least DIRECTED of that has one direction: Markov equivalent graphs leave directions open. A
consensus may have a circle, though none of the graphs has one. Probabilities are means over replicas; the most probable graphs
are those of one replica.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.edge_pictures import short_names
from gfn_vi.analysis.pictures.found_graphs import Graphs
from gfn_vi.analysis.pictures.graph_pictures import (
    LONGEST_OUTSIDE,
    against_truth,
    draw_edge,
    draw_nodes,
    n_top,
    node_size,
    on_circle,
    remarks_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JOINED, DIRECTED = 0.5, 0.75
MOST_ROWS = 20  # strongest edges
MOST_LINES, PER_NODE = 30, 2  # of the consensus: weaker ones are left out, and counted
LONGEST_END = 12  # characters of a name in a row
NOT_COMPARED = "0.2"  # color without a true graph
WIDTHS = (0.5, 2.0)  # points of a line of probability JOINED, and of 1
RADIUS, GAP, ROW, FRAME, REMARK, MIDDLE, RIGHT, TELLING = 1.2, 0.16, 0.16, 1.0, 0.16, 1.1, 1.6, 0.8  # inches
ABOUT_LINES = "(a) an edge in either direction in more than half of the graphs, an arrow where 3/4 of these have its direction"
ABOUT_SQUARES = "(c) full: the graph has the edge, hollow: it has it reversed"


class Join(NamedTuple):
    """Two nodes of the consensus and the probability of an edge between them; i -> j is its more probable direction."""

    i: int
    j: int
    probability: float
    is_directed: bool


MISSING = Join(0, 0, 0.6, is_directed=True)  # how an edge looks that only the true graph has


def consensus(learned: np.ndarray) -> list[Join]:
    """Return the pairs that more than half of the probability joins, the most probable first; learned: [d, d]."""
    joined = learned + learned.T
    pairs = np.argwhere(np.triu(joined > JOINED, 1)).tolist()
    ends = [(i, j) if learned[i, j] >= learned[j, i] else (j, i) for i, j in pairs]
    found = [Join(i, j, float(joined[i, j]), bool(learned[i, j] >= DIRECTED * joined[i, j])) for i, j in ends]
    return sorted(found, key=lambda join: -join.probability)


def strongest(learned: np.ndarray) -> list[tuple[int, int]]:
    """Return the edges (source, target) of positive probability, the most probable first, at most MOST_ROWS; learned: [d, d]."""
    order = np.argsort(-learned, axis=None, kind="stable")[:MOST_ROWS]
    sources, targets = np.unravel_index(order, learned.shape)
    return [(i, j) for i, j in zip(sources.tolist(), targets.tolist(), strict=True) if learned[i, j] > 0]


def consensus_figure(graphs: Graphs) -> Figure:
    """Draw the consensus, the strongest edges, and which of the top graphs of the first replica hold them."""
    from matplotlib.figure import Figure

    names, d = short_names(graphs.names, LONGEST_OUTSIDE), len(graphs.names)
    joins, rows = consensus(graphs.mean), strongest(graphs.mean)
    left_out = f"; the {most_lines(d)} most probable of {len(joins)}" if len(joins) > most_lines(d) else ""
    remarks = [f"{ABOUT_LINES}{left_out}", ABOUT_SQUARES, *remarks_on(graphs)]
    node, beside = node_size(names)
    radius = max(RADIUS, (2 * node / 72 + GAP) * d / (2 * np.pi))  # so that neighbors do not touch
    reach = 1 + 1.1 * beside / radius  # of names, in units of the circle's radius
    side = 2 * radius * reach
    height = max(side, ROW * (len(rows) + 2)) + FRAME + REMARK * len(remarks)
    ends = short_names(graphs.names, LONGEST_END)
    labels = [f"{ends[i]} → {ends[j]}" for i, j in rows]
    beside_rows = max(map(len, labels), default=0) * 0.58 * 7 / 72
    width = max(style.WIDTH, side + beside_rows + MIDDLE + RIGHT + TELLING)
    figure = Figure(figsize=(width, height), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[side, MIDDLE, RIGHT])
    _draw_consensus(left, joins, graphs, names, reach)
    _draw_strongest(middle, rows, labels, graphs)
    _draw_tops(right, rows, graphs)
    _legend(figure, graphs)
    figure.supxlabel("\n".join(remarks), fontsize=7)
    return figure


def most_lines(d: int) -> int:
    """Return how many lines between d nodes can be told apart."""
    return min(MOST_LINES, PER_NODE * d)


def circle_order(weight: np.ndarray) -> np.ndarray:
    """Return an order of nodes in which those that heavy edges connect stand close together (Fiedler 1973); weight: [d, d]."""
    import networkx as nx

    return np.array(nx.spectral_ordering(nx.from_numpy_array((weight + weight.T).astype(float)), seed=0))


def width_of(probability: float) -> float:
    """Return the points of a line, from that of probability JOINED to that of 1."""
    low, high = WIDTHS
    return low + (high - low) * (probability - JOINED) / (1 - JOINED)


def _draw_consensus(axes: Axes, joins: Sequence[Join], graphs: Graphs, names: Sequence[str], reach: float) -> None:
    node, _ = node_size(names)
    weight = np.zeros_like(graphs.mean) if graphs.true is None else 0.1 * graphs.true
    for join in joins[: most_lines(len(names))]:
        weight[join.i, join.j] += join.probability
    places = on_circle(circle_order(weight))
    axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_axis_off()
    for i, j, look in _lines(joins, graphs):
        draw_edge(axes, (places[i], places[j]), node, bend=_bend(places[i], places[j]), **look)
    draw_nodes(axes, places, names, node, along_radius=True)
    axes.set_title("(a) Consensus", loc="left")


def _lines(joins: Sequence[Join], graphs: Graphs) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (source, target, look) of what is drawn; against a true graph, a line without direction counts as right."""
    if graphs.true is None:
        for join in joins[: most_lines(len(graphs.names))]:
            yield join.i, join.j, _look(join, NOT_COMPARED, "-")
        return
    true = graphs.true
    by_ends = {(join.j, join.i) if not join.is_directed and true[join.j, join.i] else join[:2]: join for join in joins}
    drawn = dict.fromkeys([*by_ends][: most_lines(len(true))])
    shown = np.zeros_like(true)
    shown[tuple(np.array([*by_ends], dtype=int).reshape(-1, 2).T)] = True
    for color, line, _, edges in against_truth(shown, true):
        for i, j in map(tuple, np.argwhere(edges).tolist()):
            if (i, j) in drawn or (i, j) not in by_ends:
                yield i, j, _look(by_ends.get((i, j), MISSING), color, line)


def _look(join: Join, color: Any, line: Any) -> dict[str, Any]:
    head = "-|>" if join.is_directed else "-"
    return {"arrowstyle": head, "color": color, "linestyle": line, "linewidth": width_of(join.probability)}


def _bend(start: np.ndarray, end: np.ndarray) -> float:
    """Return matplotlib's rad of an edge between two places on the unit circle, towards the center; more for near ones."""
    is_left = start[0] * end[1] - start[1] * end[0] < 0
    return (1 if is_left else -1) * max(0.2, 0.5 - 0.3 * float(np.linalg.norm(end - start)))


def _draw_strongest(axes: Axes, rows: Sequence[tuple[int, int]], labels: Sequence[str], graphs: Graphs) -> None:
    """Draw a point for the probability of each edge, with its range where it has one; hollow where weights do not carry it."""
    low, high = graphs.bounds if graphs.bounds is not None and graphs.doubt is None else (graphs.mean, graphs.mean)
    for y, (i, j) in enumerate(rows):
        color, marker = _compared(graphs.true, i, j)
        axes.plot([low[i, j], high[i, j]], [y, y], color=color, linewidth=1)
        face = color if graphs.doubt is None else "white"
        axes.plot(graphs.mean[i, j], y, marker=marker, color=color, markersize=4, markerfacecolor=face, clip_on=False)
    axes.set(xlim=(0, 1), xticks=(0, 0.5, 1), ylim=(max(len(rows), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), labels, fontsize=7, parse_math=False)
    axes.set_xlabel("Probability of the edge")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_title("(b) Strongest edges", loc="left")


def _compared(true: np.ndarray | None, i: int, j: int) -> tuple[Any, str]:
    """Return the color and the marker of an edge i -> j."""
    if true is None:
        return NOT_COMPARED, "o"
    own = np.zeros_like(true)
    own[i, j] = True
    marks = zip(against_truth(own, true)[1:], ("X", "D", "o"), strict=True)
    return next((color, marker) for (color, _, _, edges), marker in marks if edges.any())


def _draw_tops(axes: Axes, rows: Sequence[tuple[int, int]], graphs: Graphs) -> None:
    """Draw a column for each top graph: a square full where it has the edge of the row, hollow where it has it reversed."""
    top = graphs.top[0, : n_top(graphs)]
    sources, targets = np.array(rows, dtype=int).reshape(-1, 2).T
    listed = np.zeros(graphs.mean.shape, dtype=bool)
    listed[sources, targets] = listed[targets, sources] = True
    for k, graph in enumerate(top):
        for has_edge, face in ((graph[sources, targets], "0.25"), (graph[targets, sources], "white")):
            places = np.flatnonzero(has_edge)
            axes.scatter(np.full(len(places), k), places, 17, face, marker="s", edgecolors="0.25", linewidths=0.7, zorder=2)
    behind = graphs.top_log_reward[0, : len(top)] - graphs.top_log_reward[0, 0]
    others = (top & ~listed).sum((1, 2))
    labels = [f"{k}\n{value:.1f}\n{more}" for k, (value, more) in enumerate(zip(behind, others, strict=True), 1)]
    axes.set_xticks([*range(len(top)), len(top) - 0.4], [*labels, "graph\n$\\Delta$ log R\nother edges"], fontsize=6.5)
    axes.get_xticklabels()[-1].set_horizontalalignment("left")
    axes.set(xlim=(-0.6, len(top) - 0.4), ylim=(max(len(rows), 1) - 0.5, -0.5), yticks=[])
    axes.hlines(range(len(rows)), -0.6, len(top) - 0.4, color="0.92", linewidth=0.6, zorder=0)
    axes.tick_params(axis="x", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title("(c) In the top graphs", loc="left")


def _legend(figure: Figure, graphs: Graphs) -> None:
    """Above the panels: what lines and marks mean."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color="0.4", linewidth=width_of(probability), label=f"joined with probability {probability:g}")
        for probability in (JOINED, 1.0)
    ]
    if graphs.true is not None:
        kinds = against_truth(graphs.true, graphs.true)
        marks = ("", "X", "D", "o")
        lines = [
            Line2D([], [], color=color, ls=line, marker=marker, markersize=4, linewidth=1.3, label=meaning)
            for (color, line, meaning, _), marker in zip(kinds, marks, strict=True)
        ][::-1] + lines
    figure.legend(handles=lines, loc="outside upper center", borderaxespad=0.4, ncols=3, **(style.LEGEND | {"handlelength": 2}))
