"""A sweep whose jobs have seeds of one setting in common is refused before work, with the form to type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gfn_vi.core.errors import RunError
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.sweeps.distinct_seeds import require_distinct, require_new
from gfn_vi.sweeps.jobs import Job
from system.command import SMALL, train

SHORT = (*SMALL, "trainer.n_trajectories=16")


def job(folder: Path = Path("outputs/a"), **config: object) -> Job:
    """Return a job whose overrides are its configuration."""
    words = tuple(f"{key}={value}" for key, value in config.items())
    return Job(words, folder / f"run-{abs(hash(words)):08x}", {"seed": 0, "replicas": 5} | config)


COMMON = {
    "seed=0,5,10": [{"seed": s} for s in (0, 1, 2)],
    "seed=3,8": [{"seed": s} for s in (7, 3)],
    "seed=range(0,40,5)": [{"seed": s} for s in range(8)],
    "replicas=9 alone": [{"replicas": n} for n in (5, 9)],
    "seeds of its own": [{"seed": [0, 1, 2, 3, 4]}, {"seed": [9, 8, 7, 6, 4]}],
    "type seed=4,9": [{"seed": 4, "objective": "a"}, {"seed": 0, "objective": "b"}, {"seed": 8, "objective": "a"}],
    "give each run": [{"optimizer": {"lr_forward": [1, 2, 1, 2, 1]}, "seed": [0, 0, 1, 1, 2]}, {"optimizer": {"lr_forward": 2}}],
}


@pytest.mark.parametrize("form", list(COMMON))
def test_jobs_of_one_setting_have_seeds_of_their_own(form: str) -> None:
    jobs = [job(**config) for config in COMMON[form]]
    with pytest.raises(RunError, match=r"^.+ and .+ have seed [-0-9, ]+ in common, .* replicas would be \d+ seeds; ") as refused:
        require_distinct(jobs)
    assert form in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_line_counts_what_would_be_trained() -> None:
    with pytest.raises(
        RunError, match=r"^seed=0 and seed=1 have seed 1-4 in common.*: 15 replicas would be 7 seeds; type seed=0,5,10$"
    ):
        require_distinct([job(seed=seed) for seed in (0, 1, 2)])


APART: dict[str, Callable[[], list[Job]]] = {
    "seeds": lambda: [job(seed=seed) for seed in (0, 5, 10)],
    "settings": lambda: [job(objective=name) for name in ("a", "b")],
    "data": lambda: [job(seed=seed, target={"data": {"seed": seed}}) for seed in (0, 1)],
    "folders": lambda: [job(Path("outputs") / name, experiment_name=name) for name in ("a", "b")],
    "rates": lambda: [
        job(optimizer={"lr_forward": [1, 2, 1, 2, 1]}, seed=[0, 0, 1, 1, 2]),
        job(optimizer={"lr_forward": 1}, seed=3),
    ],
}


@pytest.mark.parametrize("what", list(APART))
def test_what_differs_in_more_than_the_seed_may_share_it(what: str) -> None:
    """Nothing is raised: a refusal here would fail the test."""
    require_distinct(APART[what]())


def written(job: Job, state: str) -> Job:
    """Write the run of the job as it would be in this state."""
    with RunDirectory(job.directory) as run:
        run.write_config("".join(f"{key}: {value}\n" for key, value in job.config.items()))
        run.write_status(state, 0)  # type: ignore[arg-type]
    return job


def test_seeds_of_a_finished_run_of_the_folder_are_not_trained_again(tmp_path: Path) -> None:
    """A run that failed has no seeds, nor has the job's own run under another label, nor one of another setting."""
    done, new = written(job(tmp_path, seed=0), "done"), job(tmp_path, seed=3)
    with pytest.raises(RunError, match=rf"would train seed 3, 4 again, which {done.directory} has: take seed=5, "):
        require_new([new], [new])
    require_new([job(tmp_path, seed=5), job(tmp_path, objective="b")], [])
    require_new([new], [new, done])
    running = written(job(tmp_path / "third", seed=0), "running")
    with RunDirectory(running.directory), pytest.raises(RunError, match="would train seed 3, 4 again"):
        require_new([job(running.directory.parent, seed=3)], [])
    failed = written(job(tmp_path / "other", seed=0), "failed")
    require_new([job(failed.directory.parent, seed=3)], [])


def test_a_sweep_is_refused_beside_what_is_on_disk_and_leaves_no_trace(tmp_path: Path) -> None:
    """By itself a single run may have any seed; the sweep that is finished may be asked for again."""
    assert train([*SHORT, "replicas=5"], tmp_path).code == 0
    outcome = train(["-m", *SHORT, "replicas=5", "seed=3,8"], tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith("error: outputs/default/trajectory_balance-on_policy-hypergrid-mlp-seed3-")
    assert "would train seed 3, 4 again, which outputs/default/" in outcome.err
    assert not (tmp_path / "outputs/default/sweep.json").exists()
    assert train(["-m", *SHORT, "replicas=5", "seed=0,5"], tmp_path).out.splitlines()[-2:] == [
        "2 runs: 2 done",
        "outputs/default",
    ]
