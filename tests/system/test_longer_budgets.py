"""A longer run goes on from a shorter one: bit for bit as a run of the long budget made at once, or anew, and it says why."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from building import _composed, composed

from gfn_vi.run import run
from gfn_vi.runs.directory import RunDirectory, run_directory
from gfn_vi.runs.label import with_budget
from gfn_vi.runs.provenance import versions
from gfn_vi.runs.stored_config import stored_config
from system.test_resume import assert_finished_alike, metric_text, status

# 11 updates of 16 trajectories end where nothing is due, 12 where both records and an evaluation are.
ODD, EVEN, LONG = 176, 192, 320
CLOCKS = ("trainer.batch_size=16", "trainer.record_every=48", "evaluation.every=64", "threads=1", "pictures=false")
GRID = (*CLOCKS, "target.side=3", "evaluation.n_samples=32")
MLP = (*GRID, "sampler.hidden=[8]")
DENSITY = (*CLOCKS, "target=many_well", "target.dim=4", "sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8]")
STUCK = "rate_schedule@optimizer.schedule=plateau_on_exact_jsd optimizer.schedule.patience=16 optimizer.schedule.threshold=0.9"
SEARCH = "exploration.every=32 exploration.n_chains=4 exploration.n_steps=6 exploration.burn_in=3"
GRADIENTS = "evaluation=gradients evaluation.metrics.gradients.n_batches=16 evaluation.metrics.gradients.n_reference=65"
# The schedules, memories, random numbers and counts that measuring at the end could spoil.
SETTINGS: dict[str, tuple[str, ...]] = {
    "a schedule that watches what is measured": (*MLP, *STUCK.split(), "replicas=2", "optimizer.schedule.gamma=0.5"),
    "replay, sampled evaluation": (*MLP, "exploration=prioritized_replay", "exploration.capacity=50", "evaluation=sampled"),
    "a metric with a clock of its own": (
        *MLP,
        *GRADIENTS.split(),
        "evaluation.metrics.gradients.every=128",
        "objective=reverse_kl",
    ),
    "a frozen replica": (*MLP, "optimizer=sgd", "optimizer.lr_log_Z=[1e30,0.1]", "replicas=2"),
    "rates that fall until a number of trajectories": (
        *(*GRID, "sampler=tabular", "rate_schedule@optimizer.schedule=cosine", "optimizer.schedule.duration=200"),
    ),
    "local search, counted scores": (
        *(*DENSITY, "sampler.langevin=scalar", "exploration=local_search", *SEARCH.split(), "evaluation.metrics.distances=null"),
        *("evaluation.n_samples=500", "sampler.n_frequencies=4"),
    ),
}
WATCHING = "a schedule that watches what is measured"


def trained(root: Path, n_trajectories: int, *overrides: str, **checkpoint: Any) -> Path:
    """Train in `root` as the command does and return the run's directory."""
    words = (*overrides, f"trainer.n_trajectories={n_trajectories}")
    config = composed(*words)
    config.output_root = str(root)
    config.checkpoint.update(checkpoint)
    run(config, with_budget=functools.partial(with_budget, _composed(*words)))
    return run_directory(config)


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What the runs say, with their logger heard: it does not propagate while one trains."""
    caplog.set_level(logging.INFO)
    log = logging.getLogger("gfn_vi")
    monkeypatch.setattr(log, "propagate", False)
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)


@pytest.mark.parametrize(("setting", "short"), [*((setting, ODD) for setting in SETTINGS), (WATCHING, EVEN)])
def test_an_extended_run_is_the_long_run(setting: str, short: int, tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """Records, parameters, moments, generators, memories, what is shown at the end; the shorter run's files stay."""
    whole = trained(tmp_path / "whole", LONG, *SETTINGS[setting])
    first = trained(tmp_path / "parts", short, *SETTINGS[setting])
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    lines.clear()
    longer = trained(tmp_path / "parts", LONG, *SETTINGS[setting])
    assert f"going on from {first}, which differs in trainer.n_trajectories alone, at {short} of {LONG}" in lines.text
    assert status(longer)["extends"] == {"run": first.name, "step": short // 16}
    assert_finished_alike(whole, longer)
    with np.load(whole / "arrays.npz") as a, np.load(longer / "arrays.npz") as b:
        assert a.files == b.files
        assert all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a.files)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_interrupted_runs_and_chains_of_runs(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """From an interrupted run, also one of a longer budget; the furthest of several; an extended run is resumed and extended."""
    settings = SETTINGS["replay, sampled evaluation"]
    whole = trained(tmp_path / "whole", LONG, *settings)
    trained(tmp_path, 2 * LONG, *settings, pause_after=32)
    trained(tmp_path, 48, *settings)
    assert "at 32 of 48 trajectories" in lines.text
    paused = trained(tmp_path, EVEN, *settings, pause_after=128)
    assert "at 48 of 192 trajectories" in lines.text
    longer = trained(tmp_path, LONG, *settings, pause_after=160)
    assert f"going on from {paused}" in lines.text
    assert "at 128 of 320 trajectories" in lines.text
    trained(tmp_path, LONG, *settings)
    assert "resuming at 160 of 320" in lines.text
    assert_finished_alike(whole, longer)
    assert status(longer)["extends"] == {"run": paused.name, "step": 8}


def test_killed_at_the_end_it_is_still_extended(tmp_path: Path) -> None:
    """What a longer run would have is in the checkpoint that the rest of the end goes on from."""
    whole = trained(tmp_path / "whole", LONG, *MLP)
    first = trained(tmp_path, ODD, *MLP)
    for _ in range(2):
        (first / "status.json").write_text(json.dumps(status(first) | {"state": "running"}))
        trained(tmp_path, ODD, *MLP)
    longer = trained(tmp_path, LONG, *MLP)
    assert_finished_alike(whole, longer)
    assert status(longer)["extends"] == {"run": first.name, "step": ODD // 16}


REFUSED = {
    "milestones": (
        ("rate_schedule@optimizer.schedule=multi_step",),
        f"is another one from its first update; 'optimizer.schedule.milestones=[{ODD * 0.5},{ODD * 0.75}]' goes on",
    ),
    "exploration": (
        ("exploration=epsilon_uniform", "schedule@exploration.epsilon=linear"),
        "exploration.epsilon.duration follows trainer.n_trajectories",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_follows_the_budget_is_named(what: str, tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """The longer run is trained anew, and says which key with its old value would have gone on."""
    overrides, told = REFUSED[what]
    first = trained(tmp_path, ODD, *MLP, *overrides)
    longer = trained(tmp_path, LONG, *MLP, *overrides)
    assert f"not continued from {first} ({ODD} trajectories): " in lines.text
    assert told in lines.text
    assert "extends" not in status(longer)
    assert metric_text(longer) == metric_text(trained(tmp_path / "alone", LONG, *MLP, *overrides))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def of_a_gpu(first: Path) -> None:
    config = first / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))


def of_an_earlier_release(first: Path) -> None:
    state = torch.load(first / "checkpoint.pt", weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "before_end"}, first / "checkpoint.pt")


OBSTACLES = {
    "it was trained with torch 1.0, here is ": lambda first: edit(first / "status.json", versions=versions() | {"torch": "1.0"}),
    "it was trained at commit abc, here is ": lambda first: edit(first / "status.json", git_commit="abc"),
    "my_rewards.py cannot be found any more, as it could since": lambda first: edit(
        first / "status.json", sources={"my_rewards.py": "0"}
    ),
    "it was trained on cuda, whose random numbers cannot be continued on cpu": of_a_gpu,
    "its checkpoint.pt cannot be read (BadZipFile)": lambda first: damage(first / "checkpoint.pt"),
    "it has no checkpoint.pt": lambda first: (first / "checkpoint.pt").unlink(),
    "it was finished by an earlier release": of_an_earlier_release,
    "its metrics.csv has lost records": lambda first: damage(first / "metrics.csv"),
}


def test_what_cannot_be_trusted_is_left_alone(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """One line that says why, nothing moved or renamed, and a run of its own."""
    made = trained(tmp_path / "made", ODD, *MLP)
    for place, (told, spoil) in enumerate(OBSTACLES.items()):
        first = tmp_path / str(place) / "default" / made.name
        shutil.copytree(made, first)
        spoil(first)
        files = sorted(path.name for path in first.iterdir())
        lines.clear()
        longer = trained(tmp_path / str(place), ODD + 16, *MLP)
        found = [record.message for record in lines.records]
        assert len(found) == 1
        assert found[0].startswith(f"not continued from {first} ({ODD} trajectories): {told}"), found
        assert "extends" not in status(longer)
        assert sorted(path.name for path in first.iterdir()) == files


def test_changes_that_do_not_matter_are_accepted(tmp_path: Path) -> None:
    first = trained(tmp_path, ODD, *MLP)
    edit(first / "status.json", git_commit="abc")
    assert "extends" in status(trained(tmp_path, LONG, *MLP, accept_changed_sources=True))


def test_runs_that_are_none_of_its_own(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    """Another setting, another experiment, one that is written now, one that was switched off: none is gone on from."""
    first = trained(tmp_path, ODD, *MLP)
    for overrides, checkpoint in [
        (["seed=1"], {}),
        (["optimizer.lr_forward=0.5"], {}),
        (["experiment_name=other"], {}),
        ([], {"extend": False}),
    ]:
        lines.clear()
        assert "extends" not in status(trained(tmp_path, LONG, *MLP, *overrides, **checkpoint))
        assert lines.text == ""
    with RunDirectory(first):
        trained(tmp_path, 2 * LONG, *MLP)  # the run of LONG is further
        assert "at 320 of 640 trajectories" in lines.text
        trained(tmp_path, ODD + 16, *MLP)
    assert "it is being trained now; start this one once it is done" in lines.text


def test_a_replica_that_the_last_update_spoiled(
    tmp_path: Path, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found at the end of the shorter run, and an update later in the longer one."""
    from gfn_vi.training.trainer import Trainer

    update = Trainer.update

    def spoil(self: Trainer) -> Any:
        found = update(self)
        if self.step == ODD // 16:
            self.parts.sampler.log_Z.data[0] = torch.inf
        return found

    monkeypatch.setattr(Trainer, "update", spoil)
    first = trained(tmp_path, ODD, *MLP, "replicas=2")
    assert torch.load(first / "checkpoint.pt", weights_only=True)["before_end"] is None
    longer = trained(tmp_path, LONG, *MLP, "replicas=2")
    assert "a replica became non-finite in its last update, which the longer run finds out one update later" in lines.text
    assert (stored_config(longer) or {})["trainer"]["n_trajectories"] == LONG
    assert "extends" not in status(longer)
