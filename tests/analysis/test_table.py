"""collect, write_table and table_hash on real run directories: whole, running, failed, damaged."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from gfn_vi.analysis.reading.table import collect, require_columns, summarize, table_hash, write_table
from gfn_vi.runs.folders import NoRunsError
from gfn_vi.runs.reading import RunArrays, TableError, read_run
from gfn_vi.runs.stored_config import flatten

MakeRun = Callable[..., Path]


def silent(_: str) -> None:
    """Nobody listens."""


def test_every_recorded_value_is_a_row_with_its_run(make_run: MakeRun) -> None:
    """The table holds metrics.csv line by line, beside the run it came from."""
    paths = [make_run("reverse_kl", seed=3, replicas=2, n_points=4), make_run("forward_kl", replicas=1, n_points=2)]
    table = collect(paths[0].parent, say=silent)
    for path in paths:
        rows = table[table["run"] == path.name]
        expected = pd.read_csv(path / "metrics.csv")
        np.testing.assert_array_equal(rows["value"], expected["value"])
        for name in ("step", "trajectories", "reward_calls", "wall_seconds", "replica", "metric"):
            assert rows[name].tolist() == expected[name].tolist()
    assert set(zip(table["arm"], table["seed"], table["state"], strict=True)) == {
        ("reverse_kl", 3, "done"),
        ("reverse_kl", 4, "done"),  # replica 1 of seed 3 is the single run with seed 4
        ("forward_kl", 0, "done"),
    }
    assert len(table) == (2 * 5 + 3) * 3


def test_config_columns_are_what_the_runs_differ_in(make_run: MakeRun) -> None:
    """Keys that are the same everywhere are left out unless asked for; where a run was made is never a column."""
    folder = make_run("reverse_kl", n_points=1, device="cpu", budget=100).parent
    make_run("trajectory_balance", n_points=1, device="cuda", budget=200)
    table = collect(folder, say=silent)
    config = {name for name in table.columns if name.startswith("config.")}
    assert config == {"config.objective._target_", "config.objective.baseline", "config.budget"}
    assert set(table.loc[table["arm"] == "reverse_kl", "config.budget"]) == {100}
    asked = collect(folder, keys=["target.side", "objective.nowhere"], say=silent)
    assert set(asked["config.target.side"]) == {16}
    assert asked["config.objective.nowhere"].isna().all()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((1, 2.5), [1.0, 2.5]),
        ((None, 2), [None, 2]),
        ((True, None), ["true", None]),
        (("auto", 3), ["auto", "3"]),
        (([1, 2], [1, 3]), ["[1, 2]", "[1, 3]"]),
    ],
)
def test_config_values_of_any_kind(make_run: MakeRun, values: tuple[object, ...], found: list[object]) -> None:
    """Numbers stay numbers if all are; otherwise text; null is missing; all of it can be written."""
    for seed, value in enumerate(values):
        folder = make_run("reverse_kl", seed=seed, n_points=1, replicas=1, key=value).parent
    table = collect(folder, say=silent)
    per_run = table.groupby("seed", observed=True)["config.key"].first()
    assert [None if pd.isna(value) else value for value in per_run] == found
    write_table(table, folder)


def test_broken_runs_are_counted_and_do_no_harm(make_run: MakeRun) -> None:
    """Each kind of bad run is named in the one line; those that can be read give their rows."""
    seeds = iter(range(100))

    def run(state: str = "done") -> Path:
        return make_run("reverse_kl", state=state, seed=next(seeds), replicas=1, n_points=2)

    folder = run().parent
    run()
    killed, running = run("running"), run("running")  # a run that runs holds its lock
    diverged = run()
    (diverged / "status.json").write_text('{"state": "done", "error": "replicas [0] became non-finite"}')
    with (running / "metrics.csv").open("a") as file:
        file.write("999,63936,63936,1.0,0,jsd,0.00")  # is being written: 0.00 might become 0.0012
    (run("failed") / "metrics.csv").unlink()
    (run() / "metrics.csv").unlink()
    only_header = killed / "metrics.csv"
    only_header.write_text(only_header.read_text().splitlines(keepends=True)[0])
    (run() / "config.yaml").write_text("target: [1")
    (run() / "config.yaml").write_text("")
    (run() / "config.yaml").unlink()
    (run() / "metrics.csv").write_text("step,replica\n1,0\n")
    (run() / "metrics.csv").write_bytes((running / "metrics.csv").read_bytes() + b"\n" + b"\0" * 64 + b"\n")
    without_status, bad_status = run(), run()
    (without_status / "status.json").unlink()
    (bad_status / "status.json").write_text('{"state": "do')
    (folder / "multirun.yaml").write_text("not a run")
    (folder / "notes").mkdir()

    said: list[str] = []
    with (running / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = collect(folder, say=said.append)
    damage = said.pop()
    assert damage.startswith("damaged: ")
    assert damage.endswith(" and 1 more")
    assert said == [
        "14 runs: 2 done, 2 killed, 2 with damaged config.yaml, 2 with damaged metrics.csv, 1 damaged, 1 diverged, 1 failed, "
        "1 running, 1 without config, 1 without metrics"
    ]
    assert table.groupby("state", observed=True)["run"].nunique().to_dict() == {
        "damaged": 1,
        "done": 3,
        "killed": 1,
        "running": 1,
    }
    assert 999 not in set(table["step"])


def test_rows_that_are_lost_or_there_twice_are_damage(make_run: MakeRun) -> None:
    """A done run has written its last line whole; of one that runs, a line may not be finished. Nobody writes a row twice."""
    done = make_run("reverse_kl", n_points=2, replicas=2)
    text = (done / "metrics.csv").read_text()
    head, rows = text.split("\n", 1)
    labels = {}
    for name, content in {
        "whole": text,
        "cut": text[:-9],
        "cut at a line": f"{head}\n{rows.split(chr(10))[0]}",
        "twice": text + rows,
        "one row twice": text + rows.split("\n")[-2] + "\n",
    }.items():
        (done / "metrics.csv").write_text(content)
        labels[name] = read_run(done).label
    assert labels.pop("whole") == "done"
    assert set(labels.values()) == {"with damaged metrics.csv"}
    assert read_run(done).damage == "metrics.csv: rows are there twice"
    killed = make_run("reverse_kl", seed=2, state="running", n_points=2, replicas=2)
    (killed / "metrics.csv").write_text(text[:-9])
    assert read_run(killed).label == "killed"


def test_which_run_lacks_which_column_is_said(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file without one of its columns no number can be read; the run and the column are in a line of their own."""
    lacking, torn = (make_run("reverse_kl", n_points=2, seed=seed, replicas=1) for seed in (1, 2))
    pd.read_csv(lacking / "metrics.csv").drop(columns=["wall_seconds", "value"]).to_csv(lacking / "metrics.csv", index=False)
    (torn / "config.yaml").write_text("target: [1")
    collect(make_run("reverse_kl", n_points=2, replicas=1).parent)
    counted, damage = capsys.readouterr().out.splitlines()
    assert counted == "3 runs: 1 done, 1 with damaged config.yaml, 1 with damaged metrics.csv"
    assert damage.startswith(f"damaged: {lacking.name} (metrics.csv: no column wall_seconds, value); {torn.name} (config.yaml: ")


