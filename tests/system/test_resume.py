"""A run that stops, for whatever reason, goes on as if it had not: metrics byte for byte, parameters bit for bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from system.command import SMALL, Outcome, ended, only_run, records, spawn, train, wait_until

UPDATES_20 = ("trainer.n_trajectories=320", "evaluation.n_samples=32")
# 600 updates, a few seconds: long enough to be hit in the middle.
LONG = (*SMALL, "trainer.n_trajectories=9600", "trainer.record_every=160", "evaluation.every=960", "exploration=replay")
COMBINATIONS = {
    "adam": "replicas=3",
    "sgd, plateau on the loss": "optimizer=sgd optimizer.momentum=0.9 rate_schedule@optimizer.schedule=plateau_on_loss "
    "optimizer.schedule.patience=32 optimizer.schedule.smoothing=3 replicas=2",
    "plateau on the exact JSD": "rate_schedule@optimizer.schedule=plateau_on_exact_jsd optimizer.schedule.patience=64",
    "cosine rates, flows, both evaluations": "objective=detailed_balance rate_schedule@optimizer.schedule=cosine evaluation=both",
    "replay, prioritized": "exploration=prioritized_replay exploration.capacity=50 replicas=3",
    "backward rollouts": "exploration=backward_rollout sampler.backward=tied",
    "mixture": "exploration=mixture objective=reverse_kl replicas=2",
    "running mean": "objective=reverse_wake_sleep baseline@objective.baseline=running_mean exploration=stop_bias "
    "weighting@objective.weighting=truncated replicas=2",
    "tables, sampled evaluation": "sampler=tabular sampler.scale=1 dtype=float64 objective=forward_kl evaluation=sampled",
    "frozen replica": "optimizer=sgd optimizer.lr_log_Z=[1e30,0.1] replicas=2",
}


def tensors(directory: Path) -> dict[str, Any]:
    """What the checkpoint remembers of the training, without clocks."""
    state = torch.load(directory / "checkpoint.pt", weights_only=True)["trainer"]
    return {name: value for name, value in state.items() if name != "wall_seconds"}


def assert_same(a: Any, b: Any, where: str = "checkpoint") -> None:
    """Equal bit for bit, NaN included, through dicts and lists."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8)), where
    else:
        assert a == b, where


def metric_text(directory: Path) -> list[str]:
    """Lines of metrics.csv as they are, the column wall_seconds cut out."""
    lines = (directory / "metrics.csv").read_text().splitlines()
    assert lines[0].split(",")[3] == "wall_seconds"
    return [",".join(parts[:3] + parts[4:]) for parts in (line.split(",") for line in lines)]


def status(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "status.json").read_text()))


def assert_finished_alike(a: Path, b: Path) -> None:
    assert status(a)["state"] == status(b)["state"] == "done"
    assert metric_text(a) == metric_text(b)
    assert_same(tensors(a), tensors(b))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_20_updates_are_10_and_10(combination: str, tmp_path: Path) -> None:
    choices = COMBINATIONS[combination].split()
    small = [word for word in SMALL if "sampler=tabular" not in choices or not word.startswith("sampler.")]
    command = [*small, *UPDATES_20, *choices]
    whole = train([*command, "output_root=whole"], tmp_path)
    ends = int(combination == "frozen replica")  # a run that diverged ends with 1
    assert whole.code == ends, whole.err
    paused = train([*command, "output_root=parts", "checkpoint.pause_after=160"], tmp_path)
    assert paused.code == 0, paused.err
    assert "stopped after 160 trajectories" in paused.out
    run = only_run(tmp_path / "parts")
    assert (status(run)["state"], status(run)["step"]) == ("interrupted", 10)
    assert max(int(row["step"]) for row in records(run)) == 10
    resumed = train([*command, "output_root=parts", "checkpoint.pause_after=160"], tmp_path)  # the same command goes on
    assert resumed.code == ends, resumed.err
    assert "resuming at 160 of 320 trajectories" in resumed.err
    assert "lies behind" not in resumed.err
    assert_finished_alike(only_run(tmp_path / "whole"), run)
    assert run.name == only_run(tmp_path / "whole").name


def test_a_pause_that_lies_behind_the_run_is_told(tmp_path: Path) -> None:
    """Not where the same command goes on, but where the run had already come further than an earlier pause."""
    command = [*SMALL, *UPDATES_20]
    assert "lies behind" not in train([*command, "checkpoint.pause_after=160"], tmp_path).err
    later = train([*command, "checkpoint.pause_after=64"], tmp_path)
    assert later.code == 0
    told = "checkpoint.pause_after=64 lies behind the 160 trajectories that the run already has: it trains to its end, 320"
    assert later.err.count(told) == 1
    assert told in (only_run(tmp_path / "outputs") / "run.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uninterrupted")
    assert train(LONG, root).code == 0
    return only_run(root / "outputs")


def started(folder: Path, *more: str) -> tuple[Any, Path]:
    """A long run in a process of its own, when it has recorded some updates."""
    process = spawn([*LONG, *more], folder)

    def recorded() -> bool:
        files = list(folder.glob("outputs/default/*/metrics.csv"))
        return len(files) == 1 and "\n20,320," in files[0].read_text()

    wait_until(recorded, process)
    return process, only_run(folder / "outputs")


