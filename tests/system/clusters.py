"""A sweep of eight short jobs for tests of clusters, what it should give, and clusters that are gone when a test is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from gfn_vi.runs.directory import RunDirectory
from system.command import ROOT, Outcome, run_command, spawn, train, wait_until

SCRIPTS = ROOT / "scripts" / "clusters"
# Some seconds each: long enough to be killed in the middle.
JOBS = (
    *("target.side=4", "sampler.hidden=[16]", "trainer.batch_size=16", "trainer.record_every=160", "evaluation.every=1600"),
    *("trainer.n_trajectories=4800", "checkpoint.every_seconds=0.2", "objective=trajectory_balance,reverse_kl", "seed=0,1,2,3"),
)


SECONDS = 400
LAUNCHERS: list[subprocess.Popen[str]] = []


def free_port() -> int:
    """A port for a cluster, which takes the next one, too; chosen at random, since tests run side by side."""
    return random.SystemRandom().randrange(20000, 30000, 2)


def cluster(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/clusters/<script>."""
    environment = os.environ | {"RAY": str(Path(sys.executable).with_name("ray"))}
    command = ["bash", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)


@contextmanager
def running(script: str) -> Iterator[dict[str, str]]:
    """A cluster; yields the environment of its users. Skips, with the reason, where there can be none. Leaves nothing."""
    with tempfile.TemporaryDirectory(prefix="gfn-", dir="/tmp") as name:  # Ray's sockets need a short path
        folder = Path(name)
        try:
            up = cluster(script, "up", name, str(free_port()))
            if up.returncode == 2:
                pytest.skip(f"NOT TESTED, no cluster can be started here: {up.stderr.strip()}")
            assert up.returncode == 0, up.stderr
            yield _environment(folder)
        finally:
            for process in LAUNCHERS:
                process.kill()
                process.communicate()
            cluster(script, "down", name)
        assert left_behind(folder) == []


def _environment(folder: Path) -> dict[str, str]:
    """What DIR/env.sh changes."""
    command = ["bash", "-c", f". {folder / 'env.sh'} && env -0"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    after = dict(line.split("=", 1) for line in lines if "=" in line)
    return {key: value for key, value in after.items() if os.environ.get(key) != value and key not in ("_", "SHLVL")}


def left_behind(folder: Path) -> list[str]:
    """Command lines of the processes that know the folder: daemons, workers, jobs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            is_ours = str(folder).encode() in words and int(process.name) != os.getpid()
            if is_ours and (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # gone
            continue
    return found


def start(arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start the sweep of eight jobs."""
    LAUNCHERS.append(spawn(["-m", *JOBS, *arguments], folder, environment=environment))
    return LAUNCHERS[-1]


def finished(sweep: subprocess.Popen[str]) -> Outcome:
    """The end of a sweep; a busy machine may need minutes."""
    out, err = sweep.communicate(timeout=SECONDS)
    return Outcome(sweep.returncode, out, err)


def training(folder: Path) -> dict[int, Path]:
    """Process -> the run that it trains, of those runs that have a checkpoint already."""
    found = {}
    for path in folder.glob("outputs/default/*/checkpoint.pt"):
        run = RunDirectory(path.parent)
        if run.is_being_written() and run.owner() != "pid unknown":
            found[int(run.owner().split()[1])] = path.parent
    return found


def wait_for_no_training(folder: Path) -> None:
    """Ray ends the jobs of a launcher that is gone; return when it has."""
    deadline = time.monotonic() + SECONDS
    while training(folder):
        assert time.monotonic() < deadline, training(folder)
        time.sleep(0.1)


def kill_one(folder: Path, sweep: subprocess.Popen[str]) -> Path:
    """kill -9 of a process that trains, as soon as there is one; returns its run."""
    wait_until(lambda: bool(training(folder)), sweep)
    process, run = next(iter(training(folder).items()))
    os.kill(process, signal.SIGKILL)
    return run


def assert_same_as_undisturbed(folder: Path) -> None:
    """The table is byte for byte that of the same sweep without a launcher, one job after the other, but for the clock."""
    assert train(["-m", *JOBS, "output_root=undisturbed"], folder).code == 0
    assert table(folder, "outputs") == table(folder, "undisturbed")


def table(folder: Path, root: str) -> str:
    """The collected table as CSV, without the clock."""
    outcome = run_command("collect", [f"{root}/default"], folder)
    assert outcome.code == 0, outcome.err
    found = pd.read_csv(folder / root / "default" / "table.csv", dtype=str)
    assert found["run"].nunique() == 8
    return found.drop(columns="wall_seconds").to_csv(index=False)
