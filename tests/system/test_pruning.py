"""Pruning in a search: what a pruner hears, what it stops, and that a pruned run is remembered, left alone and taken up."""

from __future__ import annotations

import csv
import logging
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.headline import Headline
from gfn_vi.runs.files import COLUMNS
from gfn_vi.runs.state import look
from hydra_plugins.gfn_vi.pruning import SPEC, Pruning, check_storage, make_pruner
from hydra_plugins.gfn_vi.study import open_study, record, settled, take_back, take_up_pruned
from hydra_plugins.gfn_vi.study_pictures import draw_study
from system.command import SMALL, Outcome, ended, run_command, spawn, train

# One rate that learns this grid within the budget and one that does not; the last of three evaluations decides.
SEARCH = (
    *("-m", "hydra/sweeper=search", "experiment_name=rates", "seed=1000", "sampler=tabular"),
    *(word for word in SMALL if not word.startswith(("sampler", "trainer.record_every"))),
    *("trainer.n_trajectories=640", "optimizer.lr_forward=0.1,1e-6", "hydra.sweeper.sampler=BruteForceSampler"),
    *("hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0", "hydra.sweeper.pruner=ThresholdPruner"),
    *("+hydra.sweeper.pruner_arguments.upper=0.25", "+hydra.sweeper.pruner_arguments.n_warmup_steps=3"),
)