def test_a_run_whose_lock_cannot_be_looked_at_is_counted(make_run: MakeRun) -> None:
    """Whether it runs or was killed, nobody can tell; its rows are read."""
    path = make_run("reverse_kl", state="running", n_points=2)
    (path / "run.lock").symlink_to("run.lock")
    said: list[str] = []
    table = collect(path.parent, say=said.append)
    assert said == ["1 run: 1 damaged"]
    assert len(table) > 0


def test_summary_of_one_run(make_run: MakeRun) -> None:
    """Singular and plural."""
    assert summarize([read_run(make_run("reverse_kl"))]) == "1 run: 1 done"


def test_nothing_to_collect(tmp_path: Path, make_run: MakeRun) -> None:
    """No folder, no runs, a run instead of its folder, no readable run: each says so."""
    with pytest.raises(NoRunsError, match="no such folder"):
        collect(tmp_path / "nowhere")
    with pytest.raises(NoRunsError, match="no runs found"):
        collect(tmp_path)
    path = make_run("reverse_kl")
    with pytest.raises(TableError, match=r"is itself a run; expected the folder that holds it, .*quickstart"):
        collect(path)
    (path / "metrics.csv").unlink()
    with pytest.raises(TableError, match=r"no run has metrics yet.*1 without metrics"):
        collect(path.parent, say=silent)


def test_hash_is_of_what_was_measured(make_run: MakeRun, tmp_path: Path) -> None:
    """Wall-clock, order of rows and of columns, storage do not matter; a value, a state or a config key does."""
    folder = make_run("reverse_kl", n_points=5, clock=1.0).parent
    table = collect(folder, say=silent)
    reference = table_hash(table)

    shutil.rmtree(folder)
    make_run("reverse_kl", n_points=5, clock=7.0)
    slower = collect(folder, say=silent)
    assert (slower["wall_seconds"] != table["wall_seconds"]).any()
    assert table_hash(slower) == reference

    shuffled = table.sample(frac=1, random_state=0)[list(reversed(table.columns))]
    assert table_hash(shuffled) == reference
    parquet, csv = write_table(table, tmp_path)
    assert table_hash(pd.read_parquet(parquet)) == reference
    assert table_hash(pd.read_csv(csv)) == reference

    nudged = table.copy()
    nudged.loc[3, "value"] = np.nextafter(nudged.loc[3, "value"], 1)
    swapped = table.copy()
    swapped["value"] = table["value"].to_numpy()[[1, 0, *range(2, len(table))]]
    renamed = table.assign(state="running")
    for other in (nudged, swapped, renamed, table.iloc[:-1], pd.concat([table, table.iloc[:1]])):
        assert table_hash(other) != reference


