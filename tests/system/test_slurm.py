"""Sweeps on a real Slurm of one machine: what is killed, cut off or refused there, and that nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.clusters import assert_same_as_undisturbed, cluster, finished, kill_one, running, start, training
from system.command import SMALL, ended, spawn, train, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
SLURM = ("hydra/launcher=slurm", "hydra.launcher.timeout_min=10")


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of its users, without a number of threads."""
    if shutil.which("slurmctld") is None:
        installed = cluster("slurm.sh", "install")
        if installed.returncode != 0:
            pytest.skip(f"NOT TESTED, Slurm cannot be installed here: {installed.stderr.strip()}")
    with running("slurm.sh") as environment:
        yield environment | {"OMP_NUM_THREADS": ""}


REFUSED = {
    "hydra.launcher.partition=gpu": "error: hydra.launcher.partition=gpu: no such partition; there are: debug",
    "hydra.launcher.constraint=gpu": "cannot start jobs: FailedJobError: sbatch: error:",
}


@pytest.mark.parametrize("wrong", list(REFUSED))
def test_what_slurm_does_not_have_is_refused_and_no_job_counts_as_failed(
    wrong: str, slurm: dict[str, str], tmp_path: Path
) -> None:
    outcome = ended(spawn(["-m", *SMALL, *SLURM, wrong, "seed=0,1"], tmp_path, environment=slurm))
    assert outcome.code == 2
    assert REFUSED[wrong] in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("outputs/*/*/status.json"))


def test_without_slurm_there_is_one_line(tmp_path: Path) -> None:
    outcome = train(["-m", *SMALL, *SLURM, "seed=0,1"], tmp_path, {"PATH": "/nowhere"})
    assert outcome.code == 2
    expected = "hydra/launcher=slurm: there is no command sbatch here: start the sweep on a login node of a Slurm cluster"
    assert outcome.err == f"error: {expected}\n"
    assert not list(tmp_path.glob("outputs/*"))


def test_nothing_is_lost_when_the_launcher_or_a_job_is_killed_or_a_job_has_to_make_room(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    first = start(SLURM, tmp_path, slurm)
    kill_one(tmp_path, first)
    first.kill()
    first.communicate()

    second = start(SLURM, tmp_path, slurm)
    killed = kill_one(tmp_path, second)
    wait_until(lambda: warn_one(tmp_path, slurm), second)

    outcome = finished(second)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-2:] == ["8 runs: 8 done", "outputs/default"]
    log = next(text for text in logs(tmp_path) if "stopped after" in text)
    stopped = int(log.partition("stopped after ")[2].split()[0])
    assert f"resuming at {stopped} of 4800 trajectories" in log, "what it had trained when it was warned is saved"
    assert "resuming at" in (killed / "run.log").read_text()
    assert json.loads((killed / "status.json").read_text())["state"] == "done"
    assert_same_as_undisturbed(tmp_path)


def logs(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("outputs/default/*/run.log")]


def warn_one(folder: Path, slurm: dict[str, str]) -> bool:
    """Have Slurm warn a job that trains, with one thread; whether a run has stopped because of that."""
    for process in training(folder):
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        job = next((line[13:].decode() for line in variables if line.startswith(b"SLURM_JOB_ID=")), None)
        if job is not None:
            assert b"OMP_NUM_THREADS=1" in variables
            subprocess.run(["scancel", "--signal=USR2", job], env=slurm, check=False)
            time.sleep(1)
            break
    return any("stopped after" in text for text in logs(folder))
