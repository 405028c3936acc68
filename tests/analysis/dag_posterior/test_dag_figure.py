"""The figure of Table 2: what is drawn of finished, failed and missing runs, and the command that draws it."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from analysis.dag_posterior.runs import jsd_at, read, table_of, write_run
from gfn_vi.experiments.dag_posterior.figure import DODGE, SAME
from gfn_vi.experiments.dag_posterior.table2 import ARMS, ROUNDING, SIZE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.weights import rows_behind
from gfn_vi.analysis.statistics.summary import final_values
from gfn_vi.commands import figure as figure_command
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import RunArrays


def cells(page: Figure, n_rows: int, n_columns: int) -> list[list[Axes]]:
    """The panels of part (a), a row per number of nodes: objectives, then the two ends."""
    return [page.axes[n_columns * row : n_columns * (row + 1)] for row in range(n_rows)]


def settings_of(panel: Axes) -> dict[float, np.ndarray]:
    """Place -> the graphs of a setting at the end, as drawn."""
    return {float(line.get_xdata()[0]): np.asarray(line.get_ydata()) for line in panel.lines if line.get_marker() == "o"}


def final(arm: str, d: int) -> np.ndarray:
    """The JSD of five graphs after all updates."""
    return np.array([jsd_at(arm, d, seed, np.ones(1))[0] for seed in range(5)])


@pytest.fixture(scope="module")
def page(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> Figure:
    """The figure of the whole sweep."""
    with style.paper():
        return drawing.figure(table, RunArrays(whole))


def test_a_row_is_a_size_and_a_column_an_objective(page: Figure) -> None:
    """Broken on-policy and whole off-policy, off-policy TB in gray; then a row of scatter plots per size, of the paper's arms."""
    rows = cells(page, 3, 8)
    assert len(page.axes) == 3 * 8 + 3 * 5
    titles = ["TB", "Modified\nDB", "Log-variance", "Reverse\nKL", "Forward\nKL", "Wake-sleep"]
    assert [axes.get_title() for axes in rows[0][:6]] == titles
    assert not any(axes.get_title() for axes in rows[1] + rows[2])
    assert len({row_of.lines[-1].get_color() for row_of in rows[0][:6]}) == 6
    for row, d in zip(rows, (3, 4, 5), strict=True):
        assert row[0].get_ylabel() == f"$d = {d}$\nJSD"
        for panel, arm in zip(row, ARMS[:6], strict=False):
            lines = {line.get_label(): line for line in panel.lines}
            assert lines[arm].get_color() == lines[f"{arm}_off_policy"].get_color()
            assert (lines[arm].is_dashed(), lines[f"{arm}_off_policy"].is_dashed()) == (True, False)
            for name in (arm, f"{arm}_off_policy"):
                assert lines[name].get_ydata()[-1] == pytest.approx(np.median(final(name, d)))
            graphs = sorted(line.get_ydata()[-1] for line in panel.lines if line.get_label() == "_graph" and not line.is_dashed())
            np.testing.assert_allclose(graphs, np.sort(final(f"{arm}_off_policy", d)))
            gray = [line.get_ydata()[-1] for line in panel.lines if line.get_color() == "0.6"]
            best = np.median(final("trajectory_balance_off_policy", d))
            assert gray == ([] if arm == ARMS[0] else [pytest.approx(best)])


def test_every_graph_is_a_point_at_the_end(page: Figure) -> None:
    """On-policy left and off-policy right of an objective's place; a bar at the median, a cross at the paper's mean."""
    updates, evaluations = cells(page, 3, 8)[1][6:]
    drawn = settings_of(updates)
    # on-policy modified DB evaluates four rewards a trajectory: it has no evaluation within the budget, and that is said
    assert set(drawn) - set(settings_of(evaluations)) == {1 - DODGE}
    assert [(text.get_position()[0], text.get_text()) for text in evaluations.texts] == [(1 - DODGE, "n/a")]
    assert len(drawn) == 12
    assert not updates.texts
    for place, arm in enumerate(ARMS[:6]):
        for shift, name in ((-DODGE, arm), (DODGE, f"{arm}_off_policy")):
            np.testing.assert_allclose(drawn[place + shift], final(name, 4))
    bars = [line.get_ydata()[0] for line in updates.lines if line.get_marker() == "None"]
    assert bars[1] == pytest.approx(np.median(final("trajectory_balance_off_policy", 4)))
    crosses = {float(line.get_xdata()[0]): line.get_ydata()[0] for line in updates.lines if line.get_marker() == "x"}
    assert crosses[DODGE] == 9.35e-6
    assert len(crosses) == 5
    assert not [line for line in evaluations.lines if line.get_marker() == "x"]
    # a tenth of the way: what replays nine tenths of its batches stands at its end, all others at a tenth of theirs
    np.testing.assert_allclose(settings_of(evaluations)[DODGE], final("trajectory_balance_off_policy", 4))
    tenth = [jsd_at("trajectory_balance", 4, seed, np.full(1, 0.1))[0] for seed in range(5)]
    np.testing.assert_allclose(settings_of(evaluations)[-DODGE], tenth)


