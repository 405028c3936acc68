"""A sweep is a set of runs: the same command does what is missing, and its end says what became of each."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from gfn_vi.runs.sweep_states import SweepStates
from gfn_vi.terminal.hydra_errors import in_one_line
from system.command import SMALL, ended, files_below, records, spawn, train, wait_until

SHORT = (*SMALL, "trainer.n_trajectories=16")

# An objective that behaves as it is told, the first time or always.
MY_CODE = """
import math, os, signal
from pathlib import Path
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
class Fragile(TrajectoryBalance):
    def __init__(self, penalty: object, how: str) -> None:
        super().__init__(penalty)
        self.how = how
    def __call__(self, evaluation):
        loss = super().__call__(evaluation)
        if self.how == "raises" and not Path("mended").exists():
            raise ArithmeticError("out\\nof luck")
        return loss * math.nan if self.how == "diverges" else loss
"""
FRAGILE = ("objective._target_=my_code.Fragile",)


def states(folder: Path) -> dict[str, str]:
    """Run name -> state, of all runs below a folder."""
    return {path.parent.name: json.loads(path.read_text())["state"] for path in folder.glob("outputs/*/*/status.json")}


REFUSED = {
    "target=gaussian,gmm9 target.dim=2": ("target.dim: no such key", "'hydra.sweeper.grids=[{target.dim:2}]'"),
    "seed=0,0": ("seed=0,0", "seed=0 comes up twice"),
    "seed=0,1,2 replicas=5": (
        "error: seed=0 and seed=1 have seed 1-4 in common",
        "15 replicas would be 7 seeds; type seed=0,5,10",
    ),
    "device=cpu,cuda": ("device=cpu and device=cuda are the same run", "leave one of them out"),
    "seed=range(3,3)": ("seed=range(3,3)", "the sweep has no runs"),
    "optimizer.lr_log_Z=interval(0,1)": ("optimizer.lr_log_Z=interval(0,1)", "range(start,end)"),
    "arm=,": ("arm=",),
    "seed=": ("seed=: expected a whole number",),
    "objective=reverse_kl,foo": ("error: objective=foo: ", "no such choice"),
    "trainer.batch_size=${foo},8": ("trainer.batch_size=", "Interpolation key 'foo' not found"),
    "seed=0,1 experiment_name=null": ("seed=0: experiment_name=None", "name of a folder"),
    "seed=0,1 hydra.sweeper.max_losses=0": ("hydra.sweeper.max_losses=0", "whole number >= 1"),
    "seed=0,1 hydra.sweeper.max_batch_size=0": ("hydra.sweeper.max_batch_size=0", "whole number >= 1"),
    "seed=0,1 hydra/launcher=lokal": ("did you mean local?",),
    "seed=0,1 output_root=/proc/nowhere": ("cannot write /proc/nowhere", "output_root"),
}


@pytest.mark.parametrize("arguments", list(REFUSED))
def test_a_sweep_that_cannot_be_is_refused_in_one_line_before_work(arguments: str, tmp_path: Path) -> None:
    outcome = train(["-m", *SHORT, *arguments.split()], tmp_path)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    for part in REFUSED[arguments]:
        assert part in outcome.err
    assert not list(tmp_path.glob("outputs/*/*/*"))


def test_a_lock_that_cannot_be_looked_at_ends_the_sweep_in_one_line(tmp_path: Path) -> None:
    """It would wait for ever for a writer that nobody has seen."""
    sweep = ["-m", *SHORT, "seed=0,1"]
    assert train(sweep, tmp_path).code == 0
    lock = next(tmp_path.glob("outputs/default/*seed1*/run.lock"))
    lock.unlink()
    lock.symlink_to("run.lock")
    status = lock.with_name("status.json")  # a run that says done needs no lock
    status.write_text(status.read_text().replace('"done"', '"interrupted"'))
    outcome = train(sweep, tmp_path)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: cannot tell from {lock.relative_to(tmp_path)} whether its run is being written: ")
    assert "set output_root" in line


def test_a_missing_plugin_is_named_with_what_installs_it() -> None:
    error = MissingConfigException("In 'hydra/launcher/local': Could not load 'hydra/launcher/joblib'.", "hydra/launcher/joblib")
    assert in_one_line(error) == "hydra/launcher=local: its plugin is not installed: pip install 'gfn_vi[local]'"


def test_a_union_of_grids_has_every_run_once(tmp_path: Path) -> None:
    grids = '[{objective: reverse_kl},{objective: "reverse_kl,forward_kl", seed: 1}]'
    sweep = ["-m", *SHORT, '+hydra.sweeper.params.seed="0,1"', f"hydra.sweeper.grids={grids}"]
    outcome = train(sweep, tmp_path)
    assert outcome.code == 0, outcome.err
    found = sorted(name.replace("-on_policy-hypergrid-mlp", "").rpartition("-")[0] for name in states(tmp_path))
    assert found == ["forward_kl-seed1", "reverse_kl-seed0", "reverse_kl-seed1"]
    manifest = json.loads((tmp_path / "outputs/default/sweep.json").read_text())["runs"]
    assert sorted(manifest) == sorted(states(tmp_path))
    assert [*SHORT, "seed=1", "objective=forward_kl"] in [sorted_like(run["overrides"], SHORT) for run in manifest.values()]
    commanded = train([*sweep, "seed=0"], tmp_path)
    assert commanded.err.startswith("2 runs: 1 done, 1 to do"), "the command line counts more than a grid, and a grid than params"


def sorted_like(overrides: list[str], first: tuple[str, ...]) -> list[str]:
    """The overrides, those of `first` in front."""
    return [*first, *(line for line in overrides if line not in first)]


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_what_fails_or_diverges_is_told_and_only_failures_run_again(launcher: str, tmp_path: Path) -> None:
    (tmp_path / "my_code.py").write_text(MY_CODE)
    sweep = ["-m", f"hydra/launcher={launcher}", *SHORT, *FRAGILE, "+objective.how=fine,raises,diverges", "target.side=4,-3"]
    outcome = ended(spawn(sweep, tmp_path))
    assert outcome.code == 1, outcome.err
    assert sorted(states(tmp_path).values()) == ["done", "done", "failed"]
    assert outcome.out.splitlines()[-2:] == ["6 runs: 1 done, 1 diverged, 4 failed", "outputs/default"]
    head, _, report = outcome.err.partition("error: 5 of 6 runs failed or diverged:\n")
    assert "in __call__" in head
    failed, directory, alone, *_ = report.split("target.side=4 +objective.how=raises\n")[1].splitlines()
    assert failed.strip() == "ArithmeticError: out of luck"
    assert states(tmp_path)[Path(directory.strip()).name] == "failed"
    assert alone.strip().startswith("alone: python ")
    assert "replica 0 (seed 0) became non-finite in update " in report
    assert "target.side=-3: expected a whole number >= 2" in report
    found = SweepStates(tmp_path / "outputs/default").look()
    assert sorted(run.state for run in found) == ["diverged", "done", *["failed"] * 4], "status counts what the sweep counts"

    (tmp_path / "mended").touch()
    again = ended(spawn(sweep[:-1], tmp_path))
    assert again.out.splitlines()[-2:] == ["3 runs: 2 done, 1 diverged", "outputs/default"]
    assert again.out.count("trajectories in") == 1
    assert again.code == 1
    assert "to run it again, delete its directory" in again.err


def test_the_command_of_one_run_runs_it_alone(tmp_path: Path) -> None:
    (tmp_path / "my_code.py").write_text(MY_CODE)
    outcome = train(["-m", *SHORT, *FRAGILE, "+objective.how=raises", "seed=0,1"], tmp_path)
    command = next(line for line in outcome.err.splitlines() if "alone:" in line).split("scripts/train.py ")[1]
    (tmp_path / "mended").touch()
    alone = train(command.replace("'", "").split(), tmp_path)
    assert alone.code == 0, alone.err
    assert sorted(states(tmp_path).values()) == ["done", "failed"]


def test_mistakes_in_all_failing_jobs_end_with_the_status_of_bad_input(tmp_path: Path) -> None:
    outcome = train(["-m", *SHORT[1:], "target.side=4,-3"], tmp_path)
    assert outcome.code == 2
    assert outcome.out.splitlines()[-3].endswith("  target.side=4"), "what went well is told apart from what did not"
    seen = SweepStates(tmp_path / "outputs/default")
    assert sorted((run.state, run.error_line) for run in seen.look()) == [
        *(("done", ""), ("failed", "target.side=-3: expected a whole number >= 2")),
    ]
    assert train(["-m", *SHORT[1:], "target.side=4,5"], tmp_path).code == 0
    assert sorted(run.state for run in seen.look()) == ["done", "done", "failed"], "what never became a run does not vanish"


@pytest.mark.slow
def test_every_launcher_makes_the_same_numbers_with_one_thread_per_job(tmp_path: Path) -> None:
    (tmp_path / "my_code.py").write_text(
        "import torch\nfrom pathlib import Path\n"
        "from gfn_vi.objectives.trajectory_balance import TrajectoryBalance\n"
        "class Counts(TrajectoryBalance):\n"
        "    def __call__(self, evaluation):\n"
        "        Path('threads').write_text(str(torch.get_num_threads()))\n"
        "        return super().__call__(evaluation)\n"
    )
    sweep = ["-m", *SHORT, "objective._target_=my_code.Counts", "seed=0,1"]
    environment = {"OMP_NUM_THREADS": ""}
    for launcher in ("basic", "local"):
        command = [*sweep, f"hydra/launcher={launcher}", f"output_root={launcher}"]
        outcome = ended(spawn(command, tmp_path, environment=environment))
        assert outcome.code == 0, outcome.err
    assert (tmp_path / "threads").read_text() == "1"
    runs = sorted(path.parent.relative_to(tmp_path / "basic") for path in tmp_path.glob("basic/*/*/metrics.csv"))
    assert len(runs) == 2
    for run in runs:
        assert records(tmp_path / "basic" / run) == records(tmp_path / "local" / run)


def test_damaged_files_are_made_good(tmp_path: Path) -> None:
    sweep = ["-m", *SHORT, "seed=0,1,2,3"]
    assert train(sweep, tmp_path).code == 0
    runs = sorted(tmp_path.glob("outputs/default/*seed*"))
    before = [records(run) for run in runs]
    (runs[0] / "status.json").write_text("{")
    (runs[1] / "config.yaml").write_bytes(b"\xff")
    (runs[1] / "status.json").unlink()
    (runs[2] / "checkpoint.pt").write_bytes(b"no checkpoint")
    (runs[2] / "status.json").write_text("[]")
    (tmp_path / "outputs/default/sweep.json").write_text("nothing")
    again = train(sweep, tmp_path)
    assert again.err.startswith("4 runs: 1 done, 1 killed, 2 damaged")
    assert again.code == 2, "a run without any readable checkpoint is not started over in silence"
    assert re.search(r"no checkpoint can be read: .*seed2.*delete them to start over\n", again.err)
    shutil.rmtree(runs[2])
    last = train(sweep, tmp_path)
    assert (last.code, last.out.count("trajectories in")) == (0, 1), last.err
    assert [records(run) for run in runs] == before
    assert len(json.loads((tmp_path / "outputs/default/sweep.json").read_text())["runs"]) == 4
    assert set(states(tmp_path).values()) == {"done"}


def test_two_sweeps_of_the_same_run_share_it(tmp_path: Path) -> None:
    sweep = ["-m", *SMALL, "trainer.n_trajectories=32000", "trainer.record_every=1600", "evaluation.every=3200"]
    first = spawn(sweep, tmp_path)
    wait_until(lambda: any(tmp_path.glob("outputs/default/*/metrics.csv")), first)
    second = train(sweep, tmp_path)
    assert second.code == 0, second.err
    assert second.out.splitlines()[-2:] == ["1 run: 1 done", "outputs/default"]
    assert second.err.splitlines()[0] == "1 run: 1 running"
    assert re.search(
        rf"^waiting for outputs/default/\S*, which another process writes .pid {first.pid} on host", second.err, re.M
    )
    outcome = ended(first)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("trajectories in") == 1


def test_a_finished_sweep_imports_nothing_heavy_and_writes_nothing(tmp_path: Path) -> None:
    sweep = ["-m", *SHORT, "seed=0,1"]
    assert train(sweep, tmp_path).code == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_below(tmp_path)}
    again = ended(spawn(sweep, tmp_path, python=["-X", "importtime"]))
    assert again.code == 0
    assert again.out.splitlines()[0] == "jsd (exact JSD, lower is better), median over runs (range):"
    assert again.out.splitlines()[2:] == ["2 runs: 2 done", "outputs/default"]
    imported = {line.rpartition("|")[2].strip() for line in again.err.splitlines() if line.startswith("import time:")}
    assert "gfn_vi.sweeps.launching" in imported
    assert not imported & {"torch", "pandas", "numpy", "joblib"}
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_below(tmp_path)} == before
