"""Seeds and rates of replicas in the table, and the refusal to report on tuning seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gfn_vi.analysis.experiments import draw
from gfn_vi.analysis.reading.seeds import check_seeds
from gfn_vi.analysis.reading.table import collect, write_table
from gfn_vi.runs.folders import TableError

MakeRun = Callable[..., Path]
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "quickstart"


def silent(_: str) -> None:
    """Nobody listens."""


def test_a_list_of_seeds_gives_each_replica_its_own(make_run: MakeRun) -> None:
    """Beside runs with one seed; all are integers."""
    folder = make_run("reverse_kl", seed=3, replicas=2, n_points=1).parent
    run = make_run("forward_kl", replicas=3, n_points=1)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("seed: 0\n", "seed: [8, 2, 2]\n"))
    table = collect(folder, say=silent)
    assert table["seed"].dtype.kind == "i"
    found = table.drop_duplicates(["arm", "replica"])
    assert set(zip(found["arm"], found["replica"], found["seed"], strict=True)) == {
        *{("reverse_kl", 0, 3), ("reverse_kl", 1, 4)},
        *{("forward_kl", 0, 8), ("forward_kl", 1, 2), ("forward_kl", 2, 2)},
    }
    write_table(table, folder)


def test_rates_of_a_list_are_numbers_of_their_replica(make_run: MakeRun) -> None:
    """In one run, beside a run with one rate, and no column where all rates are the same."""
    optimizer = {"lr_forward": [0.5, 0.25], "lr_log_Z": [0.1, 0.1]}
    folder = make_run("reverse_kl", replicas=2, n_points=1, optimizer=optimizer).parent
    alone = collect(folder, say=silent)
    assert set(zip(alone["replica"], alone["config.optimizer.lr_forward"], strict=True)) == {(0, 0.5), (1, 0.25)}
    make_run("reverse_kl", seed=7, replicas=2, n_points=1, optimizer={"lr_forward": 1, "lr_log_Z": 0.1})
    table = collect(folder, say=silent)
    assert "config.optimizer.lr_log_Z" not in table
    assert table.groupby("seed", observed=True)["config.optimizer.lr_forward"].first().tolist() == [0.5, 0.25, 1, 1]
    write_table(table, folder)


def test_tuning_seeds_are_a_column_only_where_there_are_some(make_run: MakeRun) -> None:
    """Runs made before there was such a key count as not tuned."""
    folder = make_run("reverse_kl", n_points=1).parent
    make_run("forward_kl", n_points=1, tuning_seeds=[])
    table = collect(folder, say=silent)
    assert "config.tuning_seeds" not in table
    check_seeds(table)
    make_run("wake_sleep", n_points=1, tuning_seeds=[1000, 1001])
    table = collect(folder, say=silent)
    assert set(table.loc[table["arm"] == "wake_sleep", "config.tuning_seeds"]) == {"[1000, 1001]"}
    check_seeds(table)


def test_runs_on_tuning_seeds_of_any_run_are_refused_by_name(make_run: MakeRun) -> None:
    """Seeds of replicas count: seeds 3 to 7 contain 5."""
    folder = make_run("wake_sleep", seed=100, n_points=1, tuning_seeds=[5, 6, 9]).parent
    run = make_run("reverse_kl", seed=3, n_points=1)
    with pytest.raises(TableError, match=rf"\({run.name} of reverse_kl, seeds 5, 6\): report on other seeds"):
        check_seeds(collect(folder, say=silent))


def test_a_run_without_an_arm_is_refused_by_its_name_alone(make_run: MakeRun) -> None:
    make_run("wake_sleep", seed=100, n_points=1, tuning_seeds=[5], arm_name=None)
    run = make_run("reverse_kl", seed=3, n_points=1, arm_name=None)
    with pytest.raises(TableError, match=rf"\({run.name}, seeds 5\): report"):
        check_seeds(collect(run.parent, say=silent))


def test_a_figure_refuses_tuning_seeds(make_quickstart: Callable[[], Path], make_run: MakeRun) -> None:
    """Through the command, as one line; without the tuned run it is drawn."""
    folder = make_quickstart()
    tuned = make_run("trajectory_balance", seed=900, n_points=1, tuning_seeds=[4])
    with pytest.raises(TableError, match=r"chosen on seeds of runs that are shown .*seeds 4; .*; .* and 3 more\)"):
        draw(EXPERIMENT, folder, "figure.py")
    assert not (folder / "figure.png").exists()
    shutil.rmtree(tuned)
    assert draw(EXPERIMENT, folder, "figure.py")
