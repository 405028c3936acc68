"""What has to fit together: refused here with both choices named and an override that fits, before work starts.

Whatever concerns one part alone is refused by its constructor.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.errors import ConfigError, as_number, require
from gfn_vi.core.families import is_density
from gfn_vi.core.seeds import check_seeds, is_whole

if TYPE_CHECKING:  # torch takes two seconds to import: `--help` and finished runs do without
    from omegaconf import DictConfig

    from gfn_vi.core.protocols import Exploration, Objective, Target
    from gfn_vi.core.types import Need
    from gfn_vi.evaluation.base import BaseMetric

PARTS = ("target", "sampler", "exploration", "objective", "optimizer", "evaluation", "logger")


def check_numbers(config: DictConfig) -> None:
    """Refuse wrong values of keys that no constructor sees. Needs no torch: they are refused at once."""
    from omegaconf import OmegaConf

    for key in ("trainer", "checkpoint", *PARTS):
        node = OmegaConf.select(config, key)
        expected = "a group of keys; give each of its keys its own value" if key in ("trainer", "checkpoint") else "a choice"
        require(OmegaConf.is_dict(node), key, node, f"expected {expected}, see --help")
    for key in ("evaluation.metrics", "evaluation.observers", "evaluation.reports"):
        node = OmegaConf.select(config, key)
        require(OmegaConf.is_dict(node), key, node, f"expected a group of keys; one less is {key}.NAME=null")
    for key in ("progress", "pictures"):
        require(config[key] is None or isinstance(config[key], bool), key, config[key], "expected true, false or null")
    whole = {
        "replicas": 1,
        "trainer.n_trajectories": 1,
        "trainer.batch_size": 1,
        "trainer.record_every": 1,
        "evaluation.every": 1,
        "evaluation.n_samples": 1,
    }
    for key, least in whole.items():
        value = OmegaConf.select(config, key)
        require(is_whole(value) and value >= least, key, value, f"expected a whole number >= {least}{as_number(value)}")
    check_seeds(config.seed, config.replicas, config.optimizer)
    tuning = config.tuning_seeds
    is_list = OmegaConf.is_list(tuning) and all(is_whole(seed) for seed in tuning)
    require(is_list, "tuning_seeds", tuning, "expected a list of whole numbers, [] for none")
    every = config.checkpoint.every_seconds
    is_number = isinstance(every, (int, float)) and not isinstance(every, bool)
    require(is_number and every >= 0, "checkpoint.every_seconds", every, "expected seconds >= 0")
    pause = config.checkpoint.pause_after
    whole_or_null = pause is None or (is_whole(pause) and pause >= 1)
    require(whole_or_null, "checkpoint.pause_after", pause, "expected a whole number of trajectories, or null")


def check_fit(config: DictConfig, exploration: Exploration, objective: Objective) -> None:
    """Refuse an exploration that does not offer what the objective needs, and batches too small for either."""
    from gfn_vi.core.types import Need

    name = config.objective._target_.rsplit(".", 1)[-1]
    needs = objective.needs
    if Need.PATHWISE in needs and not exploration.is_on_policy:
        estimator = config.objective.estimator._target_.rsplit(".", 1)[-1]
        found = "differentiates along the noise of P_F itself; use exploration=on_policy, or estimator@objective.estimator=score"
        raise ConfigError("objective.estimator", estimator, found)
    if Need.BEHAVIOR in needs and not exploration.has_density:
        raise ConfigError(
            "exploration",
            config.exploration._target_.rsplit(".", 1)[-1],
            f"objective {name} weights trajectories by the density that drew them, and this exploration has none; use "
            "objective=trajectory_balance, an exploration without memory, or say that the correction is to be left out: "
            "weighting@objective.weighting=unweighted baseline@objective.baseline=none",
        )
    if Need.ON_POLICY in needs and not exploration.is_on_policy:
        raise ConfigError(
            "objective.baseline",
            config.objective.baseline._target_.rsplit(".", 1)[-1],
            "without weights the score has mean zero on-policy only, elsewhere a baseline is bias; use "
            "baseline@objective.baseline=none, or exploration=on_policy",
        )
    baseline_batch = getattr(getattr(objective, "baseline", None), "smallest_batch", 1)
    least = max(baseline_batch, getattr(objective, "smallest_batch", 1))
    batch = config.trainer.batch_size
    require(batch >= least, "trainer.batch_size", batch, f"objective {name} compares trajectories: expected at least {least}")
    check_shares(exploration, batch, "exploration")


def check_shares(exploration: Any, batch: int, key: str) -> None:
    """Refuse a batch of which an exploration, or one inside of it, would draw none in any update."""
    share = getattr(exploration, "fraction", None)
    n_old = 0 if share is None else round(batch * share)
    if share is not None:
        require(0 < n_old < batch, f"{key}.fraction", share, f"means {n_old} of a batch of {batch}: expected some of both")
    if hasattr(exploration, "counts") and hasattr(exploration, "components"):  # a mixture
        counts = exploration.counts(batch)
        found = f"leaves component {counts.index(min(counts))} none of a batch of {batch}"
        require(min(counts) > 0, f"{key}.weights", exploration.weights, f"{found}: raise its weight, or trainer.batch_size")
        for number, (component, n) in enumerate(zip(exploration.components, counts, strict=True)):
            check_shares(component, n, f"{key}.components[{number}]")
    if getattr(exploration, "source", None) is not None:
        check_shares(exploration.source, batch - n_old, f"{key}.source")


def check_memory(config: DictConfig, target: Target, n_samples: int) -> None:
    """Refuse a batch, or n_samples trajectories of a measurement, whose states alone need more memory than is free."""
    free = free_bytes()
    if free is None or config.device != "cpu" or not hasattr(target, "shortest"):
        return
    state: Any = target.initial(1)  # type: ignore[attr-defined]
    # twice: while they are drawn as a state per step, and then in one tensor
    each = 2 * config.replicas * (target.shortest + 1) * state.numel() * state.element_size()
    for key, n in (("trainer.batch_size", config.trainer.batch_size), ("evaluation.n_samples", n_samples)):
        if n * each > free:  # not how much is free: jobs of a sweep say the same, which is shown once
            many = f"trajectories of {target.shortest:,} steps through states of {state.numel():,} numbers, of each replica,"
            raise ConfigError(key, n, f"so many {many} need {n * each / 1e9:.0f} GB, more than is free; use a smaller number")


def free_bytes() -> int | None:
    """Return the free memory of this machine; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def check_moves(config: DictConfig, target: Target) -> None:
    """Refuse a sampler, or an exploration, whose steps are not those of the target: between states, or Gaussian."""
    from hydra.utils import get_object

    wanted = "gaussian" if is_density(target) else "discrete"
    found = getattr(get_object(config.sampler._target_), "tilts", wanted)
    if found != wanted:
        name = config.sampler._target_.rsplit(".", 1)[-1]
        if wanted == "gaussian":
            raise ConfigError("sampler", name, "moves between states, and this target is a density on R^d; use sampler=diffusion")
        raise ConfigError("sampler", name, "moves in R^d, and this target has states and actions; use sampler=mlp")


