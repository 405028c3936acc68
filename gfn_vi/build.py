"""Configuration -> parts, in order: target, sampler, exploration, objective, optimizer, evaluation.

Every check that can be made before work starts is made on the way: by constructors, and in fitting.py where parts have to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gfn_vi.build_target import build_target, check_own_target, remember_too_large
from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.families import is_density
from gfn_vi.fitting import (
    check_fit,
    check_memory,
    check_moves,
    check_numbers,
    check_offers,
    check_tilts,
    check_watched,
    require_family,
    require_members,
    unreached_milestones,
)
from gfn_vi.instantiation import built
from gfn_vi.mirrors import check_loggers
from gfn_vi.signatures import check_arguments, nearest

if TYPE_CHECKING:  # torch takes two seconds to import: `--help` and finished runs do without
    import torch
    from omegaconf import DictConfig

    from gfn_vi.core.headline import Headline
    from gfn_vi.core.protocols import DensityTarget, Exploration, Objective, Target
    from gfn_vi.evaluation.base import BaseMetric
    from gfn_vi.evaluation.references import Keep, References
    from gfn_vi.training.parts import Parts
    from gfn_vi.training.trainer import Budget, Trainer


# Kinds of metrics, the strongest first: sums over all states, comparisons with samples of the target, own samples.
EVIDENCE = ("exact", "reference", "sampled", "any")


def resolve_device(name: str) -> torch.device:
    """Return the device of this name. Raises ConfigError that says which ones there are."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("device", name, "expected cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "no CUDA device here; use device=cpu")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ConfigError("device", name, f"this machine has {torch.cuda.device_count()} CUDA devices, numbered from 0")
    require(device.type in ("cpu", "cuda"), "device", name, "expected cpu, cuda or cuda:N")
    return device


def resolve_dtype(name: str) -> torch.dtype:
    """Return float32 or float64. Raises ConfigError for another name."""
    import torch

    dtypes = {"float32": torch.float32, "float64": torch.float64}
    require(name in dtypes, "dtype", name, "expected float32 or float64")
    return dtypes[name]


def build_quadrature(config: Any, key: str) -> Any:
    """Return how a density of one dimension is summed over, None where that is off."""
    return None if config is None else built(config, key)


def build_references(config: DictConfig, target: Target, keep: Keep | None) -> References | None:
    """Return what stands for exact samples of the target; None where that is off, or where there are exact ones.

    keep: where samples are kept, None for nowhere.
    """
    from gfn_vi.evaluation.references import KEY, BaseChains, References, keep_nothing

    entry = config.evaluation.get("references")
    if entry is None:
        return None
    method = built(entry, KEY)
    require(isinstance(method, BaseChains), KEY, entry._target_, "expected a gfn_vi.evaluation.references.BaseChains")
    found = f"draws from a density on R^d, and this target has states; use reference@{KEY}=null"
    require(is_density(target), KEY, type(method).__name__, found)
    if getattr(target, "has_exact_samples", False):
        return None
    blind = f"follows the gradient of log R, and this target has none; use reference@{KEY}=null"
    require(getattr(target, "has_score", True), KEY, type(method).__name__, blind)
    return References(method, cast("DensityTarget", target), config.evaluation.n_samples, keep or keep_nothing)


