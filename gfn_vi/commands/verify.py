"""`gfn-vi-verify`: the table of theorems; exit status 1 if one fails."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import gfn_vi.commands.train  # noqa: F401 - registers the resolvers of the configs and of the help text
from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.core.seeds import is_whole
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import CHECKPOINT, CONFIG
from gfn_vi.runs.sources import recorded_sources, require_unchanged
from gfn_vi.sweeps.worker import find_user_modules
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED
from gfn_vi.terminal.guarded import guarded
from gfn_vi.terminal.help_text import keys_in_words
from gfn_vi.terminal.hydra_errors import in_one_line
from gfn_vi.terminal.unread import check_keys

if TYPE_CHECKING:
    import torch

    from gfn_vi.core.replicas import ReplicaGenerators
    from gfn_vi.verification.check import Check

RUN_KEYS = ("sampler", "objective", "replicas")  # of the run that is verified, besides its target
OmegaConf.register_new_resolver("gfn_vi_verify_keys", lambda: keys_in_words("verify", "run"), replace=True)


@hydra.main(version_base="1.3", config_path="pkg://gfn_vi.configs", config_name="verify")
def task(config: DictConfig) -> None:
    """Build, check, print; exits with 1 if a theorem fails or a control passes."""
    find_user_modules()
    try:
        check_keys(config, "verify")
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert isinstance(resolved, DictConfig)
        check_numbers(resolved)
        wrong, has_controls = verify(resolved)
    except (ConfigError, RunError, OmegaConfBaseException) as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    if wrong:
        print(f"{wrong} of the lines above are not as they should be", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    print("all theorems hold" + (", all controls fail as they must" if has_controls else ""))


def check_numbers(config: DictConfig) -> None:
    """Refuse wrong values of keys that no constructor sees."""
    least = {"seed": 0, "threads": 0, "n_updates": 1, "batch_size": 2, "max_batches": 1}
    for key, bound in least.items():
        require(is_whole(config[key]) and config[key] >= bound, key, config[key], f"expected a whole number >= {bound}")
    number = isinstance(config.tolerance, float) and config.tolerance > 0
    require(number, "tolerance", config.tolerance, "expected a positive number such as 1e-9")
    layers = config.junctions
    require(layers is None or OmegaConf.is_list(layers), "junctions", layers, "expected a list of layers, or null")


def config_of_run(run: str) -> DictConfig:
    """Return the configuration in a run's directory; ConfigError where there is none that can be used."""
    path = Path(run) / CONFIG
    require(path.is_file(), "run", run, "expected the directory of a run: there is no config.yaml in it")
    with contextlib.suppress(OSError, YAMLError):
        saved = OmegaConf.load(path)
        if isinstance(saved, DictConfig) and {"target", *RUN_KEYS} <= set(saved):
            return saved
    raise ConfigError("run", run, "its config.yaml is damaged")


def verify(config: DictConfig) -> tuple[int, bool]:
    """Build everything, check and print; return how many lines are not as they should be, and whether there were controls."""
    import torch

    from gfn_vi.build import build_sampler, resolve_device, resolve_dtype
    from gfn_vi.build_target import build_target
    from gfn_vi.core.families import is_density
    from gfn_vi.core.replicas import ReplicaGenerators
    from gfn_vi.fitting import check_moves

    torch.set_num_threads(config.threads or 1)
    device, dtype = resolve_device(config.device), resolve_dtype(config.dtype)
    saved = None if config.run is None else config_of_run(str(config.run))
    if saved is not None:
        require_unchanged(
            recorded_sources(RunDirectory(config.run).status()), f"{config.run} was trained", "restore it to verify"
        )
        config.target = saved.target
    target: Any = build_target(config, device)
    check_moves(config if saved is None else saved, target)
    checked = on_a_line if is_density(target) else on_a_graph
    if checked is on_a_line:
        such = "target=gaussian target.dim=1 target.covariance=1"
        found = f"densities are summed on a line: expected a target of one dimension, such as {such}"
        require(target.dim == 1, "target.dim", target.dim, found)
    else:
        require_listed(target, config, "target")
    if saved is None:
        sampler, source = build_sampler(config, target, device, dtype, 1, flow=False), "random parameters"
    else:
        sampler, source = trained_sampler(config, saved, target, device, dtype)
    rng = ReplicaGenerators(config.seed, sampler.n_replicas, "verification", device, dtype)
    return checked(config, target, sampler, rng, source)


