"""Several folders become one table: a run counts once, the copy that is further, and other numbers of one run are said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.reading.table import collect, table_hash
from gfn_vi.commands import collect as collect_command
from gfn_vi.commands import figure as figure_command
from gfn_vi.commands import plot as plot_command
from gfn_vi.commands import report as report_command
from gfn_vi.runs.folders import NoRunsError, TableError
from gfn_vi.runs.places import run_in, states_in
from gfn_vi.runs.reading import RunArrays

MakeRun = Callable[..., Path]


def joined(*folders: Path) -> tuple[pd.DataFrame, list[str]]:
    said: list[str] = []
    return collect(folders, say=said.append), said


def moved(run: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.move(run, folder / run.name))


def test_runs_of_two_folders_are_those_of_one(make_run: MakeRun, tmp_path: Path) -> None:
    """In any order of the folders, and of a folder that is named twice."""
    runs = [make_run(arm, n_points=2) for arm in ("reverse_kl", "forward_kl")]
    folder = runs[0].parent
    whole = table_hash(collect(folder, say=lambda _: None))
    other = moved(runs[1], tmp_path / "other").parent
    for order in ((folder, other), (other, folder), (folder, folder / ".." / folder.name, other)):
        table, said = joined(*order)
        assert table_hash(table) == whole
        assert said == ["2 runs: 2 done"]


def test_of_two_copies_the_further_one_counts(make_run: MakeRun, tmp_path: Path) -> None:
    """What is done, else the one with more rows; said in one line, and nothing is doubtful about a shorter copy."""
    run = make_run("reverse_kl", n_points=3)
    copy = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    lines = (copy / "metrics.csv").read_text().splitlines(keepends=True)
    (copy / "metrics.csv").write_text("".join(lines[:31]))
    (copy / "status.json").write_text(json.dumps(json.loads((copy / "status.json").read_text()) | {"state": "interrupted"}))
    alone = collect(run.parent, say=lambda _: None)
    for order in ((run.parent, copy.parent), (copy.parent, run.parent)):
        table, said = joined(*order)
        assert table_hash(table) == table_hash(alone)
        assert said == [
            "1 run: 1 done",
            f"1 run in several folders, of which the one that is further counts: {run.name} of {run.parent}",
        ]
    (run / "status.json").write_text((copy / "status.json").read_text())
    assert len(joined(copy.parent, run.parent)[0]) == len(lines) - 1


def test_other_numbers_of_one_run_are_said(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("reverse_kl", n_points=3)
    copy = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    lines = (run / "metrics.csv").read_text().splitlines()
    lines[2] = f"{lines[2].rpartition(',')[0]},nan"
    for path in (run, copy):  # not a number in both is no difference
        (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert len(joined(run.parent, copy.parent)[1]) == 2
    before, value = lines[3].rpartition(",")[::2]
    lines[3] = f"{before},2.5"
    (copy / "metrics.csv").write_text("\n".join(lines) + "\n")
    table, said = joined(run.parent, copy.parent)
    trajectories, metric = before.split(",")[1], before.split(",")[5]
    assert said[2] == (
        f"warning: {run.parent} and {copy.parent} have other numbers of {run.name}: "
        f"{metric} {float(value):.6g} and 2.5 after {trajectories} trajectories; those of {run.parent} count"
    )
    assert not (table["value"] == 2.5).any()


def test_a_seed_counts_once_and_experiments_are_told_apart(make_run: MakeRun, tmp_path: Path) -> None:
    """The same settings and seeds under two names are one measurement; what is not repeated stays, with its name."""
    first = make_run("reverse_kl", n_points=1, experiment_name="a")
    make_run("forward_kl", n_points=1, experiment_name="a")
    again = moved(make_run("reverse_kl", n_points=1, experiment_name="b"), tmp_path / "b")
    moved(make_run("reverse_kl", n_points=1, experiment_name="b", seed=5), tmp_path / "b")
    table, said = joined(first.parent, again.parent)
    assert sum("left out: " in line and "(seed 0-4)" in line for line in said) == 1
    assert sorted(table["seed"].unique()) == list(range(10))
    assert not table.duplicated(["arm", "seed", "trajectories", "metric"]).any()
    assert set(table["config.experiment_name"]) == {"a", "b"}


def test_folders_that_cannot_be_joined(make_run: MakeRun, tmp_path: Path) -> None:
    """A mistyped folder and a run are refused; a folder without runs, as outputs/* has them, is a line."""
    run = make_run("reverse_kl", n_points=1)
    empty = tmp_path / "references"
    empty.mkdir()
    assert joined(run.parent, empty)[1] == ["1 run: 1 done", f"no runs in {empty}"]
    with pytest.raises(NoRunsError, match="no such folder"):
        joined(run.parent, tmp_path / "mistyped")
    with pytest.raises(TableError, match="is itself a run; expected the folder that holds it"):
        joined(run.parent, run)
    with pytest.raises(NoRunsError, match="no runs found"):
        joined(empty, tmp_path)


def test_the_command_writes_where_it_is_told(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder's own table is touched by that of several."""
    one = make_run("reverse_kl", n_points=1)
    other = moved(make_run("forward_kl", n_points=1), tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    for to, words in (("joined", []), ("both/of/them", ["--to", "both/of/them"])):
        assert collect_command.main([str(one.parent), str(other.parent), *words]) == 0
        assert capsys.readouterr().out.splitlines()[-2:] == [f"{to}/table.parquet", f"{to}/table.csv"]
        assert len(pd.read_parquet(f"{to}/table.parquet")["run"].unique()) == 2
    assert not list(tmp_path.glob("other/table*"))
    (tmp_path / "file").write_text("mine")
    assert collect_command.main([str(one.parent), "--to", "file"]) == 2
    assert capsys.readouterr().err == "error: --to file: expected a folder, and it is a file\n"
    assert collect_command.main([str(one.parent)]) == 0
    assert (one.parent / "table.csv").exists()


@pytest.fixture
def two_machines(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders named quickstart: reverse KL, and a copy of forward KL that broke; forward KL that is done in the other."""
    monkeypatch.chdir(tmp_path)
    runs = [make_run(arm, n_points=2) for arm in ("reverse_kl", "forward_kl")]
    one = runs[0].parent.rename(tmp_path / "quickstart")
    other = tmp_path / "laptop" / "quickstart"
    shutil.copytree(one / runs[1].name, other / runs[1].name)
    status = one / runs[1].name / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "failed", "error": "ValueError: broken"}))
    (one / runs[1].name / "arrays.npz").unlink()
    return Path("quickstart"), Path("laptop/quickstart")


def test_of_copies_the_one_that_is_done_is_looked_at(two_machines: tuple[Path, Path]) -> None:
    """State, arrays, directory: in any order of the folders."""
    one, other = two_machines
    (name,) = (path.name for path in other.iterdir())
    for order in (one, other), (other, one):
        assert run_in(order, name) == other / name
        assert [run.state for run in states_in(order)[0]] == ["done", "done"]
        assert len(RunArrays(order)) == 2
        assert RunArrays(order)[name]["learned"].shape[0] == 5
    assert run_in(one, name) == one / name
    with pytest.raises(NoRunsError, match="no such folder"):
        states_in((one, Path("nowhere")))


def test_a_page_of_two_folders(two_machines: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Each run once, no failure of a copy; written where the table of several folders is, or where --to says."""
    assert "ValueError: broken" in render(two_machines[0], None, None)
    assert report_command.main([*map(str, two_machines)]) == 0
    assert capsys.readouterr().out == "joined/report.html\n"
    page = Path("joined/report.html").read_text()
    assert "2 runs: 2 done" in page
    assert "ValueError: broken" not in page
    assert all(f'<th scope="row">{arm}_<wbr>kl</th>' in page for arm in ("reverse", "forward"))
    assert "gfn-vi-report quickstart laptop/quickstart --to joined" in page
    assert "gfn-vi-figure experiment=quickstart output_root=.,laptop" in page
    assert report_command.main([*map(str, two_machines), "--to", "both/pages"]) == 0
    assert Path("both/pages/report.html").is_file()
    Path("taken").write_text("")
    assert report_command.main([*map(str, two_machines), "--to", "taken"]) == 2


def test_figures_of_two_folders(two_machines: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The experiment's figure and a plot without code have the runs of both, each once."""
    assert figure_command.main(["experiment=quickstart", "output_root=.,laptop"]) == 0
    assert len(pd.read_parquet("joined/table.parquet")["run"].unique()) == 2
    assert {path.name for path in Path("joined").iterdir()} >= {"figure.png", "figure.pdf", "summary.csv"}
    assert plot_command.main([*map(str, two_machines), "y=jsd", "hue=arm"]) == 0
    assert set(pd.read_csv("joined/plots/jsd-trajectories-hue_arm.csv")["arm"]) == {"reverse_kl", "forward_kl"}
    assert not Path("quickstart/table.parquet").exists()
    capsys.readouterr()
    assert figure_command.main(["experiment=quickstart", "output_root=.,laptop", "export=add"]) == 2
    assert "output_root=.,laptop: one output_root at a time: export=add, then export=add for each" in capsys.readouterr().err
    assert plot_command.main([*map(str, two_machines), "y=jsd", "hue"]) == 2
    assert "hue: there is no such folder; expected key=value" in capsys.readouterr().err
