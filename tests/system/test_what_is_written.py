"""What a user writes, on a command line or in a YAML file, is what is meant, or one line says why it cannot be."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import Exploration
from gfn_vi.core.seeds import replica_seeds
from gfn_vi.exploration.early_stop import EarlyStop
from gfn_vi.exploration.mixture import Mixture
from gfn_vi.exploration.replay import Replay
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy
from gfn_vi.fitting import check_shares, unreached_milestones
from gfn_vi.sweeps.jobs import parsed, product
from gfn_vi.targets.dags.bde import BDe
from gfn_vi.targets.grids.rewards import CornersReward, CosineReward, DeceptiveReward
from gfn_vi.targets.tiny_dag import TinyDag
from gfn_vi.terminal.config_folder import check_config_folder
from gfn_vi.training.rate_schedules import Cosine, MultiStep
from hydra_plugins.gfn_vi.search_space import space_of
from system.command import SMALL, train

# text of experiment/mine.yaml behind its package -> what the line must say
YAMLS = {
    b"target: {side: 4}\nseed: 0\ntarget: {r0: 0.1}\n": ("mine.yaml", "found duplicate key target"),
    b"target:\n\tside: 4\n": ("mine.yaml", "line 3", "cannot start any token"),
    b"# caf\xe9\ntarget: {side: 4}\n": ("is not UTF-8 (byte 0xe9 after", "# caf'", "save it as UTF-8"),
}


@pytest.mark.parametrize("text", YAMLS)
def test_a_yaml_that_cannot_be_read_is_one_line(text: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_bytes(b"# @package _global_\n" + text)
    outcome = train(["--config-dir", "conf", "experiment=mine"], tmp_path)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert all(words in line for words in YAMLS[text])


def test_a_choice_of_the_name_of_a_shipped_one_is_refused(tmp_path: Path) -> None:
    """Hydra takes the shipped one, and says nothing; an equal copy changes nothing."""
    own = tmp_path / "conf" / "objective" / "trajectory_balance.yaml"
    own.parent.mkdir(parents=True)
    shipped = Path(str(files("gfn_vi.configs"))) / "objective"
    own.write_bytes((shipped / "trajectory_balance.yaml").read_bytes())
    (own.parent / "mine.yaml").write_bytes((shipped / "reverse_kl.yaml").read_bytes())
    folder = str(tmp_path / "conf")
    for option in (["--config-dir", folder], [f"--config-dir={folder}"], ["-cd", folder]):
        check_config_folder([*option, "seed=1"])
        own.write_bytes((shipped / "reverse_kl.yaml").read_bytes())
        with pytest.raises(ConfigError, match=r"^--config-dir=.*/conf: objective/trajectory_balance.yaml has the name"):
            check_config_folder(["seed=1", *option])
        own.write_bytes((shipped / "trajectory_balance.yaml").read_bytes())


def test_a_config_dir_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir=nowhere: there is no such folder; it was looked for at /.*/nowhere$"):
        check_config_folder(["--config-dir", "nowhere", "seed=1"])


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]])
def test_a_run_is_not_named_after_the_clock(sweep: list[str], tmp_path: Path) -> None:
    """The jobs of a sweep would run in other folders than those that it waits for, and no second command would go on."""
    outcome = train([*SMALL, *sweep, "experiment_name=run_${now:%H-%M}"], tmp_path)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "experiment_name=run_${now:%H-%M}: the time makes another run of the same command" in line
    assert line.endswith("experiment_name=run_$(date +%H-%M)")
    assert not (tmp_path / "outputs").exists()


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """With seed 0's checkpoint and metrics, the run of seed 1 would be seed 0 once more."""
    long = [*SMALL, "trainer.n_trajectories=256"]
    paused = [train([*long, f"seed={seed}", "checkpoint.pause_after=64"], tmp_path).directory for seed in (0, 1)]
    for name in ("checkpoint.pt", "metrics.csv"):
        shutil.copy(tmp_path / paused[0] / name, tmp_path / paused[1] / name)
    outcome = train([*long, "seed=1"], tmp_path)
    assert outcome.code == 2
    other = paused[0].name.rpartition("-")[2]
    assert outcome.err.splitlines()[-1] == (
        f"error: {paused[1]}/checkpoint.pt is that of another run, {other}: delete it, or this directory"
    )
    assert train([*long, "seed=0"], tmp_path).code == 0


def test_a_headline_against_the_direction_of_its_metric_is_refused(tmp_path: Path) -> None:
    """Tables would show the worst run first, and a search look for it."""
    outcome = train([*SMALL, "evaluation.headline={metric:jsd,direction:maximize,worst:0.7,words:JSD}"], tmp_path)
    assert outcome.code == 2
    assert outcome.err == "error: evaluation.headline.direction=maximize: a lower jsd is better: expected minimize\n"


# second experiment -> what is said of it
LATE = {
    "hydra: {sweeper: {params: {arm: 'paper/reverse_kl,paper/forward_kl'}}}": "experiment=axes: hydra.sweeper.params={arm}: ",
    "defaults: [override /hydra/launcher: local]": "experiment=axes: hydra.launcher._target_=",
}


