"""gfn_vi.train, build_trainer and compose in a program: the rules of the command, and nothing left in the process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import gfn_vi
from gfn_vi.interface.run import Run
from system.command import SMALL, records, train

TINY = (*SMALL, "trainer.n_trajectories=96", "evaluation.n_samples=20", "replicas=2", "evaluation=both")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def process_state() -> dict[str, Any]:
    """What a training could leave in the process."""
    log = logging.getLogger("gfn_vi")
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "log": (log.level, log.propagate, list(log.handlers), list(logging.getLogger().handlers)),
        "threads": (torch.get_num_threads(), threading.active_count()),
        "path": list(sys.path),
        "streams": (sys.stdout, sys.stderr),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "resolvers": {name: OmegaConf.has_resolver(name) for name in ("fraction", "digest", "expanded")},
        "grad": torch.is_grad_enabled(),
        "random": torch.get_rng_state().tolist(),
    }


@pytest.fixture
def unchanged_process() -> Iterator[None]:
    """Tests compose with resolvers of their own; here they are set aside, as in a program that never did."""
    kept = {name: OmegaConf.has_resolver(name) for name in ("fraction", "digest", "expanded")}
    for name in kept:
        OmegaConf.clear_resolver(name)
    before = process_state()
    yield
    assert process_state() == before
    from gfn_vi import resolvers

    resolvers.register()


def test_importing_imports_nothing_heavy_and_changes_nothing() -> None:
    code = (
        "import sys, signal, logging; before = set(sys.modules), signal.getsignal(2), logging.root.handlers[:];"
        "import gfn_vi; new = {name.partition('.')[0] for name in set(sys.modules) - before[0]};"
        "assert not new & {'torch', 'numpy', 'pandas', 'hydra', 'omegaconf', 'matplotlib', 'yaml'}, new;"
        "assert before[1:] == (signal.getsignal(2), logging.root.handlers[:])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classes_of_the_annotations_are_there() -> None:
    """And are those that the functions return; a name that is none says so."""
    run = gfn_vi.train(list(TINY))
    trainer = gfn_vi.build_trainer(list(TINY))
    for name, found in {"Run": run, "Samples": run.sample(2), "Trainer": trainer}.items():
        assert type(found) is getattr(gfn_vi, name)
        assert name in dir(gfn_vi)
        assert name in gfn_vi.__all__
    with pytest.raises(AttributeError, match="module 'gfn_vi' has no attribute 'Runs'"):
        _ = gfn_vi.Runs


def test_what_an_update_returns_is_short_in_a_notebook() -> None:
    """Names, shapes and types, in place of every number."""
    shown = repr(gfn_vi.build_trainer([*TINY, "target.side=3"]).update())
    assert "Trajectories(states [2, 16, 6, 2] int64, actions [2, 16, 5] int64, " in shown
    assert "mask [2, 16, 5] bool, log_reward [2, 16] float32" in shown
    assert "Evaluation(log_pf [2, 16, 5] float32, " in shown
    assert "log_Z [2] float32" in shown
    assert "score_norm_pf" not in shown
    assert len(shown) < 700


def test_a_run_is_that_of_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same folder with the same numbers; whoever comes second finds it done."""
    ours = gfn_vi.train(list(TINY))
    assert str(ours.path) in capsys.readouterr().out
    command = train(TINY, folder / "command")
    assert command.code == 0
    assert (folder / "command" / ours.path).is_dir()
    assert records(ours.path) == records(folder / "command" / command.directory)
    before = (ours.path / "status.json").read_bytes()
    assert "already done" in train(TINY, folder).out
    again = gfn_vi.train(list(TINY))
    assert (again.path / "status.json").read_bytes() == before
    assert again.state == "done"
    assert "already done" in capsys.readouterr().out


def test_a_loop_of_two_trainings_leaves_nothing(unchanged_process: None) -> None:
    runs = [gfn_vi.train([*TINY, f"seed={seed}", "progress=true"]) for seed in (0, 7)]
    assert [run.seeds for run in runs] == [[0, 1], [7, 8]]
    assert len({run.path for run in runs}) == 2
    with pytest.raises(gfn_vi.ConfigError):
        gfn_vi.train(["target=hypergird"])


@pytest.mark.parametrize("given", [0, 1, 2, 3])
def test_a_loop_of_ones_own_has_the_numbers_of_the_command(given: int) -> None:
    """Bit for bit, with any number of the three steps done outside; off-policy, with a buffer and a schedule."""
    words = [*TINY, "exploration=replay", "objective=detailed_balance", "trainer.record_every=1", "evaluation.every=32"]
    run = gfn_vi.train(words)
    trainer = gfn_vi.build_trainer(words)
    recorded: list[tuple[int, int, int, str, float]] = []

    def record(numbers: dict[str, torch.Tensor]) -> None:
        calls = trainer.reward_calls.tolist()
        for name, values in numbers.items():
            recorded.extend((trainer.step, calls[r], r, name, value) for r, value in enumerate(values.tolist()))

    record(trainer.measure())
    while trainer.step < trainer.budget.steps:
        steps: list[Any] = []
        if given >= 1:
            steps.append(trainer.collect())
        if given >= 2:
            steps.append(trainer.evaluate(steps[0]))
        if given >= 3:
            steps.append(trainer.parts.objective(steps[1]))
        record(trainer.training_statistics(*trainer.update(*steps)))
        if trainer.budget.due(32, trainer.step) or trainer.step == trainer.budget.steps:
            record(trainer.measure())
    table = run.metrics
    columns = ("step", "reward_calls", "replica", "metric", "value")
    assert recorded == list(zip(*(table[column] for column in columns), strict=True))


