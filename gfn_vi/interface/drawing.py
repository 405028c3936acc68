"""Drawing objects from a sampler with everything that is known of their probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.families import is_density
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.exact.ancestors import ancestor_graph, forward_policy_on_edges, log_terminating_probability, log_visits
from gfn_vi.evaluation.measurement import state_graph_of
from gfn_vi.fitting import free_bytes

# Trajectories of each replica that are in memory at once; the default of evaluation.n_samples, so whoever trained has room.
AT_ONCE = 1000
# States that may precede the objects where not all states can be listed: some seconds.
MOST_ANCESTORS = 100_000
NUMBERS = 12  # of an object besides its state, while they are put together


def require_room(sampler: Any, target: Any, n: int) -> None:
    """Raise ConfigError for more objects than fit into the free memory of this machine."""
    free = free_bytes()
    if free is None or sampler.log_Z.device.type != "cpu":
        return
    numbers = target.dim if is_density(target) else target.initial(1).numel()
    need = n * sampler.n_replicas * 8 * (2 * numbers + NUMBERS)  # twice: parts, and then all of them in one tensor
    found = f"so many objects of {numbers:,} numbers need {need / 1e9:.0f} GB, more than is free"
    require(need < free, "n", n, f"{found}; draw some at a time, with other seeds")


@torch.no_grad()
def draw(sampler: Any, n: int, seed: int) -> dict[str, Tensor]:
    """Return n objects of each replica: states [R, n, *state], and in float64 log_reward, log_pf and log_pb [R, n], length long.

    Replica r draws from seed + r, so what it draws does not depend on which of them are looked at.
    """
    rng = ReplicaGenerators(seed, sampler.n_replicas, "samples", sampler.log_Z.device, sampler.dtype)
    parts = [_drawn(sampler, min(AT_ONCE, n - start), rng) for start in range(0, n, AT_ONCE)]
    return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}


def _drawn(sampler: Any, n: int, rng: ReplicaGenerators) -> dict[str, Tensor]:
    trajectories = sampler.rollout(n, rng)
    evaluation = sampler.evaluate(trajectories)
    return {
        "states": trajectories.terminal_states().clone(),  # a view would keep whole trajectories
        "log_reward": trajectories.log_reward.double(),
        # what really drew them: a published deviation may evaluate P_F otherwise
        "log_pf": trajectories.log_behavior.double(),
        "log_pb": evaluation.trajectory_log_pb.double(),
        "length": trajectories.mask.sum(-1),
    }


@torch.no_grad()
def exact_log_pt(sampler: Any, target: Any, states: Tensor, log_pf: Tensor, replicas: Tensor) -> Tensor | None:
    """Return log P_T of objects [N, *state] in float64, [N]; None where nobody can sum over the trajectories to them.

    replicas [N] long: who drew each; log_pf [N]: of the trajectories, which of one step are all that lead to an object.
    """
    if is_density(target):
        return log_pf if getattr(sampler, "n_steps", None) == 1 else None
    graph = state_graph_of(target)
    if graph is not None:
        log_pf_of_edges, log_stop = forward_policy_on_edges(sampler, graph)
        return (log_visits(graph, log_pf_of_edges) + log_stop)[target.state_index(states), replicas]
    try:
        ancestors = ancestor_graph(target, states, MOST_ANCESTORS, "n")
    except ConfigError:
        return None
    return log_terminating_probability(sampler, ancestors)[replicas, torch.arange(len(states), device=states.device)]
