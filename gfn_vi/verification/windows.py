"""Sub-trajectories between two layers of a state graph that was made graded by dummy states.

They are what theorem 5 is about (arXiv 2210.00580, Proposition 2). The layer of a state is the length of the longest path to it.
An edge that skips layers is a chain through dummy states: its P_F is paid on the first step, its P_B on the last. A trajectory
that ended in x stays there, state by state, to the last layer. A window from layer a to layer b is a graph of its own, whose
nodes are

    states with a <= layer <= b        start dummies: edges s -> t with layer(s) < a < layer(t)
    objects x that ended before a      end dummies: edges s -> t with a <= layer(s) < b < layer(t)

so that no chain of dummies has to be written out. Flows F_k on junction states are arbitrary and fixed, F_K = R.

On a line of nodes the last layer is that of the ends, whose stop step is certain, and flows lie where P_F and P_B go: a line has
ends, and beyond them the steps from the nodes close by are lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph, build_state_graph
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, backward_pass, elbo, eubo, forward_pass
from gfn_vi.evaluation.exact.expectations import GraphExpectations
from gfn_vi.evaluation.exact.line_graph import LineGraph
from gfn_vi.evaluation.exact.visits import backward_visits, forward_visits


@dataclass(frozen=True)
class NodeFlows:
    """Arbitrary log F of junction states, the same at every junction but the last.

    states, ended [S]: of states and of ended objects; dummies [E].
    """

    states: Tensor
    dummies: Tensor
    ended: Tensor


def node_flows(policies: EdgePolicies) -> NodeFlows:
    """Return arbitrary log-flows, different for every node: the theorem holds for all.

    They are of order one; on a line of nodes they are of order one beside the smaller one of the probabilities with which P_F and
    P_B visit a node, so that windows lose at most a few times what these do. A line is for one replica.
    """
    graph = policies.graph

    def wave(n: int, phase: float) -> Tensor:
        number = torch.arange(n, dtype=torch.float64, device=graph.source.device)
        return (1.7 * number + phase).sin() + 0.5 * (0.3 * number).cos()

    of_states = wave(graph.n_states, 0.0)
    if isinstance(graph, LineGraph):
        of_states = of_states + torch.minimum(forward_visits(policies).states, backward_visits(policies).states)[:, 0].log()
    return NodeFlows(of_states, wave(len(graph.source), 1.0), wave(graph.n_states, 2.0))


def n_layers(graph: StateGraph) -> int:
    """Return the last junction: the layer behind the last state, which trajectories stop in; of a line, its number of steps."""
    return graph.n_steps if isinstance(graph, LineGraph) else graph.n_levels


def layers(graph: StateGraph) -> Tensor:
    """Return the layer of every state, the length of the longest path to it: [S] long."""
    sizes = torch.tensor(graph.level_offsets, device=graph.source.device).diff()
    return torch.repeat_interleave(torch.arange(graph.n_levels, device=graph.source.device), sizes)


def windows(policies: EdgePolicies, junctions: Sequence[int], log_flow: NodeFlows) -> Iterator[Window]:
    """Yield one window for each pair of neighboring junctions 0 = m_0 < ... < m_K = n_layers(graph)."""
    last = n_layers(policies.graph)
    if junctions[0] != 0 or junctions[-1] != last or any(a >= b for a, b in pairwise(junctions)):
        raise ValueError(f"junctions {list(junctions)}: expected 0 < ... < {last}, increasing")
    for a, b in pairwise(junctions):
        yield Window(policies, a, policies.graph.n_levels if b == last else b, log_flow)


class Window:
    """All sub-trajectories from layer a to layer b, their distributions p-hat and p-check, and what Proposition 2 compares."""

    def __init__(self, policies: EdgePolicies, a: int, b: int, log_flow: NodeFlows) -> None:
        graph, layer = policies.graph, layers(policies.graph)
        final = b == graph.n_levels
        before, after = layer[graph.source], layer[graph.target]
        can_stop = graph.log_reward > -torch.inf
        state = ((layer >= a) & (layer <= b)).nonzero()[:, 0]
        begun = ((before < a) & (after > a)).nonzero()[:, 0]  # edges whose chain holds a start dummy
        left = ((before >= a) & (before < b) & (after > b)).nonzero()[:, 0]  # and an end dummy
        ended = (can_stop & (layer < a)).nonzero()[:, 0]
        inside = ((before >= a) & (after <= b)).nonzero()[:, 0]
        arriving = (after[begun] <= b).nonzero()[:, 0]  # the other start dummies are end dummies, too

        number = torch.full_like(layer, -1)
        number[state] = torch.arange(len(state), device=layer.device)
        n_state, n_begun, n_left = len(state), len(begun), len(left)
        begun_number = n_state + torch.arange(n_begun, device=layer.device)
        left_number = n_state + n_begun + torch.arange(n_left, device=layer.device)
        source = torch.cat([number[graph.source[inside]], number[graph.source[left]], begun_number[arriving]])
        target = torch.cat([number[graph.target[inside]], left_number, number[graph.target[begun[arriving]]]])

        ended_flow = graph.log_reward if final else log_flow.ended
        stop_here = can_stop[state] & (layer[state] < b)
        at_end = torch.where(layer[state] == b, log_flow.states[state], -math.inf)
        potential = torch.cat(
            [
                ended_flow[state].where(stop_here, at_end),
                log_flow.dummies[begun].masked_fill(after[begun] <= b, -math.inf),
                log_flow.dummies[left],
                ended_flow[ended],
            ]
        )
        closed = log_flow.dummies.new_full((n_left,), -math.inf)
        at_start = log_flow.states[state].masked_fill(layer[state] != a, -math.inf)
        start = torch.cat([at_start, log_flow.dummies[begun], closed, log_flow.ended[ended]])

        nowhere = torch.zeros_like(source)
        nodes = torch.arange(len(start), device=layer.device)[:, None]
        own, rank = build_state_graph(nodes, source, target, nowhere, nowhere, potential, 1, 1)
        edge = self._edge_order(own, source, target, rank)
        free = policies.log_pf.new_zeros(1, policies.log_pf.shape[1])  # a step of probability one
        pf = torch.cat([policies.log_pf[inside], policies.log_pf[left], free.expand(len(arriving), -1)])[edge]
        pb = torch.cat([policies.log_pb[inside], free.expand(n_left, -1), policies.log_pb[begun[arriving]]])[edge]
        stop = torch.cat([policies.log_stop[state] * stop_here[:, None], free.expand(len(start) - n_state, -1)])
        order = rank.argsort()
        self.policies = EdgePolicies(own, pf, pb, stop[order])
        self.log_start = start[order][:, None].expand(-1, pf.shape[1])
        self.start = self.log_start.softmax(0)  # p-hat at its first state
        self.began = self.start > 0

    @staticmethod
    def _edge_order(own: StateGraph, source: Tensor, target: Tensor, rank: Tensor) -> Tensor:
        """Return where each edge of `own` is in the lists it was built of."""
        n = own.n_states
        return torch.argsort(rank[source] * n + rank[target])[torch.argsort(torch.argsort(own.source * n + own.target))]

    def square(self, role: Role) -> Tensor:
        """Return E of the squared sub-trajectory residual, under p-hat for P_F and under p-check for P_B: [R]."""
        visits = forward_visits(self.policies, self.start) if role is Role.FORWARD else backward_visits(self.policies)
        log_start = self.log_start.where(self.began, 0.0)
        return GraphExpectations(self.policies, log_start[0], visits).square(log_start)

    def divergence(self, role: Role) -> Tensor:
        """Return KL(p-hat, p-check) for P_F, and KL(p-check, p-hat) for P_B: [R]."""
        p, log_start = self.policies, self.start.log().where(self.began, 0.0)
        if role is Role.FORWARD:
            visits = forward_pass(p.graph, p.log_pf.exp(), self.start)
            return (self.start * log_start).sum(0) - elbo(p, visits) + p.graph.log_partition
        ends = p.graph.log_target.exp()[:, None].expand_as(self.start)
        visits = backward_pass(p.graph, p.log_pb.exp(), ends)
        return eubo(p) - p.graph.log_partition - (visits * log_start).sum(0)