def test_kill_9_in_the_middle(uninterrupted: Path, tmp_path: Path) -> None:
    process, run = started(tmp_path, "checkpoint.every_seconds=0.2")
    wait_until((run / "checkpoint.previous.pt").exists, process)
    size = (run / "metrics.csv").stat().st_size
    wait_until(lambda: (run / "metrics.csv").stat().st_size > size, process)
    process.kill()
    assert ended(process).code == -signal.SIGKILL
    # rows that the checkpoint does not know of: they must not appear twice
    remembered = torch.load(run / "checkpoint.pt", weights_only=True)["metrics_bytes"]
    assert (run / "metrics.csv").stat().st_size > remembered
    assert status(run)["state"] == "running"
    outcome = train(LONG, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "resuming at" in outcome.err
    assert_finished_alike(uninterrupted, run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle(number: signal.Signals, uninterrupted: Path, tmp_path: Path) -> None:
    process, run = started(tmp_path)
    second = train(LONG, tmp_path)  # a second process on the same run meanwhile
    assert second.code == 2
    assert len(second.err.splitlines()) == 1
    assert f"is being written by another process (pid {process.pid}" in second.err

    os.kill(process.pid, number)
    outcome = ended(process)
    assert outcome.code == 130
    assert outcome.err.strip() == "stopping after this update or measurement, all will be saved; again to stop at once"
    message, directory = outcome.out.splitlines()
    assert message.startswith(f"{number.name}: stopped after ")
    assert message.endswith("all saved; the same command goes on")
    assert tmp_path / directory == run
    assert status(run)["state"] == "interrupted"
    assert tensors(run)["step"] == status(run)["step"]

    outcome = train(LONG, tmp_path)
    assert outcome.code == 0, outcome.err
    assert_finished_alike(uninterrupted, run)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(255 - byte for byte in data[middle : middle + 8])
    path.write_bytes(data)


def paused(folder: Path) -> tuple[list[str], Path]:
    """A run with two checkpoints, stopped at update 10 of 20."""
    command = [*SMALL, *UPDATES_20, "checkpoint.every_seconds=0"]
    assert train([*command, "checkpoint.pause_after=160"], folder).code == 0
    return command, only_run(folder / "outputs")


def test_damaged_checkpoint_falls_back(tmp_path: Path) -> None:
    command, run = paused(tmp_path)
    damage(run / "checkpoint.pt")
    outcome = train(command, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "damaged checkpoint" in outcome.err
    assert "resuming at 144 of 320" in outcome.err
    assert train([*command, "output_root=whole"], tmp_path).code == 0
    assert_finished_alike(only_run(tmp_path / "whole"), run)


def test_all_checkpoints_damaged_is_one_line(tmp_path: Path) -> None:
    command, run = paused(tmp_path)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        damage(run / name)
    outcome = train(command, tmp_path)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "delete them to start over" in outcome.err


def test_killed_between_the_last_update_and_the_end(tmp_path: Path) -> None:
    command, run = paused(tmp_path)
    done = train(command, tmp_path)
    facts = status(run) | {"state": "running"}
    (run / "status.json").write_text(json.dumps(facts))
    (run / "arrays.npz").unlink()
    again = train(command, tmp_path)
    assert again.code == 0, again.err
    assert status(run)["state"] == "done"
    assert (run / "arrays.npz").exists()
    assert again.out.split(";")[0] == done.out.split(";")[0]  # jsd, modes_covered, log_Z_error


def test_measuring_more_changes_nothing(tmp_path: Path) -> None:
    def losses(name: str, *more: str) -> list[dict[str, str]]:
        assert train([*SMALL, *UPDATES_20, *more, "replicas=2", f"output_root={name}"], tmp_path).code == 0
        wanted = {"loss", "grad_norm", "batch_length", "modes_visited"}
        return [row for row in records(only_run(tmp_path / name)) if row["metric"] in wanted]

    seldom = losses("seldom", "evaluation.every=320")
    assert len(seldom) == 20 * 2 * 4
    assert seldom == losses("often", "evaluation.every=16", "evaluation=both")


def test_tensorboard(tmp_path: Path) -> None:
    outcome = train([*SMALL, *UPDATES_20, "logger=tensorboard"], tmp_path)
    assert outcome.code == 0, outcome.err
    events = list((only_run(tmp_path / "outputs") / "tensorboard").glob("events.*"))
    assert len(events) == 1
    assert events[0].stat().st_size > 1000


WANDB = {"WANDB_API_KEY": "", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def wandb_run(folder: Path, *more: str) -> Outcome:
    (folder / "home").mkdir()
    settings = WANDB | {"HOME": str(folder / "home"), "NETRC": str(folder / "home" / "netrc")}
    outcome = train([*SMALL, *UPDATES_20, "logger=wandb", *more], folder / "here", settings)
    assert outcome.code == 0, outcome.err
    run = only_run(folder / "here" / "outputs")
    assert status(run)["state"] == "done"
    assert len(list((run / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert sorted(path.name for path in (folder / "here").iterdir()) == ["outputs"]
    return outcome


def test_wandb_offline(tmp_path: Path) -> None:
    assert wandb_run(tmp_path).err == ""


def test_wandb_online_without_a_key_is_one_line(tmp_path: Path) -> None:
    outcome = wandb_run(tmp_path, "logger.mode=online")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert "wandb cannot go online" in outcome.err
