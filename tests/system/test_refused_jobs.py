"""A job that was asked for and did not become a run is in the manifest, in status, table and report, with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from gfn_vi.analysis.pages.report import render
from gfn_vi.analysis.pages.status_view import plain, snapshot
from gfn_vi.analysis.reading.table import collect
from gfn_vi.core.errors import RunError
from gfn_vi.runs.manifest import plan, read_manifest, refuse
from gfn_vi.runs.sweep_states import SweepStates
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.launching import Launches
from gfn_vi.sweeps.worker import JobError
from system.command import SMALL, train

MY_CODE = """
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
class Picky(TrajectoryBalance):
    def __init__(self, penalty: object, how: str) -> None:
        super().__init__(penalty)
        if how == "raises":
            raise ZeroDivisionError("no\\nluck")
"""


def test_whatever_refuses_a_job_its_reason_is_told(tmp_path: Path) -> None:
    """A constructor that raises anything, and a value that only the job can judge; not forgotten by another sweep."""
    (tmp_path / "my_code.py").write_text(MY_CODE)
    words = (*SMALL[1:], "trainer.n_trajectories=16", "objective._target_=my_code.Picky", "+objective.how=fine,raises")
    outcome = train(["-m", *words, "target.side=4,-3"], tmp_path)
    assert outcome.code == 1
    assert outcome.out.splitlines()[-2] == "4 runs: 1 done, 3 failed"
    assert train(["-m", *SMALL, "trainer.n_trajectories=16", "seed=7,8"], tmp_path).code == 0
    folder = tmp_path / "outputs/default"
    reasons = {"target.side=-3: expected a whole number >= 2", "ZeroDivisionError: no luck"}
    assert {entry.refused for entry in read_manifest(folder).values()} == {None, *reasons}
    status, page, said = plain(snapshot(SweepStates(folder), 50)), render(folder, None, None), list[str]()
    collect(folder, say=said.append)
    assert status.startswith("default: 6 runs: 3 done, 3 failed\n")
    assert all(reason.replace(">", shown) in text for reason in reasons for text, shown in ((status, ">"), (page, "&gt;")))
    assert page.count("It was refused and never became a run") == 3
    assert said[1].startswith("asked for, but no run: 3 refused; see ")


class Fake:
    """A launcher of one job at a time, whose jobs are all refused, until it is stopped or cannot start any."""

    def __init__(self, end: BaseException) -> None:
        self.end, self.answered = end, 0

    def launch(self, overrides: Sequence[Any], initial_job_idx: int) -> list[JobReturn]:
        if self.answered:
            raise self.end
        self.answered += 1
        return [JobReturn(_return_value=JobError("side: no", is_input=True), status=JobStatus.FAILED)]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), OSError("no such cluster")])
def test_what_was_refused_before_the_end_is_known(tmp_path: Path, end: BaseException) -> None:
    """Ctrl-C, or a launcher that cannot go on: what was never started is missing."""
    jobs = [Job((f"seed={seed}",), tmp_path / f"run-{seed:08x}", {}) for seed in range(3)]
    plan(jobs)
    with pytest.raises((KeyboardInterrupt, RunError)):
        Launches(Fake(end), 1, 2).run(jobs)  # type: ignore[arg-type]
    assert [(run.state, run.error) for run in SweepStates(tmp_path).look()] == [
        *(("failed", "side: no"), ("missing", None), ("missing", None)),
    ]


def test_a_refusal_stays_until_the_job_is_asked_for_again(tmp_path: Path) -> None:
    """Another sweep of the folder, and each batch of a search, plan jobs of their own."""
    one, other = (Job((f"seed={seed}",), tmp_path / f"run-{seed:08x}", {}) for seed in range(2))
    refuse([(one, "no")])
    plan([other])
    assert {name: entry.refused for name, entry in read_manifest(tmp_path).items()} == {
        one.directory.name: "no",
        other.directory.name: None,
    }
    plan([one])
    assert [entry.refused for entry in read_manifest(tmp_path).values()] == [None, None]
    (one.directory / "run.lock").parent.mkdir()
    assert [run.state for run in SweepStates(tmp_path).look()] == ["missing", "missing"], "an empty directory is no run"
    assert json.loads((tmp_path / "sweep.json").read_text()) == {
        "runs": {job.directory.name: {"overrides": list(job.overrides)} for job in (one, other)}
    }
