"""Sweeps that are killed, in whole or in part: the same command does what is missing, and the table shows no trace of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn
from joblib.externals.loky.process_executor import TerminatedWorkerError

from gfn_vi.runs.directory import RunDirectory
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.launching import Launches, Outcome
from system.command import SMALL, ended, run_command, spawn, wait_until

# 300 updates, about a second: long enough to be hit in the middle.
SWEEP = ("-m", *SMALL, "trainer.n_trajectories=4800", "trainer.record_every=160", "evaluation.every=960", "seed=0,1,2")
LOCAL = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")


def runs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("outputs/default/*seed*") if path.is_dir())


def states(folder: Path) -> list[str]:
    return [json.loads((run / "status.json").read_text())["state"] for run in runs(folder)]


def writer(folder: Path, seed: int) -> int | None:
    """The process that trains this seed, once it has recorded something."""
    for run in folder.glob(f"outputs/default/*seed{seed}*"):
        metrics, owner = run / "metrics.csv", run / "run.owner"
        recorded = metrics.exists() and metrics.read_bytes().count(b"\n") > 1
        if recorded and owner.exists() and RunDirectory(run).is_being_written():
            return int(owner.read_text().split()[1])
    return None


def table(folder: Path) -> list[list[str]]:
    """The collected table.csv without what no two sweeps share."""
    assert run_command("collect", ["outputs/default"], folder).code == 0
    with open(folder / "outputs/default/table.csv", newline="") as file:
        rows = list(csv.reader(file))
    clock = rows[0].index("wall_seconds")
    return [row[:clock] + row[clock + 1 :] for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome = run_command("train", SWEEP, folder)
    assert outcome.code == 0, outcome.err
    assert len(runs(folder)) == 3
    return table(folder)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [("hydra/launcher=basic",), LOCAL], ids=["basic", "local"])
def test_a_killed_sweep_goes_on(launcher: tuple[str, ...], tmp_path: Path, undisturbed: list[list[str]]) -> None:
    sweep = spawn([*SWEEP, *launcher], tmp_path)
    wait_until(lambda: writer(tmp_path, 1) is not None, sweep)
    worker = writer(tmp_path, 1)
    killed(sweep)
    again = ended(spawn([*SWEEP, *launcher], tmp_path))
    assert again.code == 0, again.err
    assert again.out.splitlines()[-2:] == ["3 runs: 3 done", "outputs/default"]
    assert worker is not None
    wait_for(lambda: not is_alive(worker))
    assert table(tmp_path) == undisturbed


@pytest.mark.slow
def test_workers_whose_sweep_was_killed_save_and_leave(tmp_path: Path) -> None:
    sweep = spawn([*SWEEP, *LOCAL, "trainer.n_trajectories=480000", "seed=0,1"], tmp_path)
    wait_until(lambda: writer(tmp_path, 0) is not None and writer(tmp_path, 1) is not None, sweep)
    workers = [pid for seed in (0, 1) if (pid := writer(tmp_path, seed)) is not None]
    assert sweep.pid not in workers
    sweep.kill()
    wait_for(lambda: not any(map(is_alive, workers)))
    sweep.communicate()
    assert states(tmp_path) == ["interrupted", "interrupted"]


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path, undisturbed: list[list[str]]) -> None:
    sweep = spawn([*SWEEP, *LOCAL], tmp_path)
    wait_until(lambda: writer(tmp_path, 0) is not None, sweep)
    worker = writer(tmp_path, 0)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    outcome = ended(sweep)
    assert outcome.code == 0, outcome.err
    assert "a worker died" in outcome.err
    assert "lost, to be tried again by itself: outputs/default/trajectory_balance-on_policy-hypergrid-mlp-seed0" in outcome.err
    assert table(tmp_path) == undisturbed


MY_CODE = """
import os, signal
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
class Deadly(TrajectoryBalance):
    def __init__(self, penalty: object, how: str) -> None:
        super().__init__(penalty)
        self.how = how
        if how == "at once":
            os.kill(os.getpid(), signal.SIGKILL)
    def __call__(self, evaluation):
        if self.how == "later":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(evaluation)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "last_line"), [("at once", "none"), ("later", "DEBUG starting, 16 trajectories")])
