"""scripts/check.py as a user meets it, and the same check at the start of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from system.command import ROOT, files_below, run_command, train

MINE = ("--config-dir", "my_configs", "target=my_target")
SMALL = ("trainer.batch_size=16", "trainer.n_trajectories=32", "sampler.hidden=[8]")
HORIZON = "self.horizon, self.state_shape, self.n_features = length + 1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user, somewhere else."""
    return Path(shutil.copytree(ROOT / "docs" / "examples", tmp_path / "mine"))


def change(folder: Path, old: str, new: str) -> None:
    source = folder / "my_targets.py"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))


def test_a_sound_target(folder: Path) -> None:
    before = files_below(folder)
    done = run_command("check", [*MINE, "target.length=4"], folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "BitStrings: all 81 states and 216 moves"
    assert done.out.splitlines()[-1] == "no fault was found"
    assert "  fault  " not in done.out
    assert [name for name in files_below(folder) if "__pycache__" not in name] == before


def test_a_density_and_a_large_space(tmp_path: Path) -> None:
    done = run_command("check", ["target=gaussian", "target.dim=3", "target.covariance=1.0"], tmp_path / "here")
    assert done.code == 0, done.out
    assert done.out.startswith("Gaussian: 129 points around the origin")
    done = run_command("check", ["target.side=20", "target.n_dims=6", "n_walks=2"], tmp_path / "here")
    assert done.code == 0, done.out
    assert "met by 2 random walks; what only a list of all states shows is open" in done.out


def test_a_fault_is_exit_status_one_and_ends_a_run_in_one_line(folder: Path) -> None:
    change(folder, HORIZON, HORIZON[:-1] + "0")
    done = run_command("check", [*MINE], folder)
    assert (done.code, done.err) == (1, "1 fault\n")
    line = "horizon=6, and the longest trajectory, to [1, 1, 1, 1, 1, 1], has 7 steps, stop included: set horizon=7"
    assert line in done.out
    run = train([*MINE, *SMALL, "target.weight=1.0"], folder)
    assert run.code == 2
    assert run.out == ""
    assert run.err.startswith(f"error: target=my_targets.BitStrings: {line}; as it is, trajectories are cut off without a stop; ")
    how = f"python scripts/check.py --config-dir {folder / 'my_configs'} target=my_target target.weight=1.0\n"
    assert run.err.endswith(f"all that is wrong with it is listed by {how}")
    assert len(run.err.splitlines()) == 1


def test_a_horizon_that_is_too_large_is_a_warning(folder: Path) -> None:
    change(folder, HORIZON, HORIZON[:-1] + "3")
    run = train([*MINE, *SMALL], folder)
    assert run.code == 0, run.err
    assert "horizon=9, and the longest trajectory, to [1, 1, 1, 1, 1, 1], has only 7 steps" in run.err
    assert run_command("check", [*MINE], folder).code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["target=mein"], "target=mein: "),
        (["target.sides=3"], "target.sides: no such key; did you mean target.side?"),
        (["+most_state=9"], "most_state=9: nothing reads this key; did you mean most_states?"),
        (["n_walks=0"], "n_walks=0: expected a whole number >= 1"),
        (["most_states=many"], "most_states=many: expected a whole number >= 1"),
        (["seed=-1"], "seed=-1: expected a whole number >= 0"),
        (["target.side=1"], "target.side=1: expected a whole number >= 2"),
        (["-m", "target=hypergrid,ising"], "-m: one target is checked at a time; leave it out"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = run_command("check", words, tmp_path / "here")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1
    assert files_below(tmp_path / "here") == []
