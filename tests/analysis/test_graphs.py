"""What a run over graphs leaves for people: the CSV of its edges, the table in the terminal, the pictures, the command."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image
from system.command import only_run, train

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.edge_pictures import edge_figure, short_names
from gfn_vi.analysis.pictures.found_graphs import edge_table, read_graphs
from gfn_vi.analysis.pictures.graph_pictures import equivalence_classes, top_figure
from gfn_vi.analysis.pictures.graphs import edge_lines, report
from gfn_vi.commands.pictures import main
from gfn_vi.runs.folders import TableError

CLONE = Path(__file__).resolve().parents[2]
LONG = ("systolic, blood pressure", 'so-called "risk"', "price in $, and $ again", "age")
TINY = ("target=dag", "target.data.otherwise.n_nodes=3", "sampler.hidden=[8]", "trainer.n_trajectories=8", "trainer.batch_size=4")
WRITTEN = {f"{stem}.{end}" for stem in ("edge_probabilities", "top_graphs") for end in ("png", "pdf")} | {
    "edge_probabilities.csv"
}


def run_directory(path: Path, **arrays: object) -> Path:
    """A finished run that left these arrays."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    np.savez_compressed(path / "arrays.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def two_nodes(path: Path, n_replicas: int = 1, **changes: object) -> Path:
    """All three graphs of two nodes (a -> b, b -> a, none), whose posterior is 0.5, 0.3, 0.2."""
    graphs = np.array([[[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]], dtype=bool)
    learned = np.array([[0.5, 0.25, 0.25], [0.75, 0.125, 0.125]])[:n_replicas]
    arrays = {
        "names": ["a", "b"],
        "edges_learned": np.einsum("rs,sij->rij", learned, graphs),
        "edges_target": [[0.0, 0.5], [0.3, 0.0]],
        "true_graph": graphs[1],
        "top_graphs": np.broadcast_to(graphs, (n_replicas, *graphs.shape)),
        "top_learned": learned,
        "top_target": np.broadcast_to([0.5, 0.3, 0.2], learned.shape),
        "top_log_reward": np.broadcast_to(np.log([2.5, 1.5, 1.0]), learned.shape),
    }
    return run_directory(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def many_nodes(path: Path, d: int, is_known: bool, names: tuple[str, ...] | None = None, n_replicas: int = 2) -> Path:
    """Samples of graphs over d nodes; the last place of the first replica is empty, as where too few graphs were drawn."""
    rng = np.random.default_rng(d)
    top = np.triu(rng.random((n_replicas, 6, d, d)) < 2 / d, 1)
    top[0, 5] = False
    log_reward = -np.sort(rng.random((n_replicas, 6)))
    log_reward[0, 5] = -np.inf
    probability = np.triu(rng.random((n_replicas, d, d)), 1)
    return run_directory(
        path,
        names=names or [f"X{n + 1}" for n in range(d)],
        edges_learned=probability,
        edges_learned_se=np.full((n_replicas, d, d), 0.03),
        n_drawn=np.array(1000),
        top_graphs=top,
        top_learned=rng.random((n_replicas, 6)) / 10,
        top_log_reward=log_reward,
        **({"true_graph": top[0, 0]} if is_known else {}),
    )


def rows_of(path: Path) -> list[list[str]]:
    with open(path / "edge_probabilities.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_file_of_one_replica(tmp_path: Path) -> None:
    """Most probable first; no range of a single replica."""
    told = report(two_nodes(tmp_path), with_pictures=False)
    header, *rows = rows_of(tmp_path)
    assert header == ["source", "target", "learned", "exact", "true"]
    assert rows == [["a", "b", "0.5", "0.5", "0"], ["b", "a", "0.25", "0.3", "1"]]
    assert told.splitlines() == [
        "most probable edges  learned  exact  true",
        "a -> b               0.500    0.500  no",
        "b -> a               0.250    0.300  yes",
        "learned against exact, all edges: RMSE 0.035, largest difference 0.05",
        "files of the directory below: edge_probabilities.csv (all edges)",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"arrays.npz", "status.json", "edge_probabilities.csv"}


def test_the_file_of_two_replicas_without_a_true_graph(tmp_path: Path) -> None:
    """The mean and the range over replicas."""
    told = report(two_nodes(tmp_path, n_replicas=2, true_graph=None), with_pictures=False)
    header, *rows = rows_of(tmp_path)
    assert header == ["source", "target", "learned", "learned_low", "learned_high", "exact"]
    assert rows == [["a", "b", "0.625", "0.5", "0.75", "0.5"], ["b", "a", "0.1875", "0.125", "0.25", "0.3"]]
    assert "a -> b               0.625 (0.500 to 0.750)  0.500" in told.splitlines()
    assert "RMSE 0.12, largest difference 0.12; far from the posterior: train longer (trainer.n_trajectories)" in told


def test_a_standard_error_of_samples(tmp_path: Path) -> None:
    """Independent replicas: that of the mean is sqrt(sum of squares) / R; the terminal has intervals where it knows n."""
    se = np.array([[[0, 0.03], [0.01, 0]], [[0, 0.04], [0.02, 0]]])
    both = two_nodes(tmp_path / "two", n_replicas=2, edges_target=None, top_target=None, edges_learned_se=se)
    table = edge_table(read_graphs(both))
    assert table["learned_se"].tolist() == pytest.approx([0.025, np.sqrt(5) / 200], abs=1e-15)
    assert "exact" not in table
    one = two_nodes(tmp_path / "one", edges_target=None, top_target=None, edges_learned_se=se[:1])
    assert "a -> b               0.500    no" in edge_lines(read_graphs(one)).splitlines()


@pytest.mark.parametrize("n_replicas", [1, 2])
def test_an_edge_in_every_sample_has_an_interval(n_replicas: int, tmp_path: Path) -> None:
    """Never 1.000 +- 0.000: of all of n samples the bound is the n-th root of 2.5% (Clopper & Pearson), as scipy has it."""
    learned = np.zeros((n_replicas, 2, 2))
    learned[:, 0, 1], learned[:, 1, 0] = 1.0, 0.25
    weights = {"sampled_n_effective": np.full(n_replicas, 900.0), "sampled_pareto_k": np.full(n_replicas, 0.3)}
    se = np.sqrt(learned * (1 - learned) / 999)
    path = two_nodes(
        tmp_path, n_replicas=n_replicas, edges_target=None, top_target=None, edges_learned=learned, edges_learned_se=se,
        n_drawn=np.array(1000), **weights,
    )  # fmt: skip
    table, told = edge_table(read_graphs(path)), edge_lines(read_graphs(path))
    assert table["learned_low"][0] == pytest.approx(0.025 ** (1 / 1000))
    assert table["learned_high"][0] == 1.0
    expected = scipy.stats.binomtest(250, 1000).proportion_ci(method="exact")
    assert table.loc[1, ["learned_low", "learned_high"]].tolist() == pytest.approx([expected.low, expected.high])
    assert "1.000 (0.996 to 1.000)" in told
    assert "+-" not in told


def test_edges_of_a_sampler_with_weak_weights_have_no_interval(tmp_path: Path) -> None:
    """An effective sample size of 1 / n: frequencies are marked, in the terminal and below the figure."""
    weights = {"sampled_n_effective": np.array([1.0]), "sampled_pareto_k": np.array([0.2])}
    graphs = read_graphs(two_nodes(tmp_path, edges_target=None, top_target=None, n_drawn=np.array(1000), **weights))
    told = edge_lines(graphs)
    assert "a -> b               0.500 (?)" in told
    assert "(?) frequencies of the sampler, maybe not of the posterior: importance weights worth 1 samples, Pareto k 0.2" in told
    assert " to " not in told.splitlines()[1]
    assert "maybe not of the posterior" in edge_figure(graphs).get_supxlabel()
    assert "maybe not those of the posterior" in top_figure(graphs).get_supxlabel()


def test_names_survive(tmp_path: Path) -> None:
    """Commas, quotes, dollars, line breaks, other scripts: a CSV reader gets them back, and the terminal has one line each."""
    names = (*LONG[:3], "two\nlines", "größe")
    many_nodes(tmp_path, 5, is_known=False, names=names)
    told = report(tmp_path, with_pictures=False)
    rows = rows_of(tmp_path)[1:]
    assert {(row[0], row[1]) for row in rows} == set(itertools.permutations(names, 2))
    learned = [float(row[2]) for row in rows]
    assert learned == sorted(learned, reverse=True)
    assert len(told.splitlines()) == 1 + 8 + 1


def test_equal_probabilities_stay_in_the_order_of_the_columns(tmp_path: Path) -> None:
    many_nodes(tmp_path, 3, is_known=False)
    rows = edge_table(read_graphs(tmp_path))[3:]  # an upper triangle: three edges of probability 0
    assert list(zip(rows["source"], rows["target"], strict=True)) == [("X2", "X1"), ("X3", "X1"), ("X3", "X2")]


def test_a_replica_that_became_nan_is_left_out(tmp_path: Path) -> None:
    path = two_nodes(tmp_path, n_replicas=2)
    with np.load(path / "arrays.npz") as file:
        arrays = dict(file)
    arrays["edges_learned"][0] = np.nan
    graphs = read_graphs(run_directory(path, **arrays))
    assert (graphs.replicas, graphs.n_replicas) == ((1,), 2)
    assert edge_table(graphs)["learned"].tolist() == [0.75, 0.125]
    assert "mean over 1 of 2 replicas" in edge_figure(graphs).axes[0].get_title()
    arrays["edges_learned"][1, 0, 1] = np.nan
    with pytest.raises(TableError, match="every replica became non-finite"):
        read_graphs(run_directory(path, **arrays))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is no run directory"),
        ({"status.json": b"{}"}, "has no arrays.npz: it is written when the run is done"),
        ({"status.json": b"{}", "arrays.npz": b"PK"}, "is damaged"),
        ({"status.json": b"{}", "arrays.npz": None}, r"holds no graphs \(it lacks names, edges_learned, .*target=dag"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    files: dict[str, bytes | None], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        if content is None:
            np.savez(tmp_path / name, states=[1])  # neither graphs nor a distribution
        else:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_graphs(tmp_path)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1


def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The directory is the last line; pictures say what they were drawn from and how; the same bytes each time.

    Drawing leaves matplotlib's settings as they were.
    """
    settings = dict(mpl.rcParams)
    path = two_nodes(tmp_path / "a run", n_replicas=2)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert {file.name for file in path.iterdir()} >= WRITTEN
    first = {name: (path / name).read_bytes() for name in WRITTEN}
    digest = read_graphs(path).digest
    for name in ("edge_probabilities.png", "top_graphs.png"):
        with Image.open(path / name) as image:
            assert image.text["Description"] == f"arrays.npz {digest}; python scripts/pictures.py '{path}'"
            assert round(image.info["dpi"][0]) == style.DPI
    assert main([str(path)]) == 0
    assert {name: (path / name).read_bytes() for name in WRITTEN} == first
    assert dict(mpl.rcParams) == settings


def test_the_command_is_light() -> None:
    code = "import sys, gfn_vi.commands.pictures; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=CLONE, capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "matplotlib", "torch", "networkx", "pandas"} & set(modules)


def test_matrices_have_sources_as_rows(tmp_path: Path) -> None:
    """Learned beside exact on one scale; values in the cells of few nodes; the true edge b -> a framed in row b, column a."""
    figure = edge_figure(read_graphs(two_nodes(tmp_path)))
    learned, exact = figure.axes[:2]
    assert [axes.get_title().partition("\n")[0] for axes in (learned, exact)] == ["Learned", "Exact posterior"]
    assert [(axes.get_ylabel(), axes.get_xlabel()) for axes in (learned, exact)] == [("Source", "Target"), ("", "Target")]
    assert [text.get_text() for text in learned.get_yticklabels()] == ["a", "b"]
    for axes, values in ((learned, [0.5, 0.25]), (exact, [0.5, 0.3])):
        image = axes.collections[0]
        assert image.get_clim() == (0, 1)
        assert [image.get_array()[0, 1], image.get_array()[1, 0]] == values
        assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
            ((1.5, 0.5), f"{values[0]:.2f}"),
            ((0.5, 1.5), f"{values[1]:.2f}"),
        }
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [frame.get_xy() for frame in frames] == [(0, 1)]


def test_matrices_of_samples(tmp_path: Path) -> None:
    """Beside the true graph where it is known, else alone; no values among many nodes."""
    known = edge_figure(read_graphs(many_nodes(tmp_path / "known", 12, is_known=True)))
    assert [axes.get_title() for axes in known.axes[:2]] == [
        "Learned\nmean over 2 replicas, with 95% intervals up to 0.9 apart",
        "True graph\n",
    ]
    assert not any(axes.texts for axes in known.axes)
    alone = edge_figure(read_graphs(many_nodes(tmp_path / "alone", 12, is_known=False)))
    assert [axes.get_xlabel() for axes in alone.axes].count("Target") == 1
    assert alone.legends == []


def test_edges_of_top_graphs_tell_right_from_wrong(tmp_path: Path) -> None:
    """Truth b -> a: a -> b is reversed, b -> a right, and of the empty graph it is missing. The first two are equivalent."""
    figure = top_figure(read_graphs(two_nodes(tmp_path)))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["1a: learned 0.5, exact 0.5", "2a: learned 0.25, exact 0.3", "3b: learned 0.25, exact 0.2"]
    assert figure.texts[0].get_text() == "graphs with the same letter are Markov equivalent"
    legend = {
        t.get_text(): line.get_color() for t, line in zip(figure.legends[0].texts, figure.legends[0].get_lines(), strict=True)
    }
    arrows = [[patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)] for axes in figure.axes]
    expected = ["reversed", "in the true graph", "edge of the true graph that is missing"]
    assert [[arrow.get_edgecolor() for arrow in panel] for panel in arrows] == [[to_rgba(legend[kind])] for kind in expected]


def test_edges_of_top_graphs_without_a_true_graph_show_their_probability(tmp_path: Path) -> None:
    """A darker one is more probable; of samples the title has the log-reward and how often the graph was drawn."""
    graphs = read_graphs(many_nodes(tmp_path, 5, is_known=False))
    figure = top_figure(graphs)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 5  # the sixth place is empty
    assert panels[0].get_title() == f"1: $\\Delta$ log R 0.00, {100 * graphs.top_learned[0, 0]:.3g}% of samples"
    colors = [patch.get_edgecolor() for patch in panels[0].patches if isinstance(patch, FancyArrowPatch)]
    edges = list(zip(*graphs.top[0, 0].nonzero(), strict=True))
    darkness = {edge: -sum(color[:3]) for edge, color in zip(edges, colors, strict=True)}
    assert sorted(edges, key=lambda edge: graphs.mean[edge]) == sorted(edges, key=lambda edge: darkness[edge])


@pytest.mark.parametrize("d", [3, 4, 8])
def test_names_stay_on_the_page_and_apart(d: int, tmp_path: Path) -> None:
    """Also long ones, with signs that matplotlib would read as formulas: as they are, inside the figure, none over another."""
    names = tuple(f"{LONG[n % 4]} {n}" for n in range(d))
    with style.paper():
        figure = top_figure(read_graphs(many_nodes(tmp_path, d, is_known=True, names=names)))
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)  # only then names have their places
        page = figure.bbox
        shown = [text for axes in figure.axes for text in axes.texts]
        assert {text.get_text() for text in shown} == set(short_names(names, 18))
        for axes in figure.axes:
            boxes = [text.get_window_extent(renderer) for text in axes.texts]
            assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_short_names_stay_different() -> None:
    assert short_names(["a", "two\nlines"], 9) == ["a", "two lines"]
    assert short_names(["systolic_blood_pressure", "age"], 11) == ["systo…ssure", "age"]
    assert short_names(["cholesterol_a_LDL", "cholesterol_b_LDL"], 9) == ["1: chol…_LDL", "2: chol…_LDL"]


def test_markov_equivalence() -> None:
    """Of three nodes: the chains and the fork of one skeleton are equivalent, its collider is not."""
    chain, back, fork, collider, closed = np.zeros((5, 3, 3), dtype=bool)
    chain[0, 1] = chain[1, 2] = True
    back[2, 1] = back[1, 0] = True
    fork[1, 0] = fork[1, 2] = True
    collider[0, 1] = collider[2, 1] = True
    closed[0, 1] = closed[2, 1] = closed[0, 2] = True  # no v-structure: its parents are adjacent
    turned = closed[[1, 0, 2]][:, [1, 0, 2]]
    assert equivalence_classes(np.stack([chain, collider, back, fork, closed, turned])) == [0, 1, 0, 0, 2, 2]


def test_a_run_ends_with_its_graphs(tmp_path: Path) -> None:
    """Table, result line, directory; that pictures are wanted makes no other run."""
    outcome = train(TINY, tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    run = tmp_path / outcome.directory
    assert {path.name for path in run.iterdir()} >= WRITTEN
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["most", "probable", "edges", "learned", "exact", "true"]
    assert [line.split()[1] for line in lines[1:7]] == ["->"] * 6
    assert lines[-2].startswith("trajectory_balance-on_policy-dag-mlp-seed0: jsd ")
    assert outcome.directory == Path(lines[-1])
    again = train([*TINY, "pictures=false", "output_root=elsewhere"], tmp_path)
    assert again.directory.name == outcome.directory.name
    assert len(again.out.splitlines()) == 2
    quiet = tmp_path / again.directory
    assert {path.name for path in quiet.iterdir()} & WRITTEN == {"edge_probabilities.csv"}
    assert (quiet / "edge_probabilities.csv").read_bytes() == (run / "edge_probabilities.csv").read_bytes()


def test_a_sweep_draws_no_pictures(tmp_path: Path) -> None:
    outcome = train(["-m", *TINY, "seed=0,1"], tmp_path)
    assert outcome.code == 0, outcome.err
    runs = [path.parent for path in tmp_path.glob("outputs/default/*/status.json")]
    assert len(runs) == 2
    assert all({path.name for path in run.iterdir()} & WRITTEN == {"edge_probabilities.csv"} for run in runs)
    assert "most probable edges" not in outcome.out


def test_a_run_whose_pictures_fail_is_done(tmp_path: Path) -> None:
    """No matplotlib that works here: one line with the reason and the remedy, and the run stays what it is."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")  # matplotlib reads it on import, from the working folder
    outcome = train(TINY, tmp_path)
    assert outcome.code == 0, outcome.err
    run = only_run(tmp_path / "outputs")
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    (line,) = [line for line in outcome.err.splitlines() if "WARNING" in line]
    assert "the run is done, but its graphs could not be shown (" in line
    assert line.endswith(f"python scripts/pictures.py {outcome.directory}")
    assert outcome.out.splitlines()[-1] == str(outcome.directory)
    assert {path.name for path in run.iterdir()} & WRITTEN == {"edge_probabilities.csv"}
