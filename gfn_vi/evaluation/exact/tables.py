"""Policies and other functions of states on every state of a graph, evaluated in chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.protocols import Tilt
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, edge_policies
from gfn_vi.evaluation.exact.line_graph import LineGraph, line_flows, line_policies

# Rows (states times replicas) that go through a network at once.
LARGEST_CHUNK = 2**17


def policies_on_graph(sampler: Any, graph: StateGraph) -> EdgePolicies:
    """Return both policies, evaluated once on every state of the graph; they are differentiable.

    sampler: a PolicySampler, on a LineGraph a KernelSampler.
    """
    if isinstance(graph, LineGraph):
        return line_policies(sampler, graph)
    forward, backward = sampler.forward_log_probs, sampler.backward_log_probs
    return edge_policies(graph, *(_policy_table(graph, sampler.n_replicas, policy) for policy in (forward, backward)))


def flows_on_graph(sampler: Any, graph: StateGraph) -> Tensor | None:
    """Return log F of every state, [S, R] float64 and differentiable, or None where it is not learned."""
    if isinstance(graph, LineGraph):
        # with one step there is nothing to learn: the source has Z, and the objects have R
        return line_flows(sampler, graph) if sampler.has_flow or sampler.n_steps == 1 else None
    return tabulated(graph, sampler.n_replicas, sampler.log_flows).T.double() if sampler.has_flow else None


@torch.no_grad()
def tilted_on_graph(sampler: Any, policies: EdgePolicies, tilt: Tilt) -> EdgePolicies:
    """Return the policies with what an exploration draws from in the place of P_F."""
    graph = policies.graph
    if isinstance(graph, LineGraph):
        return line_policies(sampler, graph, tilt)
    forward = _policy_table(graph, sampler.n_replicas, sampler.forward_log_probs)
    tilted = tilt(forward, graph.forward_mask.expand(forward.shape))
    flat = tilted.reshape(sampler.n_replicas, -1)
    log_pf = flat.index_select(1, graph.source * graph.n_actions + graph.forward_action).T.double()
    return replace(policies, log_pf=log_pf, log_stop=tilted[..., -1].T.double().masked_fill(~policies.stops, 0.0))


def evaluated(sampler: Any, graph: StateGraph) -> Any:
    """Return the sampler whose policies are evaluated: on a line a copy in float64, which resolves what float32 does not."""
    return sampler.repeated(1).double() if isinstance(graph, LineGraph) else sampler


def normalized(log_probs: Tensor) -> Tensor:
    """Return log-probabilities [..., A] in float64 that are normalized in float64.

    Those of a float32 policy sum to 1 only up to 1e-7. Multiplied along trajectories they would be no distribution, and what is
    at least 0 of distributions, as their divergences are, would not be.
    """
    return log_probs if log_probs.dtype == torch.float64 else log_probs.double().log_softmax(-1)


def _policy_table(graph: StateGraph, n_replicas: int, policy: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the log-probabilities of a policy at every state, normalized in float64: [R, S, A]."""
    return tabulated(graph, n_replicas, lambda states: normalized(policy(states)))


def tabulated(graph: StateGraph, n_replicas: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the values [R, S, ...] on every state of a function of states [R, N, *state] -> [R, N, ...]."""
    # in chunks: hidden layers of a million states and many replicas would not fit in memory
    chunks = graph.states.split(max(1, LARGEST_CHUNK // n_replicas))
    return torch.cat([function(chunk.expand(n_replicas, *chunk.shape)) for chunk in chunks], 1)
