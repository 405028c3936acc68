"""`gfn-vi-verify` and `python scripts/verify.py`: the table of theorems; exit status 1 if one fails."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

# registers the resolvers of the configs and of the help text
from gfn_vi.commands.train import find_user_modules
from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.runs.files import CHECKPOINT, CONFIG
from gfn_vi.terminal.guarded import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, guarded
from gfn_vi.terminal.hydra_errors import in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from gfn_vi.core.protocols import EnumerableTarget
    from gfn_vi.verification.check import Check


# Standard deviation of what is added to the initial parameters of a sampler of densities.
RANDOM_PARAMETERS = 0.1


def keys_in_words() -> str:
    """The keys of verify.yaml that belong to no group, as they stand there."""
    text = (files("gfn_vi.configs") / "verify.yaml").read_text(encoding="utf-8")
    return text[text.index("run:") : text.index("\nhydra:")].strip().replace("$", "$$")


OmegaConf.register_new_resolver("gfn_vi_verify_keys", keys_in_words, replace=True)


@hydra.main(version_base="1.3", config_path="pkg://gfn_vi.configs", config_name="verify")
def task(config: DictConfig) -> None:
    """Build, check, print; exits with 1 if a theorem fails or a control passes."""
    find_user_modules()
    try:
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert isinstance(resolved, DictConfig)
        check_numbers(resolved)
        if resolved.run is not None:
            adopt_run(resolved)
        wrong = verify(resolved)
    except (ConfigError, RunError, OmegaConfBaseException) as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    if wrong:
        print(f"{wrong} of the lines above are not as they should be", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    controls = resolved.small is not None if resolved.target.get("dim") is None else resolved.run is None
    print("all theorems hold" + (", all controls fail as they must" if controls else ""))


def check_numbers(config: DictConfig) -> None:
    """The values that no constructor sees."""
    least = {"seed": 0, "threads": 0, "n_updates": 1, "batch_size": 2, "max_batches": 1}
    for key, bound in least.items():
        whole = isinstance(config[key], int) and not isinstance(config[key], bool)
        require(whole and config[key] >= bound, key, config[key], f"expected a whole number >= {bound}")
    number = isinstance(config.tolerance, float) and config.tolerance > 0
    require(number, "tolerance", config.tolerance, "expected a positive number such as 1e-9")
    layers = config.junctions
    require(layers is None or OmegaConf.is_list(layers), "junctions", layers, "expected a list of layers, or null")


def adopt_run(config: DictConfig) -> None:
    """Put the run's target in the place of the one composed; its sampler is for that target only."""
    path = Path(str(config.run)) / CONFIG
    require(path.is_file(), "run", config.run, "expected the directory of a run: there is no config.yaml in it")
    try:
        saved: Any = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise ConfigError("run", config.run, "its config.yaml is damaged") from error
    required = {"target", "sampler", "objective", "replicas"}
    require(OmegaConf.is_dict(saved) and required <= set(saved), "run", config.run, "its config.yaml is damaged")
    for key in ("target", "sampler", "objective", "replicas"):
        config[f"run_{key}"] = saved[key]
    config.target = saved.target


def verify(config: DictConfig) -> int:
    """Build everything, then check and print; the number of lines that are not as they should be."""
    import torch

    from gfn_vi.build import build_target, check_moves, is_density, resolve_device, resolve_dtype
    from gfn_vi.core.replicas import ReplicaGenerators
    from gfn_vi.verification.junctions import junction_choices
    from gfn_vi.verification.table import by_dynamic_programming, show

    if config.threads > 0:
        torch.set_num_threads(config.threads)
    device, dtype = resolve_device(config.device), resolve_dtype(config.dtype)
    target = build_target(config, device)
    if config.run is None:
        check_moves(config, target)
    if is_density(target):
        return verify_density(config, target, device, dtype)
    target = enumerable_target(config, device, "target")
    sampler, source = trained_or_random(config, target, device, dtype)
    layers = None if config.junctions is None else list(config.junctions)
    graph = target.state_graph()
    junctions = junction_choices(graph.n_levels, layers, config.seed)
    listing = None if config.small is None else prepare_listing(config, dtype)
    wrong = 0
    if listing is not None:
        title, checks = listing[0], listing[1]()
        show(title, checks, config.tolerance)
        wrong += sum(not check.holds(config.tolerance) for check in checks)
    rng = ReplicaGenerators(config.seed, sampler.n_replicas, "verification", device, dtype)
    checks = list(by_dynamic_programming(sampler, graph, rng, config.n_updates, junctions))
    show(f"target: {class_name(config.target)}, {graph.n_states} states, {source}", checks, config.tolerance)
    return wrong + sum(not check.holds(config.tolerance) for check in checks)


