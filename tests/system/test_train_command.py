"""`python scripts/train.py`: what a run prints and leaves, when it is another run, and how its help reads."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from system.command import ROOT, SMALL, Outcome, ended, records, spawn, train

METRICS = {
    *("loss", "jsd", "total_variation", "l1", "kl_forward", "kl_reverse", "modes_covered", "modes_visited", "log_Z"),
    *("log_Z_error", "elbo", "eubo", "ess", "grad_norm"),
}
LONG_COMMAND = shlex.split(
    "target=hypergrid target.n_dims=2 target.side=16 target.r0=0.01 objective=reverse_kl "
    "baseline@objective.baseline=leave_one_out exploration=stop_bias sampler=mlp sampler.backward=learned replicas=5 seed=0 "
    "dtype=float32 device=cpu trainer.n_trajectories=192 trainer.batch_size=64 output_root=my_outputs"
)
TINY = (*SMALL, "trainer.n_trajectories=32")


def imported(outcome: Outcome) -> set[str]:
    """Modules that `python -X importtime` listed on stderr."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_long_command_and_the_same_again(tmp_path: Path) -> None:
    first = ended(spawn(LONG_COMMAND, tmp_path))
    assert first.code == 0, first.err
    assert first.directory.parts[:2] == ("my_outputs", "default")
    run = tmp_path / first.directory
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "status.json", "metrics.csv", "run.log", "checkpoint.pt", "arrays.npz"} <= names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_outputs"]  # Hydra leaves nothing of its own
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"], status["seed"], status["error"]) == ("done", 3, 0, None)
    log = (run / "run.log").read_text()
    assert "starting, 192 trajectories for each of 5 replicas" in log
    assert first.out.splitlines()[0] in log
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["exploration"]["bias"]["duration"] == pytest.approx(192 / 5)
    assert config["objective"]["baseline"]["_target_"].endswith("LeaveOneOut")
    assert first.err == ""
    rows = records(run)
    for replica in map(str, range(5)):
        assert {row["metric"] for row in rows if row["replica"] == replica} >= METRICS
    assert {row["step"] for row in rows if row["metric"] == "jsd"} == {"0", "3"}

    before = {path.name: path.read_bytes() for path in run.iterdir()}
    again = ended(spawn(LONG_COMMAND, tmp_path, python=["-X", "importtime"]))
    assert again.code == 0
    assert again.directory == first.directory
    assert "already done" in again.out
    assert "gfn_vi.run" in imported(again)
    assert "torch" not in imported(again)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_what_makes_another_run(tmp_path: Path) -> None:
    name = train(TINY, tmp_path).directory.name
    same = ["threads=1", "progress=false", "output_root=elsewhere", "logger=tensorboard", "checkpoint.every_seconds=1"]
    outcome = train([*TINY, *same], tmp_path)
    assert outcome.directory == Path("elsewhere/default") / name
    assert "already done" not in outcome.out
    for other in (["seed=1"], ["target.r0=0.1"], ["replicas=2"], ["objective=log_variance"]):
        outcome = train([*TINY, *other], tmp_path)
        assert outcome.code == 0
        assert outcome.directory.name != name
    assert len(list((tmp_path / "outputs" / "default").iterdir())) == 5


def test_the_result_line_says_what_was_reached(tmp_path: Path) -> None:
    outcome = train([*TINY, "replicas=3"], tmp_path)
    assert re.match(r"trajectory_balance-on_policy-hypergrid-mlp-seed0: jsd 0\.\d+ \(0\.\d+ to 0\.\d+\)", outcome.out)
    assert "32 trajectories in" in outcome.out
    assert "3 replicas: median (range)" in outcome.out
    assert outcome.err == ""


def test_the_result_line_of_a_run_without_metrics_says_what_was_trained(tmp_path: Path) -> None:
    outcome = train([*TINY, "evaluation.metrics.exact=null"], tmp_path)
    assert re.match(r"trajectory_balance-on_policy-hypergrid-mlp-seed0: 32 trajectories in \d", outcome.out), outcome