def test_what_is_only_rounding_is_drawn_at_the_floor(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """Also a JSD of exactly 0, which has no place on a logarithmic axis; other sizes keep their scale."""
    chosen = (table["arm"] == "log_variance_off_policy") & (table[SIZE] == 3) & (table["metric"] == "jsd")
    chosen &= table["trajectories"] > 0
    rows = cells(drawing.figure(table.assign(value=table["value"].where(~chosen, 0.0)), RunArrays(whole)), 3, 8)
    lines = {line.get_label(): line for line in rows[0][2].lines}
    np.testing.assert_array_equal(lines["log_variance_off_policy"].get_ydata()[1:], ROUNDING)
    np.testing.assert_array_equal(settings_of(rows[0][6])[2 + DODGE], ROUNDING)
    assert rows[0][0].get_ylim()[0] == ROUNDING / 10
    assert [len(row[0].patches) for row in rows] == [1, 0, 0]
    assert rows[1][0].get_ylim()[0] > 1e-7


def test_wake_sleep_that_is_forward_kl_shares_its_column(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """With the same numbers to the last digit, and not where one is off by a little."""
    copied = table.copy()
    for side in ("", "_off_policy"):
        for d in (3, 4, 5):
            of = {name: (table["arm"] == name + side) & (table[SIZE] == d) & (table["metric"] == "jsd") for name in SAME}
            one, other = (table[of[name]].sort_values(["seed", "trajectories"]).index for name in SAME)
            copied.loc[one, "value"] = table.loc[other, "value"].to_numpy()
    titles = [axes.get_title() for axes in cells(drawing.figure(copied, RunArrays(whole)), 3, 7)[0]]
    assert titles[4] == "Forward KL =\nwake-sleep"
    copied.loc[one[0], "value"] += 1e-9
    assert drawing.figure(copied, RunArrays(whole)).axes[5].get_title() == "Wake-sleep"


def test_points_are_pairs_of_nodes_and_their_error_is_in_the_title(page: Figure, whole: Path) -> None:
    """Never the diagonal of a matrix, where no edge can be."""
    arrays = RunArrays(whole)
    panel = page.axes[3 * 8 + 5 + 2]  # the second row of scatter plots: d = 4; on-policy TB
    pairs = ~np.eye(4, dtype=bool)
    contents = [arrays[f"trajectory_balance-d4-seed{seed}"] for seed in range(5)]
    expected = np.concatenate([np.stack([c["edges_target"][pairs], c["edges_learned"][0][pairs]], 1) for c in contents])
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), expected)
    rmse = math.sqrt(((expected[:, 1] - expected[:, 0]) ** 2).mean())
    assert panel.get_title() == f"RMSE {rmse:.2g}"


def test_what_is_committed_gives_the_same_tables(drawing: ModuleType, table: pd.DataFrame, texts: dict[str, str]) -> None:
    """Of marginals the last evaluation is committed."""
    kept = rows_behind(table, drawing.METRICS, drawing.AT_END)
    assert len(kept) < len(table) / 2
    again = drawing.tables(kept, {})
    assert {name: again[name] for name in again if name.endswith("csv")} == {
        name: texts[name] for name in texts if name.endswith("csv")
    }


def test_a_failed_replica_is_the_worst_in_everything(drawing: ModuleType, tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path, "reverse_kl", 3, seed, frozen_at=500 if seed else None)
    content = dict(np.load(path / "arrays.npz"))
    np.savez(path / "arrays.npz", **content | {"edges_learned": content["edges_learned"] * np.nan})
    table, arrays = table_of(tmp_path), RunArrays(tmp_path)
    texts = drawing.tables(table, arrays)
    found = read(texts["table2.csv"])
    assert found.loc[found["budget"] == "updates", "high"].item() == pytest.approx(math.log(2), rel=1e-5)
    marginals = read(texts["edge_marginals.csv"]).set_index("metric")
    assert marginals.loc["edge_rmse", "high"] == 1
    assert marginals.loc["edge_correlation", "low"] == -1
    assert r"counted as $\log 2$: 1." in texts["table2.tex"]
    curve, *_, points = drawing.figure(table, arrays).axes
    assert curve.get_ylabel().endswith("failed: 1")
    assert points.get_title().endswith(", 1 failed")
    assert len(points.collections[0].get_offsets()) == 6