def build_metrics(
    config: DictConfig, target: Target, sampler: Any, quadrature: Any, references: References | None
) -> tuple[list[BaseMetric], list[str]]:
    """Return the metrics, and a line for what does not apply to this target."""
    from gfn_vi.evaluation.base import BaseMetric
    from gfn_vi.evaluation.measurement import why_not_exact

    metrics: list[BaseMetric] = []
    remarks = []
    has_samples = references is not None or getattr(target, "has_exact_samples", False)
    without_samples = []
    obstacle: Any = (unknown := object())
    for name, entry in config.evaluation.metrics.items():
        if entry is None:
            continue
        key = f"evaluation.metrics.{name}"
        metric = built(entry, key)
        require(isinstance(metric, BaseMetric), key, entry.get("_target_"), "expected a gfn_vi.evaluation.base.BaseMetric")
        require_family(metric, target, key)
        if metric.kind == "reference" and not has_samples:
            without_samples.append(name)
            continue
        # asked for here and not above: listing takes a while
        if metric.kind == "exact" and obstacle is unknown:
            obstacle = why_not_exact(target, sampler, quadrature)
            if obstacle is not None:
                remember_too_large(config.target)
        if metric.kind == "exact" and obstacle is not None:
            if obstacle:
                remarks.append(f"{key} is off: {obstacle}; using {config.evaluation.n_samples} samples per evaluation instead")
            metric = built(config.evaluation.fallback, "evaluation.fallback")
            if any(type(other) is type(metric) for other in metrics):
                continue
        for part, needs in metric.needs.items():
            check_offers(f"{key}.{part}", needs, sampler, f"{key}.{part}=null")
        if metric.roles and not any(sampler.parameter_groups().get(role) for role in metric.roles):
            given = [role.value for role in metric.roles]
            advice = "the sampler has no parameters of these; see sampler.flow and sampler.backward"
            raise ConfigError(f"{key}.roles", given, advice)
        metric.prepare(target)
        metrics.append(metric)
    if without_samples:
        listed = f"{', '.join(without_samples)} of evaluation.metrics {'is' if len(without_samples) == 1 else 'are'} off"
        why = "nobody can draw exact samples from this target; reference@evaluation.references=nuts draws others"
        remarks.append(f"{listed}: {why}")
    return metrics, remarks


def choose_headline(config: DictConfig, metrics: list[BaseMetric], target: Target) -> Headline | None:
    """Return evaluation.headline where it is given, else that of the strongest metric that has one; None without any.

    Raises ConfigError for the name of no metric. Where a metric does not say what it records, the first measurement does.
    """
    from omegaconf import OmegaConf

    from gfn_vi.core.headline import headline_from
    from gfn_vi.evaluation.base import recorded_names

    entry = config.evaluation.headline
    if entry is None:
        ranked = sorted(metrics, key=lambda metric: EVIDENCE.index(metric.kind))  # stable: of one kind the first
        return next((metric.headline for metric in ranked if metric.headline is not None), None)
    headline = headline_from(OmegaConf.to_container(entry) if OmegaConf.is_config(entry) else entry, "evaluation.headline")
    known = recorded_names(metrics, target)
    if known is not None and headline.metric not in known:
        expected = f"no metric of this run records it{nearest(headline.metric, known)}"
        raise ConfigError("evaluation.headline.metric", headline.metric, expected)
    for declared in (metric.headline for metric in metrics if metric.headline is not None):
        if declared.metric == headline.metric and declared.direction != headline.direction:
            expected = f"a {declared.better_is} {headline.metric} is better: expected {declared.direction}"
            raise ConfigError("evaluation.headline.direction", headline.direction, expected)
    return headline


def build_sampler(
    config: DictConfig, target: Target, device: torch.device, dtype: torch.dtype, n_replicas: int, flow: bool
) -> Any:
    """Return the sampler, on the device; flow: whether log F is learned where sampler.flow leaves it open."""
    from gfn_vi.core.replicas import ReplicaGenerators

    rng = ReplicaGenerators(config.seed, n_replicas, "initialization", "cpu", dtype)
    sampler_config = config.sampler.copy()
    if sampler_config.get("flow", False) is None:
        sampler_config.flow = flow
    return built(sampler_config, "sampler", {"target": target, "rng": rng}).to(device)


def build_exploration(config: DictConfig) -> Exploration:
    """Return the exploration."""
    from gfn_vi.core.protocols import Exploration

    exploration: Exploration = built(config.exploration, "exploration")
    require_members(exploration, Exploration, "exploration", config.exploration._target_)
    return exploration


def build_objective(config: DictConfig) -> Objective:
    """Return the objective."""
    from gfn_vi.core.protocols import Objective

    objective: Objective = built(config.objective, "objective")
    require_members(objective, Objective, "objective", config.objective._target_)
    return objective


