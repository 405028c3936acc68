"""Several folders become one table: a run counts once, the copy that is further, and other numbers of one run are said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gfn_vi.analysis.reading.table import collect, table_hash
from gfn_vi.commands import collect as collect_command
from gfn_vi.runs.folders import NoRunsError, TableError

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