def trials(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of trials.csv by rate."""
    found: dict[str, list[dict[str, str]]] = {}
    with open(folder / "outputs/rates/trials.csv", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["optimizer.lr_forward"], []).append(row)
    return found


def search(folder: Path, *more: str) -> Outcome:
    done = train([*SEARCH, *more], folder)
    assert done.code == 0, done.err
    return done


def test_a_hopeless_trial_is_pruned_left_alone_and_taken_up_only_when_asked(tmp_path: Path) -> None:
    """Its folder says so, even to a search that was killed; to its end it has the value of a run that nobody stopped."""
    first = search(tmp_path)
    assert "pruned: stopped after 192 trajectories" in first.out
    found = trials(tmp_path)
    ((good,), (bad,)) = found["0.1"], found["1e-06"]
    assert (good["state"], bad["state"]) == ("complete", "pruned")
    assert float(bad["value"]) > 0.25 > float(good["value"])
    run = tmp_path / "outputs/rates" / bad["run"]
    before = look(run)
    assert (before.state, before.is_finished) == ("pruned", False)
    status = run_command("status", ["outputs/rates", "--once"], tmp_path)
    assert "1 done, 1 pruned" in status.out
    again = search(tmp_path)
    assert "2 of 2 trials done" in again.err
    assert (look(run).version, trials(tmp_path)) == (before.version, found)
    with closing(sqlite3.connect(tmp_path / "outputs/rates/search.db")) as database, database:  # killed before it was told
        database.execute("update trials set state = 'RUNNING' where state = 'PRUNED'")
    assert "1 to go on with" in search(tmp_path).err
    lost, told = trials(tmp_path)["1e-06"]
    assert (look(run).version, lost["state"], told["state"], told["value"]) == (before.version, "fail", "pruned", bad["value"])
    taken_up = search(tmp_path, "hydra.sweeper.take_up_pruned=true")
    assert "resuming at 192 of 640" in taken_up.err
    _, old, new = trials(tmp_path)["1e-06"]
    assert (old["state"], new["state"], new["run"]) == ("pruned", "complete", run.name)
    assert look(run).state == "done"
    for name in ("history", "importances", "parallel"):
        for ending in ("png", "pdf"):
            assert (tmp_path / f"outputs/rates/search_{name}.{ending}").stat().st_size > 1000
    unpruned = search(tmp_path / "unpruned", "hydra.sweeper.pruner=none", "hydra.sweeper.pruner_arguments=null")
    assert "pruned" not in unpruned.out
    assert trials(tmp_path / "unpruned")["1e-06"][0]["value"] == new["value"]


@pytest.mark.slow
def test_workers_of_a_launcher_prune_too(tmp_path: Path) -> None:
    done = ended(spawn([*SEARCH, "hydra/launcher=local", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"], tmp_path))
    assert done.code == 0, done.err
    assert [row["state"] for rows in (trials(tmp_path)[rate] for rate in ("0.1", "1e-06")) for row in rows] == [
        "complete",
        "pruned",
    ]


JSD = Headline("jsd", "minimize", math.log(2), "exact JSD")
ELBO = Headline("elbo", "maximize", -math.inf, "ELBO")


def a_study(folder: Path, name: str = "MedianPruner", **arguments: Any) -> tuple[str, optuna.Study]:
    storage = f"sqlite:///{folder / 'search.db'}"
    study = open_study("s", storage)
    study.set_user_attr(SPEC, {"name": name, "arguments": arguments})
    return storage, study


def curve(study: optuna.Study, number: int) -> dict[int, float]:
    return dict(study.get_trials()[number].intermediate_values)


def test_a_pruner_hears_one_loss_for_each_evaluation(tmp_path: Path) -> None:
    """Mean over replicas, with the sign of the metric; nothing of the untrained run, infinity once a replica is lost."""
    storage, study = a_study(tmp_path)
    study.ask()
    pruning = Pruning(tmp_path, ELBO, storage, "s", 0, None, None, 100)
    pruning.hear(0, {"elbo": torch.tensor([9.0, 9.0])}, is_lost=False)
    pruning.hear(96, {"elbo": torch.tensor([8.0, 8.0])}, is_lost=False)  # before the first multiple of 100
    pruning.hear(128, {"elbo": torch.tensor([1.0, 3.0])}, is_lost=False)
    pruning.hear(160, {"elbo": torch.tensor([7.0, 7.0])}, is_lost=False)  # still the first evaluation
    pruning.hear(224, {"loss": torch.tensor([7.0, 7.0])}, is_lost=False)
    pruning.hear(320, {"elbo": torch.tensor([5.0, math.nan])}, is_lost=False)
    pruning.hear(416, {"elbo": torch.tensor([5.0, 5.0])}, is_lost=True)
    assert curve(study, 0) == {1: -2.0, 3: math.inf, 4: math.inf}
    named = Pruning(tmp_path, ELBO, storage, "s", study.ask().number, "loss", 1, 100)
    named.hear(224, {"loss": torch.tensor([7.0, 7.0])}, is_lost=False)
    assert curve(study, 1) == {2: 7.0}


def test_the_worse_half_is_stopped_by_the_median_at_the_same_evaluation(tmp_path: Path) -> None:
    """Optuna's MedianPruner on three curves that have ended: 0.2 and 0.4 and 0.6 at the second evaluation."""
    storage, study = a_study(tmp_path, n_startup_trials=3, n_warmup_steps=2)
    for value in (0.2, 0.4, 0.6):
        trial = study.ask()
        for step in (1, 2, 3):
            trial.report(value, step)
        study.tell(trial, value)
    for value, is_hopeless in ((0.39, False), (0.41, True)):
        trial = study.ask()
        pruning = Pruning(tmp_path, JSD, storage, "s", trial.number, None, None, 100)
        pruning.hear(100, {"jsd": torch.tensor([value])}, is_lost=False)
        assert not pruning.is_hopeless  # it warms up
        pruning.hear(200, {"jsd": torch.tensor([value])}, is_lost=False)
        assert pruning.is_hopeless is is_hopeless
        study.tell(trial, value)


def test_a_run_that_goes_on_tells_what_it_had_recorded(tmp_path: Path) -> None:
    """A killed search takes its trial up with a new one: its curve is whole, and no point of it is told twice."""
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        rows = [(s, 100 * s, 0, 0.1, r, m, s + r) for s in (0, 1, 2) for m in ("jsd", "loss") for r in (0, 1)]
        csv.writer(file).writerows([COLUMNS, *rows])
    storage, study = a_study(tmp_path, n_startup_trials=1)
    study.ask().set_user_attr("run", "x")
    assert take_back(study) == 1
    trial = study.ask()
    pruning = Pruning(tmp_path, JSD, storage, "s", trial.number, None, None, 100)
    assert curve(study, trial.number) == {1: 1.5, 2: 2.5}
    pruning.hear(200, {"jsd": torch.tensor([7.0])}, is_lost=False)
    pruning.hear(300, {"jsd": torch.tensor([8.0])}, is_lost=False)
    assert curve(study, trial.number) == {1: 1.5, 2: 2.5, 3: 8.0}


def test_a_study_that_cannot_be_told_stops_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage, study = a_study(tmp_path)
    trial = study.ask()
    pruning = Pruning(tmp_path, JSD, storage, "s", trial.number, None, None, 100)
    study.tell(trial, 1.0)  # by another process
    with caplog.at_level(logging.WARNING):
        for seen in (100, 200):
            pruning.hear(seen, {"jsd": torch.tensor([9.0])}, is_lost=False)
        Pruning(tmp_path, JSD, "sqlite:////nowhere/search.db", "s", 0, None, None, 100)
    assert not pruning.is_hopeless
    assert [record.message.partition(",")[0] for record in caplog.records] == ["this run is not pruned"] * 2


def test_a_setting_counts_once_whether_it_was_pruned_killed_or_taken_up(tmp_path: Path) -> None:
    """Pruned; taken up and killed; taken up again and complete."""
    _, study = a_study(tmp_path)
    space = {"a": optuna.distributions.FloatDistribution(0, 1)}
    record(study, study.ask(space), 0.5)
    record(study, study.ask(space), None, is_pruned=True)
    assert take_up_pruned(study) == take_up_pruned(study) == 1
    killed = study.ask(space)
    assert take_back(study) == 1
    assert len(settled(study)) == 2
    last = study.ask(space)
    assert last.user_attrs == killed.user_attrs == {"again": 1, "spared": True}
    assert last.params == killed.params == study.get_trials()[1].params
    record(study, last, 0.25)
    assert [trial.number for trial in settled(study)] == [0, last.number]
    assert take_up_pruned(study) == 0


def test_pictures_show_the_metric_with_its_own_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study minimizes; of an ELBO it holds the negative."""
    from hydra_plugins.gfn_vi import study_pictures

    _, study = a_study(tmp_path)
    for value in (3.0, 2.0, math.inf, 4.0):
        trial = study.ask({"a": optuna.distributions.FloatDistribution(0, 1)})
        trial.set_user_attr("sign", -1)
        trial.set_user_attr("metric", "elbo")
        record(study, trial, value)
    shown: list[optuna.Study] = []
    monkeypatch.setattr(study_pictures, "_plots", lambda metric: {metric: shown.append})
    monkeypatch.setattr(study_pictures, "_draw", lambda plot, path: (plot(), path)[1])
    assert draw_study(study, tmp_path) == [tmp_path / "elbo"]
    assert [trial.value for trial in shown[0].trials] == [-3.0, -2.0, None, -4.0]
    assert (shown[0].best_trial.number, shown[0].direction.name) == (1, "MAXIMIZE")


LAUNCHERS = {
    "basic": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
    "slurm": {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"},
    "ray": {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"init": {"address": "ray://a:1"}}},
}


def test_what_cannot_prune_is_refused_with_the_key_and_the_fix() -> None:
    assert make_pruner("none", {}) is make_pruner(None, {}) is None
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.pruner=Median: expected none or one of HyperbandPruner, MedianP"):
        make_pruner("Median", {})
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.pruner_arguments=\{'foo': 1\}: MedianPruner refuses them: "):
        make_pruner("MedianPruner", {"foo": 1})
    with pytest.raises(ConfigError, match=r"pruner_arguments=.*hydra\.sweeper\.pruner=none takes none"):
        make_pruner("none", {"n_warmup_steps": 1})
    for name in ("slurm", "ray"):
        with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.pruner=MedianPruner: workers on other machines.*postgresql"):
            check_storage("MedianPruner", None, OmegaConf.create(LAUNCHERS[name]))
        check_storage("MedianPruner", "postgresql://u@h/d", OmegaConf.create(LAUNCHERS[name]))
        check_storage("none", None, OmegaConf.create(LAUNCHERS[name]))
    check_storage("MedianPruner", None, OmegaConf.create(LAUNCHERS["basic"]))
    with pytest.raises(ConfigError, match="a study in memory"):
        check_storage("MedianPruner", "sqlite:///:memory:", OmegaConf.create(LAUNCHERS["basic"]))


def test_the_file_says_what_the_sweeper_takes() -> None:
    content = yaml.safe_load((Path(__file__).resolve().parents[2] / "configs/hydra/sweeper/search.yaml").read_text())
    assert (content["pruner"], content["pruner_arguments"], content["take_up_pruned"]) == ("none", {}, False)
