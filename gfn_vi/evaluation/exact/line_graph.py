"""A density of one dimension as a state graph: nodes on a line at every time, edges between all nodes of consecutive times.

The trapezoidal rule with spacing h turns integrals over x_1 .. x_T into sums over paths through nodes, where

    P_F of an edge = density of the step x h      P_B of an edge = density of the step back x h, 1 into the source
    R of a node at time T = density x h           log F of a node before T = log F(x) + log h

so that the spacings cancel in log-ratios, and sums over the graph are integrals. For smooth densities that vanish at both ends
the rule converges exponentially: the error is about exp(-2 pi^2 (s / h)^2) for a Gaussian of standard deviation s. A path has T
steps. The stop step, which state graphs have, is certain here and no step of the density's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.core.protocols import GaussianTilt
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.policies import KernelSampler


@dataclass(frozen=True)
class LineGraph(StateGraph):
    """State 0 is the source; then come the nodes [M, 1] at times 1 .. T, of which only those at T stop.

    An action is the row of the state that it leads to. spacing: h.
    """

    nodes: Tensor
    spacing: float

    @property
    def n_nodes(self) -> int:
        """Return the number of nodes M at every time."""
        return len(self.nodes)

    @property
    def n_steps(self) -> int:
        """Return the number of steps T."""
        return self.n_levels - 1

    def by_step(self, values: Tensor) -> Tensor:
        """Return values of edges without those of the first step: [E, R] -> [T-1, M, M, R], from node i to node j."""
        return values[self.n_nodes :].unflatten(0, (self.n_steps - 1, self.n_nodes, self.n_nodes))


def line_graph(nodes: Tensor, n_steps: int, log_density: Tensor) -> LineGraph:
    """Return the graph of n_steps between nodes [M] of equal spacing; log_density [M]: log R of each."""
    m, device = len(nodes), nodes.device
    spacing = float(nodes[-1] - nodes[0]) / (m - 1)
    row = torch.arange(m, device=device)
    before = 1 + m * torch.arange(n_steps - 1, device=device)[:, None]  # first row of each time but the last
    here, there = before[:, :, None] + row[:, None], before[:, :, None] + m + row
    source = torch.cat([torch.zeros_like(row), here.expand(-1, m, m).flatten()])
    target = torch.cat([1 + row, there.expand(-1, m, m).flatten()])
    n_states, n_edges = 1 + n_steps * m, len(source)
    log_reward = torch.full((n_states,), -torch.inf, dtype=torch.float64, device=device)
    log_reward[-m:] = log_density.double() + math.log(spacing)
    column = nodes.double()[:, None]
    edges_until = [0, *(m + m * m * k for k in range(n_steps))]
    return LineGraph(
        states=torch.cat([torch.zeros_like(column[:1]), column.repeat(n_steps, 1)]),
        source=source,
        target=target,
        forward_action=target,
        backward_action=source,
        log_reward=log_reward,
        level_offsets=(0, *(1 + m * k for k in range(n_steps + 1))),
        in_offsets=(0, *edges_until),
        out_order=torch.arange(n_edges, device=device),
        out_offsets=(*edges_until, n_edges),
        n_actions=n_states + 1,
        n_backward_actions=n_states,
        nodes=column,
        spacing=spacing,
    )


def line_policies(sampler: KernelSampler, graph: LineGraph, tilt: GaussianTilt | None = None) -> EdgePolicies:
    """Return both policies between the nodes, P_F tilted where a tilt is given; they are differentiable."""
    start, forward, backward = sampler.log_kernels(graph.nodes.to(sampler.log_Z.dtype), tilt)
    log_spacing = math.log(graph.spacing)

    def edges(first: Tensor, later: Tensor) -> Tensor:
        return torch.cat([first.T, later.permute(1, 2, 3, 0).flatten(0, 2)]).double()

    log_pf = edges(start, forward) + log_spacing
    log_pb = edges(torch.full_like(start, -log_spacing), backward) + log_spacing
    return EdgePolicies(graph, log_pf, log_pb, log_pf.new_zeros(graph.n_states, log_pf.shape[1]))


def line_flows(sampler: KernelSampler, graph: LineGraph) -> Tensor:
    """Return log F of every state, R at time T: [S, R]; 0 at the source, whose flow is Z."""
    inner = sampler.log_flows_at(graph.nodes.to(sampler.log_Z.dtype)).double() + math.log(graph.spacing)
    at_end = graph.log_reward[-graph.n_nodes :, None].expand(-1, len(inner))
    return torch.cat([torch.zeros_like(at_end[:1]), inner.permute(1, 2, 0).flatten(0, 1), at_end])
