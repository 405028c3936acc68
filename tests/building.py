"""Parts for all tests: configs composed by Hydra as the command line does it, and small targets and samplers in float64."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gfn_vi import build, resolvers
from gfn_vi.build_target import build_target
from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.samplers.discrete.tabular import TabularSampler
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.training.trainer import Trainer

CONFIGS = Path(__file__).parents[1] / "configs"
BASELINES = ("none", "batch_mean", "leave_one_out", "global_log_z", "running_mean", "optimal")
WEIGHTINGS = ("plain", "self_normalized", "truncated", "unweighted")
ESTIMATORS = ("score", "pathwise", "sticking_the_landing")
PENALTIES = ("square", "huber", "log_cosh")

GRIDS = {"grid2x2": (2, 2), "grid3x3": (2, 3), "grid2x2x2": (3, 2)}
TARGETS = (*GRIDS, "tiny_dag")


def bumpy(states: Tensor, side: int) -> Tensor:
    """A reward above the floor that is different in every cell."""
    number = (states * side ** torch.arange(states.shape[-1])).sum(-1).double()
    return (2.3 * number + 1).sin().square() * (1 + number)


def choices(group: str) -> list[str]:
    """The names of configs/<group>/*.yaml."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


DENSITIES = "gfn_vi.targets.densities."


@cache
def _is_density(choice: str) -> bool:
    """Whether the class of that choice of configs/target lies with the densities; a choice without one is a change of another."""
    target = OmegaConf.load(CONFIGS / "target" / f"{choice}.yaml").get("_target_")
    return target is not None and target.startswith(DENSITIES)


def density_targets() -> list[str]:
    """The choices of configs/target that are densities on R^d."""
    return [name for name in choices("target") if _is_density(name)]


def discrete_targets() -> list[str]:
    """The other choices of configs/target: pointed graphs of states."""
    return [name for name in choices("target") if not _is_density(name)]


# A YAML of configs/target holds the constructor's arguments and nothing else, which refuses a key for tests.
# So a choice that is large as shipped, or has variants worth a test, has a file of its name here; others are taken as shipped.
TARGET_VARIANTS = Path(__file__).parent / "targets"


@cache
def target_variants(choice: str) -> dict[str, tuple[str, ...]]:
    """Variant of a choice of configs/target -> the overrides that make it, the choice included; `small` is among them."""
    file = TARGET_VARIANTS / f"{choice}.yaml"
    variants = yaml.safe_load(file.read_text()) if file.is_file() else {"small": []}
    return {name: (f"target={choice}", *overrides) for name, overrides in variants.items()}


def small_target(choice: str) -> tuple[str, ...]:
    """Overrides of a target of that choice with few states."""
    return target_variants(choice)["small"]


@cache
def _composed(*overrides: str) -> DictConfig:
    resolvers.register()
    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        return compose("train", list(overrides))


def composed(*overrides: str) -> DictConfig:
    """configs/train.yaml with overrides and without interpolations, as a run gets it; composed once, since that takes a while."""
    return OmegaConf.create(OmegaConf.to_container(_composed(*overrides), resolve=True))


@cache
def make_target(name: str) -> EnumerableTarget:
    """A name of GRIDS: a hypergrid with a different reward in every cell; a choice of configs/target: its small variant."""
    if name in GRIDS:
        n_dims, side = GRIDS[name]
        return Hypergrid(n_dims, side, r0=0.1, reward=bumpy, max_enumerated_states=1000)
    return build_target(composed(*small_target(name)), torch.device("cpu"))


def make_objective(name: str, **nested: str) -> Any:
    """configs/objective/<name>.yaml, with the choices of nested groups: baseline, weighting, penalty."""
    config = composed(f"objective={name}").objective
    for group, choice in nested.items():
        config[group] = OmegaConf.load(CONFIGS / group / f"{choice}.yaml")
    return instantiate(config, _convert_="all")


def make_exploration(name: str) -> Any:
    """configs/exploration/<name>.yaml."""
    return instantiate(composed(f"exploration={name}").exploration, _convert_="all")


def make_trainer(*overrides: str, **top: Any) -> Trainer:
    """Everything, in float64; `top` sets keys of the top level (seed, replicas, dtype)."""
    config = composed(*overrides)
    for key, value in {"dtype": "float64", **top}.items():
        config[key] = value
    return build.build_trainer(config)[0]


def samplers(kind: str) -> list[str]:
    """The choices of configs/sampler of a kind: discrete or continuous, the folder of gfn_vi/samplers that they are in."""
    return [name for name in choices("sampler") if f".samplers.{kind}." in composed(f"sampler={name}").sampler._target_]


def explorations(kind: str) -> list[str]:
    """The choices of configs/exploration that ask for nothing that samplers of the kind have not: discrete or gaussian."""
    made = {name: make_exploration(name) for name in choices("exploration")}
    return [name for name, e in made.items() if e.tilts <= {kind} and (kind == "gaussian" or not e.needs_score)]


def generators(seed: int, n_replicas: int, stream: str = "test", dtype: torch.dtype = torch.float64) -> ReplicaGenerators:
    """Float64 generators of their own stream."""
    return ReplicaGenerators(seed, n_replicas, stream, dtype=dtype)


def make_sampler(
    target: EnumerableTarget,
    kind: str = "tabular",
    backward: str = "learned",
    n_replicas: int = 1,
    seed: int = 0,
    flow: bool = False,
) -> DiscreteSampler:
    """A float64 sampler far from uniform: random tables, or small networks with weights three times the usual."""
    rng = generators(seed, n_replicas, "initialization")
    if kind == "tabular":
        sampler: DiscreteSampler = TabularSampler(target, rng, scale=1.0, backward=backward, flow=flow, log_Z=0.3)
    else:
        sampler = MlpSampler(target, rng, hidden=[8], backward=backward, flow=flow, log_Z=0.3)
        with torch.no_grad():
            for parameter in sampler.parameters():
                parameter.mul_(3.0)
    return sampler
