"""The figure of Table 2: what is drawn of finished, failed and missing runs, and the command that draws it."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from analysis.dag_posterior.runs import jsd_at, read, table_of, write_run
from gfn_vi.experiments.dag_posterior.table2 import ARMS, SIZE

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.statistics.summary import final_values
from gfn_vi.commands import figure as figure_command
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import RunArrays


def test_colors_are_objectives_and_dashes_are_on_policy(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """Twelve lines per size; then a row of scatter plots per size, those of the paper's arms."""
    with style.paper():
        axes = drawing.figure(table, RunArrays(whole)).axes
    for panel, d in zip(axes[:3], (3, 4, 5), strict=True):
        lines = {line.get_label(): line for line in panel.lines}
        assert panel.get_title() == f"$d = {d}$"
        assert list(lines) == list(ARMS)
        assert len({line.get_color() for line in lines.values()}) == 6
        for arm in ARMS[:6]:
            on, off = lines[arm], lines[f"{arm}_off_policy"]
            assert on.get_color() == off.get_color()
            assert (on.is_dashed(), off.is_dashed()) == (True, False)
        finals = [jsd_at("wake_sleep", d, seed, np.ones(1))[0] for seed in range(5)]
        assert lines["wake_sleep"].get_ydata()[-1] == pytest.approx(np.median(finals))
    assert len(axes) == 3 + 3 * 5


def test_points_are_pairs_of_nodes_and_their_error_is_in_the_title(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> None:
    """Never the diagonal of a matrix, where no edge can be."""
    arrays = RunArrays(whole)
    panel = drawing.figure(table, arrays).axes[3 + 5 + 2]  # the second row of scatter plots: d = 4; on-policy TB
    pairs = ~np.eye(4, dtype=bool)
    contents = [arrays[f"trajectory_balance-d4-seed{seed}"] for seed in range(5)]
    expected = np.concatenate([np.stack([c["edges_target"][pairs], c["edges_learned"][0][pairs]], 1) for c in contents])
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), expected)
    rmse = math.sqrt(((expected[:, 1] - expected[:, 0]) ** 2).mean())
    assert panel.get_title() == f"RMSE {rmse:.2g}"


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
    curve, points = drawing.figure(table, arrays).axes
    assert curve.get_title().endswith("drawn at the worst value: 1")
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
    axes = drawing.figure(table, arrays, x=x, statistic="iqm").axes
    assert [panel.get_title() for panel in axes[:2]] == ["$d = 3$", "$d = 4$"]
    assert [[line.get_label() for line in panel.lines][:1] for panel in axes[:2]] == [["wake_sleep"], ["forward_kl_off_policy"]]
    assert len(axes) == 2 + 2 * 2
    texts = drawing.tables(table, arrays)
    assert [line.split(" & ")[0] for line in texts["table2.tex"].splitlines() if line.startswith(r"\quad")] == 2 * [
        r"\quad Wake-sleep",
        r"\quad Forward KL",
    ]
    assert {claim.agrees for claim in judging.claims(table)} == {None}
    other = table.assign(**{SIZE: 6})
    assert "paper" not in drawing.tables(other[other["arm"] == "wake_sleep"], arrays)["table2.tex"]


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