def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done(how: str, last_line: str, tmp_path: Path) -> None:
    (tmp_path / "my_code.py").write_text(MY_CODE)
    deadly = ["objective._target_=my_code.Deadly", f"+objective.how=fine,{how},fine too"]
    outcome = ended(spawn(["-m", *LOCAL, *SMALL, "trainer.n_trajectories=16", *deadly], tmp_path))
    assert outcome.code == 1, outcome.err
    assert sorted(states(tmp_path)) == ["done", "done", "failed"]
    assert "1 of 3 runs failed" in outcome.err
    error = next(line for line in outcome.err.splitlines() if "its worker died" in line).strip()
    assert error.startswith("its worker died 2 times (killed, or out of memory); the last line of its log: ")
    assert last_line in error
    recorded = [json.loads((run / "status.json").read_text())["error"] for run in runs(tmp_path)]
    assert error in recorded


class LosesToAnother:
    """A launcher whose worker dies when another process has just taken over the job, which it ends a little later."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        (directory,) = map(Path, job_overrides[0])
        other = RunDirectory(directory).open()

        def end() -> None:
            other.write_status("done", 3)
            other.close()

        threading.Timer(0.5, end).start()
        raise TerminatedWorkerError("killed")


def test_a_lost_job_that_another_process_has_taken_over_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the last loss ends it, or the sweep."""
    job = Job((str(tmp_path / "run"),), tmp_path / "run", {})
    (outcome,) = Launches(LosesToAnother(), max_batch_size=None, max_losses=1).run([job])
    assert outcome == Outcome(job, "done")
    assert f"waiting for {job.directory}, which another process writes" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_stopped_sweep_saves_what_its_workers_train(number: signal.Signals, everybody: bool, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches everybody, kill only the sweep itself."""
    sweep = spawn([*SWEEP, *LOCAL, "trainer.n_trajectories=480000"], tmp_path, group=True)
    wait_until(lambda: writer(tmp_path, 0) is not None and writer(tmp_path, 1) is not None, sweep)
    workers = [pid for seed in (0, 1) if (pid := writer(tmp_path, seed)) is not None]
    (os.killpg if everybody else os.kill)(sweep.pid, number)
    outcome = ended(sweep)
    assert outcome.code == 130
    assert outcome.out.count("all saved; the same command goes on") == 2
    assert "stopped; 3 runs: 2 interrupted, 1 to do; the same command goes on" in outcome.err
    assert "Traceback" not in outcome.err
    assert states(tmp_path) == ["interrupted", "interrupted"]
    wait_for(lambda: not any(map(is_alive, workers)))


def test_a_stopped_serial_sweep_goes_on(tmp_path: Path, undisturbed: list[list[str]]) -> None:
    sweep = spawn(SWEEP, tmp_path)
    wait_until(lambda: writer(tmp_path, 1) is not None, sweep)
    sweep.send_signal(signal.SIGINT)
    outcome = ended(sweep)
    assert outcome.code == 130
    assert "stopped; 3 runs: 1 done, 1 interrupted, 1 to do; the same command goes on" in outcome.err
    again = run_command("train", SWEEP, tmp_path)
    assert again.code == 0, again.err
    assert again.err.startswith("3 runs: 1 done, 1 interrupted, 1 to do")
    assert table(tmp_path) == undisturbed


def test_waiting_for_others_can_be_stopped(tmp_path: Path) -> None:
    with_seed_0 = ["-m", *SMALL, "trainer.n_trajectories=480000", "seed=0"]
    first = spawn(with_seed_0, tmp_path)
    wait_until(lambda: writer(tmp_path, 0) is not None, first)
    second = spawn(with_seed_0, tmp_path)
    assert second.stderr is not None
    assert second.stderr.readline() == "1 run: 1 running\n"
    line = second.stderr.readline()
    assert line.startswith("waiting for outputs/default/")
    assert f"pid {first.pid} on host" in line
    second.send_signal(signal.SIGINT)
    assert ended(second).code == 130
    assert first.poll() is None
    killed(first)
