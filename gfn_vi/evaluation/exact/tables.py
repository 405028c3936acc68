"""Policies and other functions of states on every state of a graph, evaluated in chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, edge_policies
from gfn_vi.evaluation.exact.policies import PolicySampler

# Rows (states times replicas) that go through a network at once.
LARGEST_CHUNK = 2**17


def policies_on_graph(sampler: PolicySampler, graph: StateGraph) -> EdgePolicies:
    """Return both policies, evaluated once on every state of the graph; they are differentiable."""
    forward = tabulated(graph, sampler.n_replicas, sampler.forward_log_probs)
    return edge_policies(graph, forward, tabulated(graph, sampler.n_replicas, sampler.backward_log_probs))


def tabulated(graph: StateGraph, n_replicas: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the values [R, S, ...] on every state of a function of states [R, N, *state] -> [R, N, ...]."""
    # in chunks: hidden layers of a million states and many replicas would not fit in memory
    chunks = graph.states.split(max(1, LARGEST_CHUNK // n_replicas))
    return torch.cat([function(chunk.expand(n_replicas, *chunk.shape)) for chunk in chunks], 1)
