"""Exact sums over all trajectories by passes over the levels of a state graph, batched over replicas, differentiable.

Both passes solve a linear recursion over the edges e = (s -> s') with weights w:

    forward:   v(s') = init(s') + sum over e into s' of w_e v(s)        (visit probabilities, when w = P_F)
    backward:  v(s)  = init(s)  + sum over e out of s of w_e v(s')      (values to go)

Each is the transpose of the other, so the gradient of one is one pass of the other: d/d init = the other pass of the incoming
gradient g, d/d w_e = g_adjoint at one end times v at the other. Tables have the replica axis last ([S, R], [E, R]): a row per
state is what index_add copies fastest. All in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph


def _forward(graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
    values = init.clone()
    by_level = weights.split([len(source) for source, _ in graph.in_levels])
    for (source, target), weight in zip(graph.in_levels, by_level, strict=True):
        values.index_add_(0, target, values.index_select(0, source).mul_(weight))
    return values


def _backward(graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
    values = init.clone()
    by_level = weights[graph.out_order].split([len(source) for source, _ in graph.out_levels])
    for (source, target), weight in zip(reversed(graph.out_levels), reversed(by_level), strict=True):
        values.index_add_(0, source, values.index_select(0, target).mul_(weight))
    return values


class _ForwardPass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
        values = _forward(graph, weights, init)
        ctx.graph = graph
        ctx.save_for_backward(weights, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        adjoint = _backward(ctx.graph, weights, grad)
        return None, adjoint[ctx.graph.target] * values[ctx.graph.source], adjoint


class _BackwardPass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
        values = _backward(graph, weights, init)
        ctx.graph = graph
        ctx.save_for_backward(weights, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        adjoint = _forward(ctx.graph, weights, grad)
        return None, adjoint[ctx.graph.source] * values[ctx.graph.target], adjoint


def forward_pass(graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
    """Return the solution of v(s') = init(s') + sum of w_e v(s): weights [E, R], init [S, R] -> [S, R]."""
    return _ForwardPass.apply(graph, weights, init)


def backward_pass(graph: StateGraph, weights: Tensor, init: Tensor) -> Tensor:
    """Return the solution of v(s) = init(s) + sum of w_e v(s'): weights [E, R], init [S, R] -> [S, R]."""
    return _BackwardPass.apply(graph, weights, init)


@dataclass(frozen=True)
class EdgePolicies:
    """Both policies on a state graph, in float64, with the replica axis last.

    log_pf, log_pb [E, R]: on the edges; log_stop [S, R]: log P_F(stop | s), 0 where stopping is illegal (see `stops`).
    """

    graph: StateGraph
    log_pf: Tensor
    log_pb: Tensor
    log_stop: Tensor

    @property
    def stops(self) -> Tensor:
        """Return whether the stop action is legal at each state: [S, 1] bool."""
        return (self.graph.log_reward > -torch.inf)[:, None]

    @property
    def stop_probability(self) -> Tensor:
        """Return P_F(stop | s): [S, R], 0 where stopping is illegal."""
        return self.log_stop.exp() * self.stops


def edge_policies(graph: StateGraph, log_pf: Tensor, log_pb: Tensor) -> EdgePolicies:
    """Return the policies on the edges from tables over the graph's states: log_pf [R, S, A], log_pb [R, S, A']."""
    n_replicas, _, n_actions = log_pf.shape
    forward = log_pf.reshape(n_replicas, -1).index_select(1, graph.source * n_actions + graph.forward_action)
    n_backward = log_pb.shape[2]
    backward = log_pb.reshape(n_replicas, -1).index_select(1, graph.target * n_backward + graph.backward_action)
    stops = (graph.log_reward > -torch.inf)[:, None]
    log_stop = log_pf[..., -1].T.double().masked_fill(~stops, 0.0)
    return EdgePolicies(graph, forward.T.double(), backward.T.double(), log_stop)


def at_source(graph: StateGraph, like: Tensor) -> Tensor:
    """Return 1 at the source state and 0 elsewhere: [S, R], with the R and the device of `like` [..., R]."""
    init = torch.zeros(graph.n_states, like.shape[1], dtype=torch.float64, device=like.device)
    init[0] = 1.0
    return init


def visit_probability(policies: EdgePolicies) -> Tensor:
    """Return the probability that P_F visits each state: [S, R]."""
    return forward_pass(policies.graph, policies.log_pf.exp(), at_source(policies.graph, policies.log_pf))


def terminating_probability(policies: EdgePolicies) -> Tensor:
    """Return P_T(x), the probability that P_F ends in each state: [S, R], 0 where stopping is illegal."""
    return visit_probability(policies) * policies.stop_probability


def elbo(policies: EdgePolicies, visits: Tensor) -> Tensor:
    """Return the evidence lower bound -E_{P_F}[l]: visits [S, R] from visit_probability -> [R]."""
    graph, stops = policies.graph, policies.stops
    flow = visits[graph.source] * policies.log_pf.exp()
    moves = (flow * (policies.log_pb - policies.log_pf)).sum(0)
    log_reward = graph.log_reward[:, None].masked_fill(~stops, 0.0)
    return moves + (visits * policies.stop_probability * (log_reward - policies.log_stop)).sum(0)


def eubo(policies: EdgePolicies) -> Tensor:
    """Return the evidence upper bound -E_{P_B}[l] with x drawn from the normalized target: [R]."""
    graph, stops = policies.graph, policies.stops
    target = graph.log_target.exp()[:, None].expand(-1, policies.log_pf.shape[1])
    backward = policies.log_pb.exp()
    visits = backward_pass(graph, backward, target)
    moves = (visits[graph.target] * backward * (policies.log_pb - policies.log_pf)).sum(0)
    log_reward = graph.log_reward[:, None].masked_fill(~stops, 0.0)
    return moves + (target * (log_reward - policies.log_stop)).sum(0)


def effective_sample_fraction(policies: EdgePolicies) -> Tensor:
    """Return (E w)^2 / E w^2 of the weights w = R P_B / P_F under P_F, in [0, 1]: [R].

    E w^2 sums R^2 P_B^2 / P_F over all trajectories: a forward pass with edge weights P_B^2 / P_F. 0 if that overflows.
    """
    return visits_and_sample_fraction(policies)[1]


def visits_and_sample_fraction(policies: EdgePolicies) -> tuple[Tensor, Tensor]:
    """Return visit_probability [S, R] and effective_sample_fraction [R] from one pass over the levels."""
    graph, n_replicas = policies.graph, policies.log_pf.shape[1]
    weights = torch.cat([policies.log_pf, 2 * policies.log_pb - policies.log_pf], 1).exp()
    visits, reached = forward_pass(graph, weights, at_source(graph, weights)).split(n_replicas, 1)
    log_target = graph.log_target[:, None]
    ended = (reached * (2 * log_target - policies.log_stop).exp()).where(policies.stops, 0.0)
    overflow = (reached.isinf() | ended.isinf()).any(0)
    return visits, (1 / ended.sum(0)).masked_fill(overflow, 0.0)