def check_tilts(config: DictConfig, sampler: Any, exploration: Exploration) -> None:
    """Refuse an exploration that changes steps in a way that the sampler does not know, or asks for a gradient it has not."""
    asked: frozenset[str] = getattr(exploration, "tilts", frozenset())
    name = config.exploration._target_.rsplit(".", 1)[-1]
    if getattr(exploration, "needs_score", False) and (sampler.tilts != "gaussian" or not sampler.has_score):
        found = "this target has none" if sampler.tilts == "gaussian" else f"{type(sampler).__name__} has states and actions"
        advice = f"follows the gradient of log R, and {found}; use exploration=backward_rollout"
        raise ConfigError("exploration", name, advice)
    if getattr(exploration, "replays_trajectories", False) and getattr(sampler, "has_changing_steps", False):
        found = "replays trajectories as they were, and with sampler.training_grid=random each batch has other times"
        raise ConfigError("exploration", name, f"{found}; use exploration=backward_rollout, or sampler.training_grid=uniform")
    if asked - {sampler.tilts}:
        use = "exploration=widened_steps" if sampler.tilts == "gaussian" else "exploration=epsilon_uniform"
        kinds = {"discrete": "probabilities of actions", "gaussian": "Gaussian steps"}
        changes = " and ".join(kinds[kind] for kind in sorted(asked))
        found = f"changes {changes}, and {type(sampler).__name__} has {kinds[sampler.tilts]}"
        raise ConfigError("exploration", name, f"{found}; use {use}, or exploration=on_policy")
    shortest = getattr(exploration, "needs_moves", 0)
    if shortest > 0:
        most = sampler.target.horizon - 1
        require(shortest <= most, "exploration.shortest", shortest, f"this target has at most {most} moves")