def test_what_an_update_is_given_has_to_fit() -> None:
    trainer = gfn_vi.build_trainer(list(TINY))
    batch = trainer.collect()
    evaluation = trainer.evaluate(batch)
    loss = trainer.parts.objective(evaluation)
    wrong: dict[str, dict[str, Any]] = {
        "give the trajectories": {"evaluation": evaluation},
        "give the trajectories that it is of": {"loss": loss},
        "not their sum": {"trajectories": batch, "loss": loss.sum()},
        "without gradient": {"trajectories": batch, "loss": loss.detach()},
        r"expected \[replicas, trainer.batch_size\] = \[2, 16\]": {"trajectories": batch.map(lambda x: x[:, :3])},
    }
    for message, given in wrong.items():
        with pytest.raises(gfn_vi.ConfigError, match=message):
            trainer.update(**given)
    assert trainer.step == 0


def test_in_a_hydra_application_with_resolvers_of_its_own(folder: Path) -> None:
    """GlobalHydra and HydraConfig are the application's before and after, and its `digest` is not ours."""
    (folder / "own").mkdir()
    (folder / "own" / "app.yaml").write_text("mine: ${digest:5}\n", encoding="utf-8")
    from gfn_vi import resolvers

    OmegaConf.register_new_resolver("digest", lambda x: x + 1, replace=True)
    try:
        with initialize_config_dir(str(folder / "own"), version_base="1.2"):
            whole = compose("app", return_hydra_config=True)
            HydraConfig.instance().set_config(whole)
            before = GlobalHydra.instance().hydra, HydraConfig.get()
            assert gfn_vi.train(list(TINY)).state == "done"
            assert (GlobalHydra.instance().hydra, HydraConfig.get()) == before
            assert compose("app").mine == 6
    finally:
        HydraConfig.instance().cfg = None
        resolvers.register()


def test_in_a_notebook(unchanged_process: None) -> None:
    """An event loop is running, stdout is no file, and a picture shows itself without pyplot."""

    async def cell() -> Run:
        return gfn_vi.train([*TINY, "progress=null"])

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        run = asyncio.run(cell())
    assert shown.getvalue().endswith(f"{run.path}\n")
    picture: Any = run.plot()
    assert picture._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("stream", [None, "ascii"])
def test_without_a_terminal(stream: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service has no stdout, or one that cannot show the name of a folder: the run ends all the same."""
    shown = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream and io.TextIOWrapper(shown, encoding=stream))
    run = gfn_vi.train([*TINY, 'experiment_name="\u00e9t\u00e9"', "threads=99"])
    assert run.state == "done"
    assert stream is None or b"\\xe9t\\xe9" in shown.getvalue()


def test_threads_that_train_at_once() -> None:
    """They wait for each other: each has its own run, and neither reads the other's words."""
    found: dict[int, Run] = {}

    def work(seed: int) -> None:
        found[seed] = gfn_vi.train([*TINY, f"seed={seed}"])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: run.config.seed for seed, run in found.items()} == {0: 0, 3: 3}


REFUSED = {
    "target=hypergird": "target=hypergird: no such choice; did you mean hypergrid?",
    "target.sid=3": "did you mean target.side?",
    "+foo=3": "foo=3: nothing reads this key",
    "seed=0,1": "seed=0,1: several values are a sweep: in Python, train one after the other in a loop",
    "experiment=quickstart": "it is a sweep (6 values of arm): in Python",
    "hydra/launcher=basic": "a launcher is for several runs",
    "seed": "type seed=VALUE",
    "~sampler.hidden.0": "~sampler.hidden.0: an entry of a list is not deleted by itself",
    "--seed": "overrides=--seed: expected group=choice or key=value",
    "replicas=0": "replicas=0:",
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_the_command_refuses_is_one_line(word: str, folder: Path) -> None:
    with pytest.raises(gfn_vi.ConfigError) as refused:
        gfn_vi.train([word])
    assert REFUSED[word] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(folder.iterdir())


def test_a_text_is_no_list_of_overrides() -> None:
    with pytest.raises(gfn_vi.ConfigError, match="expected a list of texts"):
        gfn_vi.train("target=hypergrid")


def test_a_folder_of_ones_own(folder: Path) -> None:
    """config_dir is the command's --config-dir: the same run, refused in the same words."""
    own = folder / "it's mine" / "target"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults:\n  - hypergrid\n  - _self_\nside: 3\n", encoding="utf-8")
    assert gfn_vi.compose(["target=mine"], config_dir=folder / "it's mine").target.side == 3
    (own / "hypergrid.yaml").write_text("side: 3\n", encoding="utf-8")
    with pytest.raises(gfn_vi.ConfigError, match="has the name of a shipped choice"):
        gfn_vi.compose(["target=mine"], config_dir="it's mine")
    with pytest.raises(gfn_vi.ConfigError, match="there is no such folder"):
        gfn_vi.compose([], config_dir="elsewhere")
