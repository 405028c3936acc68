"""Runs as W&B and TensorBoard get them: each recorded number once, whatever happened to the run, sent later or at once."""

from __future__ import annotations

import csv
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from mirror_files import offline_runs, read_tensorboard

from gfn_vi.commands.send import main
from system.command import ROOT, SMALL, ended, run_command, spawn, train, wait_until

Rows = Counter[tuple[str, int, float]]  # (name, trajectories, value) -> how often it is there
LOGGED = (*SMALL, "logger=both", "replicas=5", "checkpoint.every_seconds=0.3", "trainer.n_trajectories=4800", "pictures=true")
NO_KEY = {"WANDB_API_KEY": "", "WANDB_ERROR_REPORTING": "false"}


def recorded(run: Path) -> Rows:
    """What metrics.csv holds, under the names that mirrors give to replicas."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    several = len({row["replica"] for row in rows}) > 1
    names = [f"{row['metric']}/replica_{row['replica']}" if several else row["metric"] for row in rows]
    return Counter((name, int(row["trajectories"]), float(row["value"])) for name, row in zip(names, rows, strict=True))


def at_wandb(run: Path, names: set[str]) -> Rows:
    """What the only offline copy holds of these names."""
    (copy,) = offline_runs(run)
    rows = [(name, row["trajectories"], value) for row in copy["history"] for name, value in row.items() if name in names]
    return Counter(rows)


def at_tensorboard(run: Path, names: set[str]) -> Rows:
    found = read_tensorboard(run)
    return Counter((name, step, value) for name in names for step, value in found[name])


def rounded(rows: Mapping[tuple[str, int, float], int]) -> Rows:
    """TensorBoard holds single precision."""
    return Counter({(name, step, float(np.float32(value))): n for (name, step, value), n in rows.items()})


def assert_mirrored(run: Path) -> None:
    expected = recorded(run)
    assert set(expected.values()) == {1}
    names = {name for name, _, _ in expected}
    assert at_wandb(run, names) == expected
    assert rounded(at_tensorboard(run, names)) == rounded(expected)


def test_five_replicas_killed_and_resumed_are_there_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 after a checkpoint, with rows behind it; both loggers at once, which get the picture that was asked for, too."""
    process = spawn(LOGGED, tmp_path)
    wait_until(lambda: any(tmp_path.glob("outputs/default/*/checkpoint.previous.pt")), process)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    (run,) = tmp_path.glob("outputs/default/*")
    done = train(LOGGED, tmp_path, NO_KEY)
    assert done.code == 0, done.err
    assert "resuming at" in done.err
    assert_mirrored(run)
    (copy,) = offline_runs(run)
    assert copy["config"]["choices"]["target"] == "hypergrid"
    assert "checkpoint" not in copy["config"]
    assert any("pictures/picture/_type" in row for row in copy["history"])
    assert "files of the directory below: picture.png (and .pdf)" in done.out
    assert (copy["group"], copy["job_type"], copy["step_metric"]["*"]) == ("default", "train", "trajectories")
    for kind in ("wandb", "tensorboard"):
        assert main([str(run), f"to={kind}"]) == 0
        assert capsys.readouterr().out == f"already there: {run}\n"


def test_a_finished_run_is_sent_once_with_its_pictures_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a run over a density, which draws samples, and one that was interrupted, which is left out."""
    fast = ("trainer.n_trajectories=64", "evaluation.every=64", "trainer.batch_size=16")
    assert train(["target=gmm25", "sampler=diffusion", "sampler.hidden=[8]", *fast, "pictures=true"], tmp_path).code == 0
    (run,) = tmp_path.glob("outputs/default/*")
    assert train([*SMALL, "trainer.n_trajectories=640", "checkpoint.pause_after=64"], tmp_path).code == 0
    words = ["outputs/default", "to=wandb", "tags=a,b,a", "notes=n", "project=p"]
    first = run_command("send", words, tmp_path, NO_KEY)
    assert first.err == ""
    assert f"sent: outputs/default/{run.name}" in first.out
    assert "not sent, it is interrupted: outputs/default/" in first.out
    assert first.out.splitlines()[-1] == "upload them: wandb sync outputs/default/*/wandb/offline-run-*"
    (copy,) = offline_runs(run)
    assert [copy[key] for key in ("project", "group", "tags", "notes")] == ["p", "default", ["a", "b"], "n"]
    values = {key: value for row in copy["history"] for key, value in row.items()}
    shown = {key.removesuffix("/_type"): value for key, value in values.items() if key.endswith("/_type")}
    pictures = {f"pictures/{path.stem}": "image-file" for path in run.glob("*.png")}
    assert len(pictures) > 0
    assert shown == pictures | {"tables/final_values": "table-file"} | {
        f"tables/{path.stem}": "table-file" for path in run.glob("*.csv") if path.name != "metrics.csv"
    }
    before = sorted(run.rglob("*.wandb"))
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert f"already there: outputs/default/{run.name}" in capsys.readouterr().out
    assert sorted(run.rglob("*.wandb")) == before
    assert "look at them: tensorboard --logdir" in run_command("send", ["outputs/default", "to=tensorboard"], tmp_path).out
    assert_mirrored(run)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["."], "to: say where to send them, "),
        ([".", "to=mlflow"], "to=mlflow: expected one of wandb, tensorboard"),
        ([".", "to=wandb", "tag=a"], "tag=a: nothing reads this key; did you mean tags?"),
        ([".", "to=wandb", "tags="], "tags=: expected key=value with a key of to, again, project"),
        ([".", "to=tensorboard", "project=a"], "project=a: a key for to=wandb; leave it out"),
        (["nowhere", "to=wandb"], "nowhere: no runs found, there is no such folder"),
    ],
)
def test_what_cannot_be_sent_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_the_sweep_of_the_docs_is_a_command_that_trains(tmp_path: Path) -> None:
    """As wandb agent makes it of the file and of parameters that a server would draw; it is made by wandb itself."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "docs/examples/wandb_sweep.yaml").read_text())
    drawn = {name: {"value": (p.get("values") or [p.get("value", p.get("min"))])[0]} for name, p in sweep["parameters"].items()}
    parts = create_sweep_command_args({"args": drawn}) | {"env": ["/usr/bin/env"]}
    words = [w for word in create_sweep_command(sweep["command"]) for w in (parts[word[2:-1]] if word[:2] == "${" else [word])]
    assert words[:2] == ["/usr/bin/env", "gfn-vi-train"]
    assert "logger.mode=online" in words
    offline = [word.replace("mode=online", "mode=disabled") for word in words[2:]]
    done = train([*offline, "trainer.n_trajectories=64", "evaluation.every=64"], tmp_path)
    assert done.code == 0, done.err
    config = yaml.safe_load((tmp_path / done.directory / "config.yaml").read_text())
    assert config["optimizer"]["lr_forward"] == drawn["optimizer.lr_forward"]["value"]
    with open(tmp_path / done.directory / "metrics.csv", newline="") as file:
        assert sweep["metric"]["name"] in {row["metric"] for row in csv.DictReader(file)}
