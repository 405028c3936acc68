"""Searches as a user meets them: a total of trials, continued after anything, finalists compared, bad input in one line."""

from __future__ import annotations

import csv
import math
import os
import signal
import sqlite3
from pathlib import Path

import pytest
import yaml

from gfn_vi.runs.directory import RunDirectory
from system.command import SMALL, Outcome, ended, spawn, train, wait_until

SEARCH = (
    *("-m", "hydra/sweeper=search", "experiment_name=rates", "seed=1000", "replicas=2", "sampler=tabular"),
    *(word for word in SMALL if not word.startswith("sampler")),
    *("trainer.n_trajectories=128", "optimizer.lr_forward=tag(log,interval(1e-4,1e-1))"),
    "optimizer.lr_log_Z=0.01,0.1",
    *("hydra.sweeper.metric=jsd", "hydra.sweeper.direction=minimize"),
)


def search(folder: Path, *more: str) -> Outcome:
    """Run the search in `folder`."""
    return train([*SEARCH, *more], folder)


def trials(folder: Path) -> list[dict[str, str]]:
    """The rows of trials.csv."""
    with open(folder / "outputs/rates/trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> dict[str, object]:
    """What search.yaml says."""
    content: dict[str, object] = yaml.safe_load((folder / "outputs/rates/search.yaml").read_text())
    return content


@pytest.mark.slow
def test_a_search_trains_its_best_longer_and_says_how_to_report(tmp_path: Path) -> None:
    """The value of a trial is that of its run; the command works, and its run knows the tuning seeds."""
    finalists = ("hydra.sweeper.finalists=2", 'hydra.sweeper.finalist_overrides=["trainer.n_trajectories=256"]')
    done = search(tmp_path, "hydra.sweeper.n_trials=3", *finalists)
    assert done.code == 0, done.err
    rows = trials(tmp_path)
    assert [(row["number"], row["state"]) for row in rows] == [("0", "complete"), ("1", "complete"), ("2", "complete")]
    for row in rows:
        assert math.isclose(float(row["value"]), final(tmp_path / "outputs/rates" / row["run"], "jsd"), rel_tol=1e-12)
        config = yaml.safe_load((tmp_path / "outputs/rates" / row["run"] / "config.yaml").read_text())
        assert config["tuning_seeds"] == [1000, 1001]
        assert config["optimizer"]["lr_forward"] == float(row["optimizer.lr_forward"])
    found = results(tmp_path)
    best = sorted(rows, key=lambda row: float(row["value"]))
    assert {f["trial"] for f in found["finalists"]} == {int(row["number"]) for row in best[:2]}
    areas = [f["area_under_jsd"] for f in found["finalists"]]
    assert areas == sorted(areas)
    assert found["chosen"]["run"] == found["finalists"][0]["run"]
    command = found["chosen"]["command"]
    assert command in done.out
    words = [word.strip("'") for word in command.split()[2:]]
    reported = train(words, tmp_path)
    assert reported.code == 0, reported.err
    config = yaml.safe_load((tmp_path / reported.directory / "config.yaml").read_text())
    assert (config["seed"], config["replicas"], config["tuning_seeds"]) == (0, 2, [1000, 1001])
    assert config["experiment_name"] == "rates_report"
    assert config["trainer"]["n_trajectories"] == 256
    assert config["optimizer"]["lr_forward"] == found["chosen"]["parameters"]["optimizer.lr_forward"]


@pytest.mark.parametrize(
    "judged",
    [
        ("evaluation=both", "hydra.sweeper.metric=sampled_elbo"),
        # the headline where states cannot be listed
        ("target.max_enumerated_states=10", "sampler=mlp", "sampler.hidden=[16]", "hydra.sweeper.metric=null"),
    ],
    ids=["named", "headline"],
)
def test_a_search_maximizes_the_elbo_without_being_told_to(judged: tuple[str, ...], tmp_path: Path) -> None:
    """The metric's class says what is better; the table has its own sign, and the best trial is the one with the most."""
    done = search(tmp_path, *judged, "hydra.sweeper.direction=null", "hydra.sweeper.n_trials=3", "hydra.sweeper.finalists=0")
    assert done.code == 0, done.err
    values = {int(row["number"]): final(tmp_path / "outputs/rates" / row["run"], "sampled_elbo") for row in trials(tmp_path)}
    assert [float(row["value"]) for row in trials(tmp_path)] == pytest.approx(list(values.values()), rel=1e-12)
    best = results(tmp_path)["best"]
    assert [trial["sampled_elbo"] for trial in best] == sorted(values.values(), reverse=True)
    assert best[0]["trial"] == max(values, key=values.__getitem__)


def final(run: Path, metric: str) -> float:
    """Mean over replicas of the last value of a metric of a run."""
    with open(run / "metrics.csv", newline="") as file:
        last = {row["replica"]: float(row["value"]) for row in csv.DictReader(file) if row["metric"] == metric}
    return sum(last.values()) / len(last)


def test_n_trials_is_a_total_and_a_continued_search_draws_new_points(tmp_path: Path) -> None:
    """The same command does nothing again; another budget is another search in the same database."""
    assert search(tmp_path, "hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0").code == 0
    first = trials(tmp_path)
    assert search(tmp_path, "hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0").code == 0
    assert trials(tmp_path) == first
    done = search(tmp_path, "hydra.sweeper.n_trials=4", "hydra.sweeper.finalists=0")
    assert "2 of 4 trials done" in done.err
    rows = trials(tmp_path)
    assert rows[:2] == first
    assert len({row["optimizer.lr_forward"] for row in rows}) == 4
    other = search(tmp_path, "hydra.sweeper.n_trials=1", "hydra.sweeper.finalists=0", "trainer.n_trajectories=64")
    assert "0 of 1 trials done" in other.err
    assert len(trials(tmp_path)) == 1


def test_a_killed_search_takes_its_trial_up_again(tmp_path: Path) -> None:
    """kill -9 of the search in its first trial: the trial fails, its parameters and its run come again."""
    long = (*SEARCH, "hydra.sweeper.n_trials=1", "hydra.sweeper.finalists=0", "checkpoint.every_seconds=0")
    long = (*long, "trainer.n_trajectories=3200")
    process = spawn(long, tmp_path)
    wait_until(lambda: any(tmp_path.glob("outputs/rates/*/checkpoint.pt")), process)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    (run,) = (path.parent for path in tmp_path.glob("outputs/rates/*/checkpoint.pt"))
    done = train(long, tmp_path)
    assert done.code == 0, done.err
    assert "1 to go on with" in done.err
    assert "resuming at" in done.err
    rows = trials(tmp_path)
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert {row["run"] for row in rows} == {run.name}
    assert len({row["optimizer.lr_forward"] for row in rows}) == 1


def test_two_searches_of_a_study_at_once_are_refused(tmp_path: Path) -> None:
    """And Ctrl-C ends the first with its trial to be taken up."""
    long = (*SEARCH, "hydra.sweeper.n_trials=1", "trainer.n_trajectories=320000")
    process = spawn(long, tmp_path)
    wait_until(lambda: any(tmp_path.glob("outputs/rates/*/metrics.csv")), process)
    second = train(long, tmp_path)
    assert second.code == 2
    assert second.err.splitlines()[-1].startswith("error: another process runs this search")
    os.kill(process.pid, signal.SIGINT)
    first = ended(process)
    assert first.code == 130
    assert "the same command goes on with this search" in first.err


def test_a_trial_that_diverges_has_the_worst_value_and_the_search_goes_on(tmp_path: Path) -> None:
    """A rate at which log Z overflows, with a sampler that tries each choice once; the finalist is a sound one."""
    choices = (
        "optimizer=sgd",
        "optimizer.lr_forward=0.01",
        "optimizer.lr_log_Z=1e38,0.1",
        "hydra.sweeper.sampler=BruteForceSampler",
    )
    done = search(tmp_path, *choices, "hydra.sweeper.n_trials=5")  # of which there are 2
    assert done.code == 0, done.err
    assert len(trials(tmp_path)) == 2
    values = {float(row["optimizer.lr_log_Z"]): (row["state"], float(row["value"])) for row in trials(tmp_path)}
    assert values[1e38] == ("complete", math.inf)
    assert values[0.1][1] < math.log(2)
    assert [f["parameters"]["optimizer.lr_log_Z"] for f in results(tmp_path)["finalists"]] == ["0.1"]


def test_a_trial_that_is_judged_by_another_metric_fails(tmp_path: Path) -> None:
    """A space in which the headline changes, with a sampler that tries each choice once: numbers of two metrics never compare."""
    changing = ("evaluation=exact,sampled", "hydra.sweeper.metric=null", "hydra.sweeper.direction=null")
    one_point = ("optimizer.lr_forward=0.01", "optimizer.lr_log_Z=0.1", "hydra.sweeper.sampler=BruteForceSampler")
    counts = ("hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0", "hydra.sweeper.max_failures=1")
    done = search(tmp_path, *changing, *one_point, *counts)
    assert done.code == 1, done
    first, second = trials(tmp_path)
    assert (first["state"], second["state"]) == ("complete", "fail")
    words = {"exact": "jsd", "sampled": "sampled_elbo"}
    own, other = words[second["evaluation"]], words[first["evaluation"]]
    assert second["error"] == f"it is judged by {own}, the trials before it by {other}: name one with hydra.sweeper.metric"
    assert second["error"] in done.err
    named = search(tmp_path, *changing, *one_point, *counts, "hydra.sweeper.metric=loss", "hydra.sweeper.direction=minimize")
    assert named.code == 0, named.err


MY_CODE = """
import math
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
class Late(TrajectoryBalance):
    def __init__(self, penalty: object, after: int) -> None:
        super().__init__(penalty)
        self.left = after
    def __call__(self, evaluation):
        self.left -= 1
        return super().__call__(evaluation) * (math.nan if self.left == 0 else 1)
    def state_dict(self):
        return {"left": self.left}
    def load_state_dict(self, state):
        self.left = state["left"]
"""


def test_a_finalist_that_diverges_late_is_not_chosen(tmp_path: Path) -> None:
    """Both are sound for the 8 updates of the first stage; in the second, which goes on from it, one diverges in its last."""
    (tmp_path / "my_code.py").write_text(MY_CODE)
    late = ("objective._target_=my_code.Late", "+objective.after=16,17", "optimizer.lr_forward=0.01", "optimizer.lr_log_Z=0.1")
    counts = ("hydra.sweeper.sampler=BruteForceSampler", "hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=2")
    done = search(tmp_path, *late, *counts, 'hydra.sweeper.finalist_overrides=["trainer.n_trajectories=256"]')
    assert done.code == 0, done.err
    sound, diverged = results(tmp_path)["finalists"]
    assert (sound["parameters"], diverged["parameters"]) == ({"+objective.after": "17"}, {"+objective.after": "16"})
    assert (math.isfinite(sound["area_under_jsd"]), diverged["area_under_jsd"]) == (True, math.inf)
    assert "became non-finite" in diverged["error"]
    assert results(tmp_path)["chosen"]["run"] == sound["run"]
    assert f"finalist {diverged['trial']} diverged" in done.err


def test_trials_that_fail_are_recorded_and_too_many_stop_the_search(tmp_path: Path) -> None:
    """One line each, and where to look."""
    done = search(tmp_path, "optimizer.clip_norm=-1,-2,-3", "hydra.sweeper.n_trials=4", "hydra.sweeper.max_failures=2")
    assert done.code == 1
    rows = trials(tmp_path)
    assert [row["state"] for row in rows] == ["fail", "fail"]
    assert all("optimizer.clip_norm" in row["error"] for row in rows)
    assert "2 trials failed, so the search stops (hydra.sweeper.max_failures)" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_trial(tmp_path: Path) -> None:
    """Two at a time with the local launcher, of which one is killed."""
    local = ("hydra/launcher=local", "hydra.launcher.n_jobs=2", "trainer.n_trajectories=32000", "checkpoint.every_seconds=0")
    process = spawn([*SEARCH, *local, "hydra.sweeper.n_trials=2", "hydra.sweeper.finalists=0"], tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/rates/*/checkpoint.pt"))) == 2, process)
    runs = [RunDirectory(path.parent) for path in tmp_path.glob("outputs/rates/*/checkpoint.pt")]
    run = next(run for run in runs if run.is_being_written())  # the other one may have ended already
    os.kill(int(run.owner().split()[1]), signal.SIGKILL)
    done = ended(process)
    assert done.code == 0, done.err
    assert "lost, to be tried again" in done.err
    assert [row["state"] for row in trials(tmp_path)] == ["complete", "complete"]


@pytest.mark.parametrize("kind", ["locked", "damaged"])
def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, kind: str) -> None:
    """Within seconds, by its name and what to do."""
    database = tmp_path / "study.db"
    connection = sqlite3.connect(database)
    if kind == "locked":
        connection.execute("begin exclusive")
    else:
        database.write_text("no database")
    done = search(tmp_path, f"hydra.sweeper.storage=sqlite:///{database}")
    connection.close()
    assert done.code == 2
    says = "database is locked" if kind == "locked" else "file is not a database"
    assert done.err.splitlines()[-1].startswith(f"error: the study cannot be read or written: sqlite:///{database}: ")
    assert says in done.err
    assert "Traceback" not in done.err


# arguments -> what the line must say
REFUSED = {
    "optimizer.lr_forward=0.1 optimizer.lr_log_Z=0.1": ("hydra.sweeper.params", "nothing to search"),
    "seed=1,2": ("seed", "every trial of a search has the same"),
    "hydra.sweeper.n_trials=0": ("hydra.sweeper.n_trials=0", "whole number >= 1"),
    "hydra.sweeper.sampler=TPE": ("hydra.sweeper.sampler=TPE", "TPESampler"),
    "+hydra.sweeper.sampler_arguments.foo=1": ("hydra.sweeper.sampler_arguments", "foo"),
    "optimizer.lr_forward=interval(2.0,1.0)": ("optimizer.lr_forward=interval(2.0,1.0)", "cannot be searched"),
    "hydra.sweeper.storage=foo://bar": ("foo://bar", "hydra.sweeper.storage"),
    "evaluation=sampled": ("hydra.sweeper.metric=jsd: these runs do not record it", "expected one of"),
    "hydra.sweeper.metric=los": ("hydra.sweeper.metric=los", "did you mean loss"),
    "hydra.sweeper.metric=loss hydra.sweeper.direction=null": ("hydra.sweeper.direction=null", "loss is no headline"),
    "hydra.sweeper.direction=up": ("error: hydra.sweeper.direction=up", "minimize, maximize"),
    "hydra.sweeper.direction=maximize": ("error: hydra.sweeper.direction=maximize", "a lower jsd is better"),
    "hydra.sweeper.direction=maximize hydra.sweeper.metric=null": ("error: hydra.sweeper.direction=maximize", "a lower jsd"),
    'hydra.sweeper.finalist_overrides=["optimizer.lr_log_Z=0.5"]': (
        "hydra.sweeper.finalist_overrides=optimizer.lr_log_Z=0.5",
        "optimizer.lr_log_Z is searched",
    ),
    'hydra.sweeper.report_overrides=["seed=998","replicas=3"]': ("hydra.sweeper.report_overrides=", "[1000] are tuning seeds"),
    'hydra.sweeper.report_overrides=["experiment_name=report"]': ("[1000, 1001] are tuning seeds", "give another seed"),
    "+sampler.foo=1,2": ("sampler.foo", "no such key"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_searched_is_refused_in_one_line(arguments: str, tmp_path: Path) -> None:
    """It names the key and what to do."""
    done = search(tmp_path, *arguments.split(), "hydra.sweeper.max_failures=1")
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    for words in REFUSED[arguments]:
        assert words in done.err
    assert "BaseSampler" not in done.err  # which cannot be built
    if any(word in arguments for word in ("metric", "evaluation", "direction", "_overrides")):  # before any trial
        assert not (tmp_path / "outputs").exists()