def build_parts(
    config: DictConfig, device: torch.device, dtype: torch.dtype, keep: Keep | None = None
) -> tuple[Parts, list[str]]:
    """Return all parts, fitting together, and remarks for the user; keep: see build_references."""
    from gfn_vi.core.replicas import ReplicaGenerators
    from gfn_vi.core.types import Need
    from gfn_vi.evaluation.measurement import Measurement
    from gfn_vi.training.parts import Parts

    target = build_target(config, device)
    exploration = build_exploration(config)
    objective = build_objective(config)
    check_fit(config, exploration, objective)
    check_moves(config, target)
    remarks_on_target = check_own_target(config, target)
    sampler = build_sampler(config, target, device, dtype, config.replicas, Need.FLOW in objective.needs)
    check_tilts(config, sampler, exploration)
    check_offers("objective", objective.needs, sampler, "objective=trajectory_balance", type(objective).__name__)
    facts = {"parameter_groups": sampler.parameter_groups(), "n_replicas": config.replicas}
    optimizer = built(config.optimizer, "optimizer", facts)
    quadrature = build_quadrature(config.evaluation.get("quadrature"), "evaluation.quadrature")
    references = build_references(config, target, keep)
    metrics, remarks = build_metrics(config, target, sampler, quadrature, references)
    remarks = [*getattr(target, "remarks", ()), *remarks_on_target, *remarks]
    check_watched(config, optimizer, metrics)
    remarks += unreached_milestones(config, optimizer)
    watching = {"target": target, "n_replicas": config.replicas, "device": device}
    observers = [built(o, f"evaluation.observers.{name}", watching) for name, o in config.evaluation.observers.items() if o]
    check_loggers(config.logger)
    exact = any(metric.kind == "exact" for metric in metrics)
    sampled = [metric.n_samples for metric in metrics if metric.n_samples is not None]
    check_memory(config, target, max(sampled, default=0))

    def moment(rng: ReplicaGenerators) -> Measurement:
        return Measurement(sampler, target, rng, exact, max(sampled, default=None), quadrature, references)

    headline = choose_headline(config, metrics, target)
    parts = Parts(target, sampler, exploration, objective, optimizer, metrics, observers, moment, headline, references)
    return parts, remarks


def build_budget(config: DictConfig) -> Budget:
    """Return the budget of a run: trajectories and clocks."""
    from gfn_vi.training.trainer import Budget

    t = config.trainer
    return Budget(t.n_trajectories, t.batch_size, config.evaluation.every, t.record_every)


def build_trainer(config: DictConfig, keep: Keep | None = None) -> tuple[Trainer, list[str]]:
    """Return a trainer ready to run, and remarks for the user. Raises ConfigError before any work is done.

    config: without interpolations (OmegaConf.resolve): parts are built one by one, and one may point to another.
    keep: where reference samples are kept, None for nowhere: they are drawn when a metric asks for them.
    """
    from omegaconf import OmegaConf

    check_numbers(config)  # before torch is imported
    check_arguments(OmegaConf.to_container(config))

    from gfn_vi.training.allocator import keep_freed_memory
    from gfn_vi.training.trainer import Trainer

    keep_freed_memory()
    device, dtype = resolve_device(config.device), resolve_dtype(config.dtype)
    parts, remarks = build_parts(config, device, dtype, keep)
    return Trainer(parts, build_budget(config), config.seed, config.replicas, device, dtype), remarks


def find_recorded(config: DictConfig, name: str | None, key: str) -> Headline | None:
    """Refuse a name under which no run of `config` records numbers; return the headline that declares it, None without one.

    name: None for the headline of the run itself; key: where the name was given. Nothing is measured: metrics say what they
    record, one update on the CPU what training does.
    """
    from gfn_vi.evaluation.base import recorded_names

    config = config.copy()
    config.device = "cpu"  # a sweep may be started where its jobs' devices are not
    trainer, _ = build_trainer(config)
    if name is None:
        return trainer.parts.headline
    metrics: Any = trainer.parts.metrics
    known = recorded_names(metrics, trainer.parts.target)
    if known is not None and name not in known:
        known |= trainer.training_statistics(*trainer.update()).keys()
        require(name in known, key, name, f"these runs do not record it{nearest(name, known)}")
    declared = (trainer.parts.headline, *(metric.headline for metric in metrics))
    return next((headline for headline in declared if headline is not None and headline.metric == name), None)