def test_too_large_to_enumerate_is_said_in_one_line(tmp_path: Path) -> None:
    """And in another one that nothing can be drawn of it, where a picture was asked for."""
    outcome = train([*TINY, "target.max_enumerated_states=10", "evaluation.n_samples=32", "pictures=true"], tmp_path)
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert len(lines) == 2
    assert "evaluation.metrics.exact is off: the target is not enumerable" in lines[0]
    assert re.search(r"WARNING pictures=true: .* has no arrays\.npz: .* of states that can be listed", lines[1])
    assert "sampled_elbo" in outcome.out
    assert "evaluation.metrics.exact is off" in (tmp_path / outcome.directory / "run.log").read_text()


def test_a_replica_that_becomes_non_finite_is_reported(tmp_path: Path) -> None:
    """On the terminal, in its log and status, with the status with which a sweep ends; the same command says it again."""
    command = [*TINY, "replicas=2", "optimizer=sgd", "optimizer.lr_log_Z=[1e30,0.1]"]
    outcome = train(command, tmp_path)
    assert outcome.code == 1
    found = "replica 0 (seed 0) became non-finite in update 2 and was frozen: the loss is inf"
    assert found in outcome.err
    assert found in (tmp_path / outcome.directory / "run.log").read_text()
    error = json.loads((tmp_path / outcome.directory / "status.json").read_text())["error"]
    assert error.startswith(f"replicas [0] became non-finite and were frozen; the others went on; the first: {found}")
    assert "1 of 2 became non-finite" in outcome.out
    again = train(command, tmp_path)
    assert again.code == 1
    assert f"already done, but {error}" in again.out


def test_an_allocation_that_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import torch\nfrom gfn_vi.objectives.trajectory_balance import TrajectoryBalance\n\n\n"
        "class Greedy(TrajectoryBalance):\n    def __call__(self, evaluation):\n        return torch.empty(10**15)\n"
    )
    outcome = train([*TINY, "objective._target_=greedy.Greedy"], tmp_path)
    assert outcome.code == 1
    advice = "use a smaller trainer.batch_size, evaluation.n_samples, replicas or target"
    assert f"error: out of memory (4000000000000000 bytes at once): {advice}\n" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.fixture(scope="module")
def help_outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return ended(spawn(["--help"], tmp_path_factory.mktemp("help"), python=["-X", "importtime"]))


def test_help_is_cold(help_outcome: Outcome) -> None:
    assert help_outcome.code == 0
    assert {"hydra", "gfn_vi.commands.train"} <= imported(help_outcome)
    assert imported(help_outcome).isdisjoint({"torch", "numpy", "pandas", "wandb", "matplotlib"})


def test_help_explains_every_key_and_choice(help_outcome: Outcome) -> None:
    lines = help_outcome.out.splitlines()
    assert max(map(len, lines)) <= 130
    for path in (ROOT / "configs").glob("*/*.yaml"):
        if path.parent.name != "hydra":
            assert any(re.match(rf"  {path.stem} +\S", line) for line in lines), f"{path} has no line, or no comment at its top"
    train_yaml = yaml.safe_load((ROOT / "configs" / "train.yaml").read_text())
    for key in set(train_yaml) - {"defaults", "hydra"}:
        assert any(line.startswith(f"{key}:") for line in lines), key
    assert "_target_" not in help_outcome.out
    assert "$" not in help_outcome.out


def test_other_questions_are_answered(tmp_path: Path) -> None:
    config = train(["--cfg", "job", "objective=reverse_kl"], tmp_path / "a")
    assert yaml.safe_load(config.out)["objective"]["baseline"]["_target_"].endswith("LeaveOneOut")
    part = train(["--cfg", "job", "-p", "optimizer"], tmp_path / "b")
    assert part.out.startswith("# @package optimizer\n")
    defaults = train(["--info", "defaults"], tmp_path / "c")
    assert "objective/trajectory_balance" in defaults.out
    assert (config.code, part.code, defaults.code) == (0, 0, 0)
