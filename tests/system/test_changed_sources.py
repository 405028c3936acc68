"""A user edits a module: finished, begun and running work of the old one is never taken for work of the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.command import SMALL, ended, records, run_command, spawn, train

SHORT = (*SMALL, "trainer.n_trajectories=32", "objective._target_=my_code.Weighted")
# While it trains, the module that it imports may be edited: by itself, so that nobody has to be quick.
MY_CODE = """
from pathlib import Path
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
from my_weights import WEIGHT

class Weighted(TrajectoryBalance):
    def __call__(self, evaluation):
        if Path("edit").exists():
            Path("edit").unlink()
            Path("my_weights.py").write_text("WEIGHT = 33.0\\n")
        return WEIGHT * super().__call__(evaluation)
"""
REFUSED = "error: my_weights.py has changed since "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user's with the two modules."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_code.py").write_text(MY_CODE)
    weigh(tmp_path / "mine", 1.0)
    return tmp_path / "mine"


def weigh(folder: Path, weight: float) -> None:
    (folder / "my_weights.py").write_text(f"WEIGHT = {weight}\n")


def test_a_run_keeps_its_source_until_somebody_accepts_another(folder: Path) -> None:
    """With the old file back it ends as if nothing had happened; a run that made no update has nothing to lose."""
    whole = train([*SHORT, "output_root=whole"], folder)
    assert whole.code == 0, whole.err
    assert train([*SHORT, "checkpoint.pause_after=16"], folder).code == 0
    weigh(folder, 2.0)
    begun = train(SHORT, folder)
    assert begun.code == 2
    assert begun.err.startswith(f"{REFUSED}outputs/default/")
    assert " was trained (1 updates): restore it; delete the run's folder to train with the source of now" in begun.err
    assert (begun.err.count("\n"), begun.out) == (1, "")
    weigh(folder, 1.0)
    done = train(SHORT, folder)
    assert done.code == 0, done.err
    assert records(folder / done.directory) == records(folder / whole.directory)
    weigh(folder, 2.0)
    finished = train(SHORT, folder)
    assert (finished.code, finished.out) == (2, "")
    assert " was trained (2 updates): " in finished.err
    verified = run_command("verify", [f"run={done.directory}", "small=null"], folder)
    assert verified.err == f"{REFUSED}{done.directory} was trained: restore it to verify\n"
    accepted = train([*SHORT, "checkpoint.accept_changed_sources=true"], folder)
    assert accepted.code == 0, accepted.err
    assert train(SHORT, folder).code == 0


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_a_sweep_has_one_source(launcher: str, folder: Path) -> None:
    """What changes while it runs stops its other jobs, after which nothing is trained beside the old runs."""
    sweep = ["-m", *SHORT, "seed=0,1", f"hydra/launcher={launcher}"]
    (folder / "edit").touch()
    one_worker = [*sweep, "hydra.launcher.n_jobs=1"]
    first = train(sweep, folder) if launcher == "basic" else ended(spawn(one_worker, folder))
    assert first.code == 2, first.err
    assert first.out.splitlines()[-2:] == ["2 runs: 1 done, 1 failed", "outputs/default"]
    assert "my_weights.py has changed since this sweep began: the same command says what can be done" in first.err
    again = train(sweep, folder)
    assert (again.code, again.out) == (2, "")
    assert again.err.startswith(f"{REFUSED}1 of 2 runs were trained (outputs/default/")
    assert again.err.count("\n") == 1
    beside = train(["-m", *SHORT, "seed=5"], folder)
    assert beside.code == 0, beside.err
    assert beside.err.startswith("warning: outputs/default has runs of another my_weights.py (outputs/default/")
    assert "outputs/default has runs of another my_weights.py (outputs/default/" in train([*SHORT, "seed=6"], folder).err
