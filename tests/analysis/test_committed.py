"""Committed results: a figure is drawn again without a run, to the pixel, and runs of several folders become one table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gfn_vi.analysis import results
from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.committed import Watched, read_committed
from gfn_vi.analysis.reading.curves import frozen_since
from gfn_vi.analysis.reading.table import table_hash, tabulate
from gfn_vi.analysis.reading.weights import rows_behind
from gfn_vi.commands import figure as figure_command

CLONE = Path(__file__).resolve().parents[2]
COMMITTED = sorted(path.parent for path in (CLONE / "experiments").glob("*/results/**/table.parquet"))
QUICK = ("quickstart", "proposition_1")  # the others take seconds each
MakeRun = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an own copy of the quickstart experiment, without results; the runs lie in quickstart/."""
    own = tmp_path / "experiments" / "quickstart"
    own.mkdir(parents=True)
    shutil.copy(CLONE / "experiments/quickstart/figure.py", own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "DPI", 50)  # fast, as is the next line
    monkeypatch.setattr("gfn_vi.analysis.statistics.summary.write_summary", lambda *_: [])
    return own


def export(mode: str, root: str = ".") -> None:
    assert figure_command.main(["experiment=quickstart", f"output_root={root}", f"export={mode}"]) == 0


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(path, marks=[] if path.parent.name in QUICK else pytest.mark.slow, id=str(path.relative_to(CLONE)))
        for path in COMMITTED
    ],
)
def test_a_committed_figure_is_drawn_again_to_the_pixel(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the versions that requirements.lock names; who made the runs is known, and no path of a machine is in the files."""
    monkeypatch.setattr("gfn_vi.analysis.statistics.summary.write_summary", lambda *_: [])  # seconds of resampling
    told: list[str] = []
    is_standard = folder.name == results.RESULTS
    experiment, preset = (folder.parent, None) if is_standard else (folder.parent.parent, folder.name)
    results.draw_results(experiment, preset, tmp_path / "drawn", {}, told.append)
    assert told[-1] == f"the same to the pixel as {folder / 'figure.png'}"
    text = (folder / "runs.json").read_text()
    assert all({"git_commit", "versions", "processor", "host"} <= set(made) for made in read_committed(folder).made.values())
    assert all(part not in text for part in ("/home", "/tmp", "/root", "output_root"))
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < results.LARGEST


def test_other_pixels_are_said(project: Path, make_run: MakeRun) -> None:
    make_run("reverse_kl", n_points=2)
    export("add")
    with Image.open(project / "results/figure.png") as image:
        changed = np.array(image)
    changed[5, 5] = 0
    Image.fromarray(changed).save(project / "results/figure.png")
    told: list[str] = []
    results.draw_results(project, None, project / "drawn", {}, told.append)
    assert told[0].startswith("drawn by gfn_vi, matplotlib ")
    assert told[0].endswith(f"other pixels than {project / 'results/figure.png'}")


def test_results_are_the_finished_runs(project: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that goes on is not exported; the metrics that the figure names are, and of `learned` the first replica."""
    run = make_run("reverse_kl", n_points=3)
    make_run("wake_sleep", n_points=1, state="running")
    export("add")
    assert "1 finished run, 1 added to 0 in the results" in capsys.readouterr().out
    stored = read_committed(project / "results")
    assert [found.name for found in stored.runs] == [run.name]
    assert "output_root" not in (project / "results/runs.json").read_text()
    assert set(pd.read_parquet(project / "results/table.parquet")["metric"]) == {"jsd", "modes_covered"}
    with np.load(run / "arrays.npz") as arrays:
        assert (stored.arrays[run.name]["learned"] == arrays["learned"][:1]).all()
        assert (stored.arrays[run.name]["states"] == arrays["states"]).all()
    recorded = pd.read_csv(run / "metrics.csv").query("metric == 'jsd'")
    table = tabulate(stored.runs).query("metric == 'jsd'")
    assert table["value"].tolist() == recorded["value"].tolist()
    assert not list((project / "results").glob(".export*"))


def test_of_some_metrics_the_last_evaluation_is_enough(project: Path, make_run: MakeRun) -> None:
    """Of each run, also where runs end at different numbers of trajectories."""
    text = (project / "figure.py").read_text()
    (project / "figure.py").write_text(text.replace("\nMETRICS = ", '\nAT_END = ("log_Z",)\nMETRICS = '))
    runs = [make_run("reverse_kl", n_points=3), make_run("wake_sleep", n_points=2, n_trajectories=20_000)]
    export("add")
    table = pd.read_parquet(project / "results/table.parquet")
    for run in runs:
        of_run = table[table["run"] == run.name]
        recorded = pd.read_csv(run / "metrics.csv")
        last = recorded[(recorded["metric"] == "log_Z") & (recorded["step"] == recorded["step"].max())]
        assert of_run.loc[of_run["metric"] == "log_Z", "value"].tolist() == last["value"].tolist()
        assert (of_run["metric"] == "jsd").sum() == (recorded["metric"] == "jsd").sum()


def test_what_training_records_between_evaluations_is_left_out() -> None:
    """But not the moment at which a replica was frozen, which all replicas keep, so that their curves have one axis."""
    rows = [{"run": "a", "replica": r, "metric": "jsd", "trajectories": t, "value": 0.1} for r in (0, 1) for t in (0, 100, 200)]
    for replica, since in ((0, 1000), (1, 140)):
        rows += [
            {"run": "a", "replica": replica, "metric": name, "trajectories": t, "value": float(t >= since)}
            for t in range(20, 201, 20)
            for name in ("frozen", "loss")
        ]
    kept = rows_behind(pd.DataFrame(rows), ["jsd"])
    assert kept.groupby(["metric", "replica"])["trajectories"].agg(list).to_dict() == {
        **{("frozen", replica): [100, 140, 200] for replica in (0, 1)},
        **{("jsd", replica): [0, 100, 200] for replica in (0, 1)},
    }
    assert frozen_since(kept, kept).tolist() == frozen_since(pd.DataFrame(rows), kept).tolist()


def test_folders_are_joined_by_runs(project: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there stays and counts once; the joined table is that of all runs in one folder, in any order of export.

    A key that is constant in each folder and differs between them is a column of the joined table.
    """
    here = make_run("reverse_kl", n_points=2, optimizer={"rates": [1e-3]})
    export("add")
    first = (project / "results/table.parquet").read_bytes()
    export("add")
    assert "1 finished run, 0 added to 1 in the results, 1 there already (kept as they are)" in capsys.readouterr().out
    assert (project / "results/table.parquet").read_bytes() == first
    there = Path("elsewhere/quickstart")
    there.mkdir(parents=True)
    other = Path(shutil.move(make_run("forward_kl", n_points=2, optimizer={"rates": [1e-2]}), there))
    shutil.copytree(here, there / here.name)
    export("add", "elsewhere")
    joined = pd.read_parquet(project / "results/table.parquet")
    assert set(joined["run"]) == {here.name, other.name}
    assert not joined.duplicated(["run", "step", "replica", "metric"]).any()
    assert set(joined["config.optimizer.rates"]) == {"[0.001]", "[0.01]"}
    names = [run.name for run in read_committed(project / "results").runs]
    export("replace", "elsewhere")
    assert [run.name for run in read_committed(project / "results").runs] == names
    assert table_hash(pd.read_parquet(project / "results/table.parquet")) == table_hash(joined)
    assert figure_command.main(["experiment=quickstart", "source=results", "x=reward_calls", "output_root=drawn"]) == 0
    assert (Path("drawn/quickstart_results") / "figure.pdf").is_file()


def test_the_same_seeds_of_one_setting_are_refused_and_old_results_stay(
    project: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another machine ran another version of the configuration: the same setting under another name."""
    make_run("reverse_kl", n_points=2)
    export("add")
    before = {path.name: path.read_bytes() for path in (project / "results").iterdir()}
    make_run("reverse_kl", n_points=2, dtype="float64")
    assert figure_command.main(["experiment=quickstart", "output_root=.", "export=add"]) == 2
    assert "reverse_kl has the same seed twice" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (project / "results").iterdir()} == before


def test_presets_have_results_of_their_own_and_smoke_says_so(project: Path, make_run: MakeRun, tmp_path: Path) -> None:
    runs = make_run("reverse_kl", n_points=2, preset_name="smoke").parent
    runs.rename(tmp_path / "quickstart_smoke")
    words = ["experiment=quickstart", "preset=smoke", "output_root=."]
    assert figure_command.main([*words, "export=add"]) == 0
    assert (project / "results/smoke/runs.json").is_file()
    assert not (project / "results/runs.json").exists()
    told: list[str] = []
    results.draw_results(project, "smoke", tmp_path / "drawn", {}, told.append)
    assert told == [f"the same to the pixel as {project / 'results/smoke/figure.png'}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source=results"], "has no table.parquet and no runs.json yet: nothing to draw without a run; train with "),
        (["export=add"], "nowhere/quickstart: no runs found, there is no such folder"),
        (["source=results", "x=time"], "x=time: expected one of"),
        (["export=add", "x=seconds"], "export=add: the committed figure is drawn from runs, as it is without x and statistic"),
        (["export=all"], "export=all: expected one of add, replace"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert figure_command.main(["experiment=quickstart", "output_root=nowhere", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_damaged_results_are_said(project: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("reverse_kl", n_points=1)
    export("add")
    (project / "results/arrays.npz").write_bytes(b"PK half")
    assert figure_command.main(["experiment=quickstart", "source=results"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_arrays_remember_who_looked() -> None:
    """Names that are listed were not looked at."""
    watched = Watched({"a": {"x": np.zeros(1), "y": np.ones(1)}, "b": {}})
    assert set(watched["a"]) == {"x", "y"}
    assert watched.seen == {"a": set()}
    assert watched["a"]["y"] == 1
    assert watched.seen == {"a": {"y"}}
    assert len(watched) == 2