@pytest.mark.parametrize("text", LATE)
def test_axes_and_launcher_of_one_experiment_of_several_are_refused(text: str, tmp_path: Path) -> None:
    """Hydra composes the sweep without them: each experiment would be one run, with the axes unread."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name, content in (("plain", ""), ("axes", text)):
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    outcome = train(["-m", *SMALL, "--config-dir", "conf", "experiment=plain,axes"], tmp_path)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert LATE[text] in line
    assert line.endswith("comes too late for a sweep over several choices: sweep over this one alone")


POLICY, UNIFORM = OnPolicy(), EpsilonUniform(1.0)


def replay(source: Exploration, fraction: float) -> Replay:
    return Replay(source, fraction, 100, "uniform", 1.0, 0.01)


@pytest.mark.parametrize(
    ("exploration", "said"),
    [
        (
            Mixture([POLICY, UNIFORM], [0.99, 0.01]),
            r"exploration.weights=\[0.99, 0.01\]: leaves component 1 none of a batch of 16",
        ),
        (Mixture([POLICY, UNIFORM], [1, 99]), r"exploration.weights=\[1.0, 99.0\]: leaves component 0 none of a batch of 16"),
        (replay(Mixture([POLICY, UNIFORM], [0.95, 0.05]), 0.5), r"exploration.source.weights=.* none of a batch of 8: raise its"),
        (
            EarlyStop(Mixture([POLICY, UNIFORM], [99, 1]), 0.1, 1, None, True),
            "exploration.source.weights=.* none of a batch of 16",
        ),
        (Mixture([POLICY, replay(POLICY, 0.1)], [0.75, 0.25]), r"components\[1\].fraction=0.1: means 0 of a batch of 4"),
        (replay(POLICY, 0.03), "exploration.fraction=0.03: means 0 of a batch of 16: expected some of both"),
        (Mixture([POLICY, replay(POLICY, 0.5)], [0.5, 0.5]), None),
        (replay(Mixture([POLICY, UNIFORM], [0.9, 0.1]), 0.5), None),
    ],
)
def test_an_exploration_that_would_draw_nothing_is_refused(exploration: Exploration, said: str | None) -> None:
    with nullcontext() if said is None else pytest.raises(ConfigError, match=said):
        check_shares(exploration, 16, "exploration")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: MultiStep([1.0], -0.1), "optimizer.schedule.gamma=-0.1: expected a finite number > 0"),
        (lambda: MultiStep([1.0], 0.0), "optimizer.schedule.gamma=0.0"),
        (lambda: Cosine(10.0, -1.0), "optimizer.schedule.end_factor=-1.0: expected a finite number >= 0"),
        (lambda: CornersReward(math.inf, 2.0), "target.reward.r1=inf: expected a finite number"),
        (lambda: CornersReward(0.5, math.inf), "target.reward.r2=inf: expected a finite number"),
        (lambda: BDe(math.inf, None), "target.score.equivalent_sample_size=inf: expected a number of rows > 0, and finite"),
        (lambda: CosineReward(math.inf), "target.reward.r1=inf: expected a finite number"),
        (lambda: DeceptiveReward(0.1, math.inf), "target.reward.r2=inf: expected a finite number above r1=0.1"),
        (lambda: TinyDag([[0, 1]], {1: math.inf}), "target.rewards={1: inf}: expected a positive, finite reward"),
    ],
)
def test_numbers_that_train_backwards_or_reward_infinitely_are_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build()


@pytest.mark.parametrize("seed", [2**53, [0, 2**64]])
def test_seeds_that_tables_cannot_hold_are_refused(seed: int | list[int]) -> None:
    with pytest.raises(ConfigError, match=r"^seed=.*: expected seeds below 2\^53: tables hold these to the last digit"):
        replica_seeds(seed, 2 if isinstance(seed, list) else 1)
    assert replica_seeds(2**53 - 2, 2) == [2**53 - 2, 2**53 - 1]


def test_milestones_behind_the_end_are_told() -> None:
    config = OmegaConf.create({"trainer": {"n_trajectories": 100}})
    optimizer = SimpleNamespace(schedule=MultiStep([50, 100, 200], 0.1))
    (said,) = unreached_milestones(config, optimizer)
    assert said.startswith(
        "optimizer.schedule.milestones: 100 is never reached, with trainer.n_trajectories=100: milestones count"
    )
    assert unreached_milestones(config, SimpleNamespace(schedule=MultiStep([50, 99], 0.1))) == []
    assert unreached_milestones(config, SimpleNamespace(schedule=Cosine(10.0, 0.0))) == []


# as written -> the values of the sweep, as they are written in the overrides of its runs
RANGES = {
    "range(0.1,0.4,0.1)": ["0.1", "0.2", "0.3"],  # in binary digits, 0.1 + 0.1 + 0.1 is above 0.3, and three more are below 0.4
    "range(0.7,0.9,0.1)": ["0.7", "0.8"],
    "range(1,0,-0.25)": ["1.0", "0.75", "0.5", "0.25"],
    "range(1e-3,4e-3,1e-3)": ["0.001", "0.002", "0.003"],
    "range(0,4,2)": ["0", "2"],
}


@pytest.mark.parametrize("written", RANGES)
def test_ranges_have_the_steps_that_are_written(written: str) -> None:
    loader = OverridesParser.create().config_loader
    assert product(parsed(loader, [f"x={written}"])) == [(f"x={value}",) for value in RANGES[written]]


def test_a_range_is_searched_over_the_same_values() -> None:
    (found,) = space_of(parsed(OverridesParser.create().config_loader, ["x=range(0.1,0.4,0.1)"])).searched.values()
    assert found == FloatDistribution(0.1, 0.3, step=0.1)


def test_a_range_without_values_stays_refused() -> None:
    with pytest.raises(ConfigError, match=r"x=range\(0.5,0.5\): no values"):
        product(parsed(OverridesParser.create().config_loader, ["x=range(0.5,0.5)"]))