def on_a_line(config: DictConfig, target: Any, sampler: Any, rng: ReplicaGenerators, source: str) -> tuple[int, bool]:
    """Check a density of one dimension; the controls are for random parameters."""
    from gfn_vi.build import build_quadrature
    from gfn_vi.verification.junctions import junction_choices
    from gfn_vi.verification.table import by_quadrature, line_through, move_away, show

    is_random = config.run is None
    if is_random:
        move_away(sampler, config.seed)
    junctions = junction_choices(sampler.n_steps, None if config.junctions is None else list(config.junctions), config.seed)
    graph = line_through(sampler, target, build_quadrature(config.evaluation.quadrature, "evaluation.quadrature"))
    checks = list(by_quadrature(sampler, graph, rng, config.n_updates, junctions, is_random))
    nodes = f"{graph.n_nodes} nodes from {float(graph.nodes[0]):.4g} to {float(graph.nodes[-1]):.4g}"
    return show(f"target: {class_name(config.target)}, {nodes}, {source}", checks, config.tolerance), is_random


def on_a_graph(config: DictConfig, target: Any, sampler: Any, rng: ReplicaGenerators, source: str) -> tuple[int, bool]:
    """Check a target whose states can be listed; the controls are on the small one, by listing its trajectories."""
    from gfn_vi.build import resolve_dtype
    from gfn_vi.verification.junctions import junction_choices
    from gfn_vi.verification.table import by_dynamic_programming, show

    graph = target.state_graph()
    junctions = junction_choices(graph.n_levels, None if config.junctions is None else list(config.junctions), config.seed)
    has_controls = config.small is not None
    wrong = show(*listed(config, resolve_dtype(config.dtype)), config.tolerance) if has_controls else 0
    checks = list(by_dynamic_programming(sampler, graph, rng, config.n_updates, junctions))
    title = f"target: {class_name(config.target)}, {graph.n_states} states, {source}"
    return wrong + show(title, checks, config.tolerance), has_controls


def listed(config: DictConfig, dtype: torch.dtype) -> tuple[str, list[Check]]:
    """Return the title and the checks of the first table; ConfigError for what cannot be listed."""
    import torch

    from gfn_vi.build import build_exploration, build_sampler
    from gfn_vi.build_target import build_target
    from gfn_vi.verification.table import by_enumeration, count_trajectories

    cpu = torch.device("cpu")
    small: Any = build_target(config, cpu, "small")
    require_listed(small, config, "small")
    n_trajectories = count_trajectories(small.state_graph())
    n_batches = math.comb(n_trajectories + config.batch_size - 1, config.batch_size)
    too_many = (
        f"has {n_trajectories} trajectories, {n_batches} batches of {config.batch_size}, more than max_batches="
        f"{config.max_batches}: choose a smaller one, such as small.side=3, a smaller batch_size, or small=null"
    )
    require(n_batches <= config.max_batches, "small", class_name(config.small), too_many)
    sampler, exploration = build_sampler(config, small, cpu, dtype, 1, flow=False), build_exploration(config)
    if not exploration.has_density or exploration.is_on_policy:
        found = config.exploration._target_
        advice = "off-policy controls need another behavior than P_F, of known density: use exploration=epsilon_uniform"
        raise ConfigError("exploration", found, advice)
    title = f"small: {class_name(config.small)}, all {n_trajectories} trajectories listed, random parameters"
    return title, list(by_enumeration(sampler, small, exploration, config.batch_size, config.seed))


def class_name(node: DictConfig) -> str:
    """Return the name of the class that the node builds."""
    return str(node._target_).rsplit(".", 1)[-1]


def require_listed(target: object, config: DictConfig, key: str) -> None:
    """Raise ConfigError, which names `key`, unless the target's states can be listed."""
    from gfn_vi.core.protocols import EnumerableTarget

    if not isinstance(target, EnumerableTarget) or not target.enumerable:
        remedy = f"not enumerable within {key}.max_enumerated_states: choose a smaller one"
        raise ConfigError(key, config[key]._target_, remedy)


def trained_sampler(
    config: DictConfig, saved: DictConfig, target: Any, device: torch.device, dtype: torch.dtype
) -> tuple[Any, str]:
    """Return the sampler of the run with its parameters, and in words how far it is trained; RunError where they do not fit."""
    from gfn_vi.build import build_objective, build_sampler
    from gfn_vi.core.types import Need
    from gfn_vi.interface.rebuilt import load_parameters
    from gfn_vi.runs.checkpoint import load_checkpoint

    state = load_checkpoint(Path(str(config.run)) / CHECKPOINT)
    require(state is not None, "run", config.run, "it has no checkpoint yet: let it train for a minute, or to its end")
    assert state is not None
    saved.seed = config.seed  # of parameters that are replaced; of several rates it is a list
    sampler = build_sampler(saved, target, device, dtype, saved.replicas, Need.FLOW in build_objective(saved).needs)
    load_parameters(sampler, state, Path(str(config.run)))
    return sampler, f"{sampler.n_replicas} trained replicas after {state['trainer']['step']} updates"


def main() -> None:
    """Entry point: what Hydra refuses is one line, too."""
    guarded(task)