def test_written_tables_hold_the_numbers_and_the_hash(make_run: MakeRun) -> None:
    """Bit for bit, no half-written files left behind, and the same bytes again."""
    folder = make_run("reverse_kl", n_points=5).parent
    make_run("forward_kl", n_points=5)
    table = collect(folder, say=silent)
    parquet, csv = write_table(table, folder)
    assert pyarrow.parquet.read_schema(parquet).metadata[b"table_hash"].decode() == table_hash(table)
    pd.testing.assert_frame_equal(pd.read_parquet(parquet)[["value", "step"]], table[["value", "step"]])
    np.testing.assert_array_equal(pd.read_csv(csv)["value"], table["value"])
    first = parquet.read_bytes(), csv.read_bytes()
    write_table(collect(folder, say=silent), folder)
    assert (parquet.read_bytes(), csv.read_bytes()) == first
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["table.csv", "table.parquet"]


def test_non_finite_values_stay(make_run: MakeRun) -> None:
    """nan and inf are measurements: they are in the table, in the file, and in the hash."""
    path = make_run("reverse_kl", n_points=2, replicas=1)
    before = table_hash(collect(path.parent, say=silent))
    with (path / "metrics.csv").open("a") as file:
        file.write("3,192,192,0.1,0,jsd,nan\n3,192,192,0.1,0,log_Z,-inf\n")
    table = collect(path.parent, say=silent)
    assert np.isnan(table["value"].iloc[-2])
    assert table["value"].iloc[-1] == -np.inf
    assert table_hash(table) != before


def test_missing_columns_are_named() -> None:
    """Also what there is instead."""
    with pytest.raises(TableError, match=r"no column b, c; it has a"):
        require_columns(pd.DataFrame({"a": [1]}), ["a", "b", "c"])


def test_arrays_are_read_when_asked_for(make_run: MakeRun) -> None:
    """A run without arrays is not there; a damaged file is named with the way out."""
    good, without, damaged = (make_run("reverse_kl", seed=seed, n_points=1) for seed in range(3))
    (without / "arrays.npz").unlink()
    (damaged / "arrays.npz").write_bytes((good / "arrays.npz").read_bytes()[:500])
    arrays = RunArrays(good.parent)
    assert set(arrays) == {good.name, damaged.name}
    assert without.name not in arrays
    np.testing.assert_allclose(arrays[good.name]["learned"].sum(-1), 1)
    with pytest.raises(TableError, match=r"arrays\.npz is damaged .*delete the folder"):
        arrays[damaged.name]


def test_flatten() -> None:
    """Dotted keys; lists as text; empty groups vanish."""
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": [1, {"f": 2}], "g": {}}) == {
        "a.b.c": 1,
        "a.d": None,
        "e": '[1, {"f": 2}]',
    }


@pytest.mark.parametrize(
    "text",
    ["# note\na: 1\nb:\n- 1\n- 2\n", "{a: 1,\nb: [1, 2]}", "---\na: 1\nb: &x [1, 2]\n", "a: 1\n'b':\n  - 1\n  - 2"],
)
def test_any_yaml_is_read(make_run: MakeRun, text: str) -> None:
    """Reading by top-level keys is a short cut for block style, not a dialect."""
    path = make_run("reverse_kl", n_points=1)
    (path / "config.yaml").write_text(text)
    assert read_run(path).config == {"a": 1, "b": "[1, 2]"}


def test_analysis_never_imports_torch() -> None:
    """Reading results needs no torch; the commands load nothing heavy before they know what to do."""
    modules = (
        "gfn_vi.runs.reading, gfn_vi.analysis.reading.table, gfn_vi.analysis.statistics.summary, gfn_vi.analysis.pictures.style"
    )
    light = "gfn_vi.commands.figure, gfn_vi.commands.collect"
    for statement, forbidden in ((modules, ["torch"]), (light, ["torch", "pandas", "numpy", "matplotlib", "yaml"])):
        code = f"import {statement}, sys, json; print(json.dumps([m for m in {forbidden} if m in sys.modules]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == []
