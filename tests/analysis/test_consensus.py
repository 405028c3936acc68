"""The picture of graphs over many nodes: consensus, strongest edges, and which of the top graphs hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis.test_graphs import LONG, many_nodes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch

from gfn_vi.analysis.pictures import graphs as pictures
from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.consensus_pictures import circle_order, consensus, consensus_figure, strongest
from gfn_vi.analysis.pictures.edge_pictures import short_names
from gfn_vi.analysis.pictures.found_graphs import Graphs, read_graphs
from gfn_vi.analysis.pictures.graph_pictures import on_circle

NINE = 9
TRUE = ((0, 1), (1, 2), (3, 4), (5, 6))


def nine_nodes(path: Path, is_known: bool = True) -> Graphs:
    """Return graphs over 9 nodes whose probabilities are known.

    0 -> 1 certain; 1 - 2 at 0.875, without direction; 4 -> 3 (true: 3 -> 4) at 0.8; 6 -> 7 (not true) at 0.625; 7 -> 8 at 0.5.
    """
    learned = np.zeros((NINE, NINE))
    learned[0, 1], learned[1, 2], learned[2, 1], learned[4, 3], learned[6, 7], learned[7, 8] = 1, 0.5, 0.375, 0.8, 0.625, 0.5
    true = np.zeros((NINE, NINE), dtype=bool)
    true[tuple(np.array(TRUE).T)] = True
    top = np.zeros((1, 6, NINE, NINE), dtype=bool)
    top[0, 0, 0, 1] = top[0, 0, 2, 1] = top[0, 0, 5, 8] = True
    graphs = read_graphs(many_nodes(path, NINE, is_known=is_known, n_replicas=1))
    return replace(graphs, learned=learned[None], true=true if is_known else None, top=top)


def test_what_the_consensus_joins(tmp_path: Path) -> None:
    """More than half of the probability in either direction; an arrow where 3/4 of it agree; the most probable first."""
    joins = consensus(nine_nodes(tmp_path).mean)
    assert [tuple(join) for join in joins] == [(0, 1, 1.0, True), (1, 2, 0.875, False), (4, 3, 0.8, True), (6, 7, 0.625, True)]
    between = np.zeros((2, 2))
    between[0, 1], between[1, 0] = 0.75, 0.25
    assert consensus(between)[0].is_directed
    between[1, 0] = 0.26
    assert not consensus(between)[0].is_directed


def test_the_strongest_edges(tmp_path: Path) -> None:
    """In the order of their probability, equal ones in that of the columns, none of probability 0, at most 20."""
    assert strongest(nine_nodes(tmp_path).mean) == [(0, 1), (4, 3), (6, 7), (1, 2), (7, 8), (2, 1)]
    assert strongest(np.full((6, 6), 0.5))[:2] == [(0, 0), (0, 1)]
    assert len(strongest(np.full((6, 6), 0.5))) == 20


def test_lines_tell_right_from_wrong(tmp_path: Path) -> None:
    """Widths tell probabilities, heads directions, colors the truth: 5 -> 6 is missing, 4 -> 3 reversed, 6 -> 7 not true."""
    figure = consensus_figure(nine_nodes(tmp_path))
    legend = {line.get_label(): line.get_color() for line in figure.legends[0].get_lines()}
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    found = sorted((round(float(arrow.get_linewidth()), 2), arrow.get_edgecolor()) for arrow in arrows)
    expected = [
        (0.8, to_rgba(legend["edge of the true graph that is missing"])),
        (0.88, to_rgba(legend["not in the true graph"])),
        (1.4, to_rgba(legend["reversed"])),
        (1.62, to_rgba(legend["in the true graph"])),
        (2.0, to_rgba(legend["in the true graph"])),
    ]
    assert found == sorted(expected)
    heads = [type(arrow.get_arrowstyle()).__name__ for arrow in arrows]
    assert heads.count("Curve") == 1  # 1 - 2 has no direction
    assert len({arrow.get_linestyle() for arrow in arrows}) == 4  # without color, too


def test_points_and_squares(tmp_path: Path) -> None:
    """Rows of the strongest edges: points at probabilities; a top graph has them, or reversed; edges of no row are counted."""
    figure = consensus_figure(nine_nodes(tmp_path, is_known=False))
    middle, right = figure.axes[1:3]
    assert [text.get_text() for text in middle.get_yticklabels()][:2] == ["X1 → X2", "X5 → X4"]
    points = [(float(line.get_xdata()[0]), int(line.get_ydata()[0])) for line in middle.lines if len(line.get_xdata()) == 1]
    assert points == [(1.0, 0), (0.8, 1), (0.625, 2), (0.5, 3), (0.5, 4), (0.375, 5)]
    squares = {
        (int(x), int(y), tuple(face[:3]))
        for dots in right.collections
        if isinstance(dots, PathCollection)
        for (x, y), face in [(place, dots.get_facecolor()[0]) for place in dots.get_offsets()]
    }
    full, hollow = (0.25,) * 3, (1.0,) * 3
    assert squares == {(0, 0, full), (0, 5, full), (0, 3, hollow)}  # 0 -> 1 and 2 -> 1, which is 1 -> 2 reversed
    labels = [text.get_text().split("\n") for text in right.get_xticklabels()]
    assert len(labels) == 5 + 1  # the sixth place is empty
    assert labels[0] == ["1", "0.0", "1"]
    assert labels[-1] == ["graph", "$\\Delta$ log R", "other edges"]


def test_a_graph_of_many_lines_says_what_it_leaves_out(tmp_path: Path) -> None:
    graphs = nine_nodes(tmp_path, is_known=False)
    figure = consensus_figure(replace(graphs, learned=np.triu(np.full((1, NINE, NINE), 0.9), 1)))
    assert len([patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]) == 18
    assert "; the 18 most probable of 36" in figure.get_supxlabel()
    known = consensus_figure(
        replace(graphs, learned=np.triu(np.full((1, NINE, NINE), 0.9), 1), true=np.tri(NINE, k=-1, dtype=bool))
    )
    colors = {patch.get_edgecolor() for patch in known.axes[0].patches}
    assert len(colors) == 1  # what is left out is not missing: all that is drawn is reversed
    assert consensus_figure(replace(graphs, learned=np.zeros((1, NINE, NINE)))).axes[1].get_yticklabels() == []


@pytest.mark.parametrize("d", [9, 20])
def test_names_stay_on_the_page(d: int, tmp_path: Path) -> None:
    """Also long ones, with signs that matplotlib would read as formulas: as they are, inside the figure."""
    names = tuple(f"{LONG[n % 4]} {n}" for n in range(d))
    with style.paper():
        figure = consensus_figure(read_graphs(many_nodes(tmp_path, d, is_known=True, names=names)))
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)  # only then names have their places
        page = figure.bbox
        shown = figure.axes[0].texts
        assert {text.get_text() for text in shown} == set(short_names(names, 18))
        for text in (*shown, *(text for axes in figure.axes[1:3] for text in axes.get_xticklabels() + axes.get_yticklabels())):
            box = text.get_window_extent(renderer)
            assert page.union([page, box]).bounds == pytest.approx(page.bounds)


def test_many_nodes_are_drawn_as_a_consensus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nine nodes on; up to eight the top graphs themselves."""
    drawn: list[int] = []
    monkeypatch.setattr(pictures.style, "save_of_run", lambda figures, *_: drawn.append(len(figures["top_graphs"].axes)) or "")
    for d in (8, 9):
        pictures.report(many_nodes(tmp_path / str(d), d, is_known=True), with_pictures=True)
    assert drawn == [6, 3]


def test_connected_nodes_stand_side_by_side() -> None:
    """A path over shuffled nodes is found: all its edges join neighbors on the circle."""
    shuffled = np.random.default_rng(0).permutation(NINE)
    graph = np.zeros((NINE, NINE), dtype=bool)
    graph[shuffled[:-1], shuffled[1:]] = True
    places = on_circle(circle_order(graph))
    lengths = np.linalg.norm(places[shuffled[:-1]] - places[shuffled[1:]], axis=1)
    assert lengths == pytest.approx(2 * np.sin(np.pi / NINE), abs=1e-12)
    assert on_circle(np.arange(4)) == pytest.approx(np.array([[0, 1], [1, 0], [0, -1], [-1, 0]]), abs=1e-12)