def _lacking(part: object, protocol: type) -> list[str]:
    """Return the members of the protocol that `part` lacks."""
    # Not isinstance(part, protocol): it would compute every property, and say nothing of what is missing.
    wanted = [name for base in protocol.__mro__ for name in (*vars(base).get("__annotations__", ()), *vars(base))]
    absent = object()
    public = sorted({name for name in wanted if not name.startswith("_")})
    return [name for name in public if inspect.getattr_static(part, name, absent) is absent]


def require_members(part: object, protocol: type, key: str, found: object) -> None:
    """Raise ConfigError, which lists what is missing, unless `part` has all members of the protocol."""
    lacking = _lacking(part, protocol)
    require(not lacking, key, found, f"lacks {', '.join(lacking)} of {protocol.__name__} (gfn_vi/core/protocols.py)")


def require_family(metric: BaseMetric, target: Target, key: str) -> None:
    """Raise ConfigError unless the target is of the family that the metric measures."""
    lacking = [] if metric.family is None else _lacking(target, metric.family)
    missing = f"{type(target).__name__} lacks {', '.join(lacking)} of {getattr(metric.family, '__name__', '')}"
    instead = f"{metric.family_choice}, or " if metric.family_choice else ""
    require(not lacking, key, type(metric).__name__, f"{missing}; use {instead}an evaluation without this metric")


def check_offers(key: str, needs: frozenset[Need], sampler: Any, instead: str, found: str = "a choice") -> None:
    """Refuse what asks a sampler for more than it offers. key: of what asks, `found`; instead: an override that asks for less."""
    from gfn_vi.core.types import Need

    lacking = needs - sampler.offers - {Need.BEHAVIOR, Need.ON_POLICY}  # these two are an exploration's
    if Need.INFLOW in lacking and sampler.tilts == "gaussian":
        raise ConfigError(key, found, f"needs {Need.INFLOW.value}, and in R^d every point is a parent; use {instead}")
    if Need.FLOW in lacking and "flow" not in inspect.signature(type(sampler)).parameters:
        advice = f"has no state flows, which {key} needs; use another sampler, or {instead}"
        raise ConfigError("sampler", type(sampler).__name__, advice)
    if Need.FLOW in lacking or Need.INFLOW in lacking:
        learn = "sampler.flow=null (learn them when the objective needs them)" if key == "objective" else "sampler.flow=true"
        advice = f"{key} needs learned state flows, which this sampler has none of; use {learn}, or {instead}"
        raise ConfigError("sampler.flow", getattr(sampler, "has_flow", "missing"), advice)
    if Need.STOP_FLOW in lacking:
        other = "objective=detailed_balance" if key == "objective" else instead
        raise ConfigError(key, found, f"needs a target in which every state can stop; use {other} here")
    if Need.PATHWISE in lacking:
        advice = f"{type(sampler).__name__} has no differentiable path from noise to log R here"
        where = "objective.estimator" if key == "objective" else key
        raise ConfigError(where, "pathwise", f"{advice}; use estimator@objective.estimator=score")
    for need in lacking:
        raise ConfigError(key, found, f"needs {need.value}, which {type(sampler).__name__} does not offer; use {instead}")


def unreached_milestones(config: DictConfig, optimizer: Any) -> list[str]:
    """Return a sentence where the rates would change at trajectories that the run does not have."""
    last = config.trainer.n_trajectories
    late = [milestone for milestone in getattr(optimizer.schedule, "milestones", ()) if milestone >= last]
    if not late:
        return []
    found = f"optimizer.schedule.milestones: {late[0]:g} is never reached, with trainer.n_trajectories={last}"
    return [f"{found}: milestones count trajectories per replica, and rates stay as they are without them"]


def check_watched(config: DictConfig, optimizer: Any, metrics: list[BaseMetric]) -> None:
    watched = optimizer.schedule.watches
    if watched not in (None, "loss") and not any(watched in metric.summary for metric in metrics):
        raise ConfigError(
            "optimizer.schedule",
            config.optimizer.schedule._target_.rsplit(".", 1)[-1],
            f"watches {watched}, which this evaluation does not compute; use evaluation=exact on an enumerable target, "
            "or rate_schedule@optimizer.schedule=plateau_on_loss",
        )
