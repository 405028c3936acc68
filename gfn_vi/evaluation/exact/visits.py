"""Distributions over trajectories on a state graph as probabilities of passages: exact expectations are weighted with them.

P_F, P_B (x from the normalized target, then backwards) and every tilted policy are Markov chains on the graph, so states,
edges and stops say all there is to know: given a state, what came before is independent of what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, at_source, backward_pass, forward_pass


@dataclass(frozen=True)
class Visits:
    """Probabilities that a trajectory starts at a state, visits it or stops there, [S, R] each, or takes an edge [E, R].

    Constants: expectations under these visits are differentiated in what is averaged, not in the visits.
    """

    graph: StateGraph
    start: Tensor
    states: Tensor
    edges: Tensor
    stops: Tensor

    @cached_property
    def edge_kernel(self) -> Tensor:
        """Return the probability of each edge given its source: [E, R]; 0 where the source is never visited."""
        return _conditional(self.edges, self.states[self.graph.source])

    @cached_property
    def stop_kernel(self) -> Tensor:
        """Return the probability of stopping, given the state: [S, R]; 0 where the state is never visited."""
        return _conditional(self.stops, self.states)


def _conditional(joint: Tensor, given: Tensor) -> Tensor:
    return (joint / given.where(given > 0, 1.0)).where(given > 0, 0.0)


@torch.no_grad()
def forward_visits(policies: EdgePolicies, start: Tensor | None = None) -> Visits:
    """Return the visits of P_F, or of whatever policy `policies` holds in its place.

    start [S, R]: probabilities of the first state; None: the source.
    """
    graph = policies.graph
    begin = at_source(graph, policies.log_pf) if start is None else start
    visits = forward_pass(graph, policies.log_pf.exp(), begin)
    return Visits(graph, begin, visits, visits[graph.source] * policies.log_pf.exp(), visits * policies.stop_probability)


@torch.no_grad()
def backward_visits(policies: EdgePolicies) -> Visits:
    """Return the visits of P_B: x from the normalized target, then backwards to a state without parents."""
    graph = policies.graph
    stops = graph.log_target.exp()[:, None].expand(-1, policies.log_pb.shape[1])
    visits = backward_pass(graph, policies.log_pb.exp(), stops)
    has_parent = torch.zeros(graph.n_states, dtype=torch.bool, device=visits.device)
    has_parent[graph.target] = True
    start = visits.masked_fill(has_parent[:, None], 0.0)
    return Visits(graph, start, visits, visits[graph.target] * policies.log_pb.exp(), stops)