@pytest.mark.parametrize("x", ["trajectories", "reward_calls", "seconds"])
def test_a_sweep_in_progress_is_drawn_as_far_as_it_is(drawing: ModuleType, judging: ModuleType, tmp_path: Path, x: str) -> None:
    """Different arms at different sizes, one graph, none of the paper's arms at d = 4; a size that the paper does not have."""
    write_run(tmp_path, "wake_sleep", 3, 0)
    write_run(tmp_path, "forward_kl_off_policy", 4, 3)
    write_run(tmp_path, "reverse_kl", 5, 1, state="running")
    arrays = RunArrays(tmp_path)
    table = table_of(tmp_path)
    page = drawing.figure(table, arrays, x=x, statistic="iqm")
    rows = cells(page, 2, 4)
    assert [row[0].get_ylabel() for row in rows] == ["$d = 3$\nJSD", "$d = 4$\nJSD"]
    assert [panel.get_title() for panel in rows[0][:2]] == ["Forward\nKL", "Wake-sleep"]
    labels = [[line.get_label() for panel in row[:2] if panel.axison for line in panel.lines] for row in rows]
    drawn = [[label for label in row if not label.startswith("_")] for row in labels]
    assert drawn == [["wake_sleep"], ["forward_kl_off_policy"]]
    assert len(page.axes) == 2 * 4 + 2 * 2
    texts = drawing.tables(table, arrays)
    assert [line.split(" & ")[0] for line in texts["table2.tex"].splitlines() if line.startswith(r"\quad")] == 2 * [
        r"\quad Wake-sleep",
        r"\quad Forward KL",
    ]
    assert {claim.agrees for claim in judging.claims(table)} == {None}
    other = table.assign(**{SIZE: 6})
    assert "paper" not in drawing.tables(other[other["arm"] == "wake_sleep"], arrays)["table2.tex"]


def test_of_one_setting_the_legend_and_the_crosses_name_it_alone(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """A sweep that has just begun has no on-policy lines, nothing beside off-policy TB, and one of the paper's means of TB."""
    with style.paper():
        page = drawing.figure(table[(table["arm"] == "trajectory_balance_off_policy") & (table[SIZE] == 5)], RunArrays(whole))
    legend = [text.get_text() for text in page.subfigs[0].legends[0].get_texts()]
    assert legend == ["Off-policy", "Median over graphs", "Mean in the paper"]
    assert [line.get_xdata()[0] for line in page.axes[1].lines if line.get_marker() == "x"] == [DODGE]


def test_what_cannot_be_drawn_is_said(drawing: ModuleType, tmp_path: Path) -> None:
    path = write_run(tmp_path, "reverse_kl", 3, 0)
    table = table_of(tmp_path)
    with pytest.raises(TableError, match=r"no column config\.target\.data\.n_nodes"):
        drawing.figure(table.drop(columns=SIZE), {})
    with pytest.raises(TableError, match=f"run {path.name} has no arrays.npz"):
        drawing.figure(table, {})
    with pytest.raises(TableError, match="lacks edges_learned, edges_target"):
        drawing.figure(table, {path.name: {}})
    with pytest.raises(TableError, match="nothing to draw"):
        drawing.figure(table.assign(state="running"), {})


def test_runs_on_other_graphs_belong_together(tmp_path: Path) -> None:
    """They differ in the seed of their data only; a size is told by the size, not by what depends on it."""
    for d in (3, 4):
        for seed in range(2):
            write_run(tmp_path, "reverse_kl", d, seed)
    groups = final_values(table_of(tmp_path), "jsd", 1.0)
    assert {name: len(values) for name, values in groups.items()} == {
        "reverse_kl target.data.n_nodes=3": 2,
        "reverse_kl target.data.n_nodes=4": 2,
    }


def test_the_command_writes_and_prints_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between the numbers that every experiment has and the figure; the same again for the same runs."""
    folder = tmp_path / "dag_posterior"
    for seed in range(2):
        write_run(folder, "reverse_kl", 3, seed)
    words = ["experiment=dag_posterior", f"output_root={tmp_path}"]
    assert figure_command.main(words) == 0
    names = ["summary.csv", "improvement.csv", "table2.tex", "table2.csv", "edge_marginals.csv", "figure.pdf", "figure.png"]
    assert capsys.readouterr().out.splitlines() == ["2 runs: 2 done", *(str(folder / name) for name in names)]
    before = [(folder / name).read_bytes() for name in names]
    assert figure_command.main(words) == 0
    assert [(folder / name).read_bytes() for name in names] == before