def verify_density(config: DictConfig, target: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Check theorems on a density of one dimension, and print; the number of lines that are not as they should be."""
    from gfn_vi.build import build_quadrature
    from gfn_vi.core.replicas import ReplicaGenerators
    from gfn_vi.verification.table import by_quadrature, line_through, show

    require(target.dim == 1, "target.dim", target.dim, "densities are summed on a line: expected a target of one dimension")
    require(config.junctions is None, "junctions", config.junctions, "theorem 5 is not for densities: expected null")
    sampler, source = trained_or_random(config, target, device, dtype)
    graph = line_through(sampler, target, build_quadrature(config.evaluation.quadrature, "evaluation.quadrature"))
    rng = ReplicaGenerators(config.seed, sampler.n_replicas, "verification", device, dtype)
    checks = list(by_quadrature(sampler, graph, rng, config.n_updates, config.run is None))
    line = f"{graph.n_nodes} nodes from {float(graph.nodes[0]):.4g} to {float(graph.nodes[-1]):.4g}"
    show(f"target: {class_name(config.target)}, {line}, {source}", checks, config.tolerance)
    return sum(not check.holds(config.tolerance) for check in checks)


def prepare_listing(config: DictConfig, dtype: torch.dtype) -> tuple[str, Callable[[], list[Check]]]:
    """The title and the work of the first table; ConfigError for what cannot be listed."""
    import torch

    from gfn_vi.build import build_exploration, build_sampler
    from gfn_vi.verification.table import by_enumeration

    cpu = torch.device("cpu")
    small = enumerable_target(config, cpu, "small")
    n_trajectories = count_trajectories(small, config)
    sampler, exploration = build_sampler(config, small, cpu, dtype, 1, flow=False), build_exploration(config)
    if not exploration.has_density or exploration.is_on_policy:
        found = config.exploration._target_
        advice = "off-policy controls need another behavior than P_F, of known density: use exploration=epsilon_uniform"
        raise ConfigError("exploration", found, advice)
    title = f"small: {class_name(config.small)}, all {n_trajectories} trajectories listed, random parameters"
    return title, lambda: list(by_enumeration(sampler, small, exploration, config.batch_size, config.seed))


def class_name(node: DictConfig) -> str:
    """Return the name of the class that the node builds."""
    return str(node._target_).rsplit(".", 1)[-1]


def enumerable_target(config: DictConfig, device: torch.device, key: str) -> EnumerableTarget:
    """The target under `key`; ConfigError if its states cannot be listed."""
    from gfn_vi.build import build_target
    from gfn_vi.core.protocols import EnumerableTarget

    target = build_target(config, device, key)
    if not isinstance(target, EnumerableTarget) or not target.enumerable:
        remedy = f"not enumerable within {key}.max_enumerated_states: choose a smaller one"
        raise ConfigError(key, config[key]._target_, remedy)
    return target


def trained_or_random(config: DictConfig, target: Any, device: torch.device, dtype: torch.dtype) -> tuple[Any, str]:
    """(sampler, where its parameters come from)."""
    from gfn_vi.build import build_objective, build_sampler, is_density
    from gfn_vi.core.types import Need
    from gfn_vi.runs.checkpoint import load_checkpoint

    if config.run is None:
        sampler = build_sampler(config, target, device, dtype, 1, flow=False)
        if is_density(target):
            move_away(sampler, config.seed)
        return sampler, "random parameters"
    trained = config.copy()
    for key in ("sampler", "objective", "replicas"):
        trained[key] = config[f"run_{key}"]
    state = load_checkpoint(Path(str(config.run)) / CHECKPOINT)
    require(state is not None, "run", config.run, "it has no checkpoint yet: let it train for a minute, or to its end")
    assert state is not None
    sampler = build_sampler(trained, target, device, dtype, trained.replicas, Need.FLOW in build_objective(trained).needs)
    try:
        sampler.load_state_dict(state["trainer"]["sampler"])
    except RuntimeError as error:
        raise RunError(f"{config.run}: its checkpoint does not fit its config.yaml: {str(error).splitlines()[0]}") from error
    return sampler, f"{sampler.n_replicas} trained replicas after {state['trainer']['step']} updates"


def move_away(sampler: Any, seed: int) -> None:
    """Add noise to all parameters: samplers of densities start as a reference process, where networks count for nothing."""
    import torch

    from gfn_vi.core.replicas import ReplicaGenerators

    noise = ReplicaGenerators(seed, sampler.n_replicas, "parameters", sampler.log_Z.device, sampler.log_Z.dtype)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.add_(RANDOM_PARAMETERS * noise.normal(*parameter.shape[1:]))


def count_trajectories(small: EnumerableTarget, config: DictConfig) -> int:
    """Number of trajectories of `small`; ConfigError if its batches are too many to list."""
    import math

    import torch

    from gfn_vi.evaluation.exact.dynamic_programming import at_source, forward_pass

    graph = small.state_graph()
    ones = torch.ones(len(graph.source), 1, dtype=torch.float64)
    n = int((forward_pass(graph, ones, at_source(graph, ones))[:, 0] * (graph.log_reward > -math.inf)).sum())
    n_batches = math.comb(n + config.batch_size - 1, config.batch_size)
    require(
        n_batches <= config.max_batches,
        "small",
        class_name(config.small),
        f"has {n} trajectories, {n_batches} batches of {config.batch_size}, more than max_batches={config.max_batches}: choose a "
        "smaller one, such as small.side=3, a smaller batch_size, or small=null",
    )
    return n


def main() -> None:
    """Entry point: what Hydra refuses is one line, too."""
    guarded(task)


if __name__ == "__main__":
    main()
