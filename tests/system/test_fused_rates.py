"""hydra.sweeper.rates_in_replicas: fewer runs, the same table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.table import collect
from system.command import SMALL, train

SWEEP = (
    *("-m", *SMALL, "trainer.n_trajectories=128", "dtype=float64", "replicas=2", "seed=5"),
    *("objective=reverse_kl,trajectory_balance", "optimizer.lr_forward=1e-3,1e-2", "optimizer.lr_log_Z=0.1,1"),
)
# What a row is called and not what it says; the wall clock.
OF_RUNS = {"run", "replica", "wall_seconds", "config.replicas", "config.seed"}


def swept(folder: Path, *more: str) -> pd.DataFrame:
    """The table of the sweep, in an order that does not depend on runs."""
    done = train([*SWEEP, *more], folder)
    assert done.code == 0, done.err
    table = collect(folder / "outputs/default", say=lambda _: None)
    names = ["objective", "config.optimizer.lr_forward", "config.optimizer.lr_log_Z", "seed", "metric", "step"]
    return table.sort_values(names, kind="stable").reset_index(drop=True)


def test_rates_in_the_replica_axis_give_the_same_rows(tmp_path: Path) -> None:
    """Eight runs of two replicas, or two runs of eight: every column that is not about runs, values up to rounding."""
    separate = swept(tmp_path / "separate")
    joint = swept(tmp_path / "joint", "hydra.sweeper.rates_in_replicas=true")
    assert (separate["run"].nunique(), joint["run"].nunique()) == (8, 2)
    assert set(separate) - OF_RUNS == set(joint) - OF_RUNS
    names = sorted(set(separate) - OF_RUNS - {"value"})
    pd.testing.assert_frame_equal(separate[names], joint[names], check_categorical=False)
    np.testing.assert_allclose(joint["value"], separate["value"], rtol=1e-9, atol=1e-9)
    final = joint[(joint["metric"] == "jsd") & (joint["step"] == joint["step"].max())]
    assert (len(final), final["value"].nunique()) == (16, 12)  # log Z is nothing to reverse KL with its own baseline


def test_the_same_command_finds_its_joint_runs_done(tmp_path: Path) -> None:
    """And a sweep without rates to join is what it was."""
    words = ["-m", *SMALL, "trainer.n_trajectories=32", "seed=0,7", "hydra.sweeper.rates_in_replicas=true"]
    first, again = (train([*words, "optimizer.lr_forward=1e-3,1e-2"], tmp_path) for _ in range(2))
    assert first.code == again.code == 0, first.err
    assert "2 runs: 2 done" in again.out
    done = train(words, tmp_path / "other")
    assert "2 runs: 2 done" in done.out
    assert {p.name.split("-")[-2] for p in (tmp_path / "other/outputs/default").glob("*/")} == {"seed0", "seed7"}


def test_the_end_has_the_rows_of_separate_runs(tmp_path: Path) -> None:
    """A row for each rate, with the worst value for the rate that diverged and no other."""
    sweep = ("-m", *SMALL, "trainer.n_trajectories=64", "dtype=float64", "replicas=2", "optimizer=sgd", "seed=0,5")
    rates = ("optimizer.lr_forward=0.001,0.01", "optimizer.lr_log_Z=0.1,1e+300")
    separate = train([*sweep, *rates], tmp_path / "separate").out.splitlines()
    joint = train([*sweep, *rates, "hydra.sweeper.rates_in_replicas=true"], tmp_path / "joint").out.splitlines()
    assert separate[-7].startswith("jsd (")
    assert [row.split()[0] for row in separate[-4:-2]] == ["0.693", "0.693"]
    assert joint[-7:-2] == separate[-7:-2]
