"""Exact expectations of losses and divergences over all trajectories, differentiable, by passes over a state graph.

What depends on a trajectory is a sum of local terms: l(tau) = sum over edges of g_e + h_x with g = log P_F - log P_B and
h_x = log P_F(stop | x) - log R(x), and u = log Z + l. Expectations of sums are sums of (flow x local term). The gradient of
E[u^2] under a fixed measure needs the mean of u given an edge: mean of what came before + g_e + mean of what comes after, two
passes. That of a KL divergence goes through the visit probabilities, whose adjoint is one more pass.

Conventions: tables [S, R] over states and [E, R] over edges, float64; results [R].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.evaluation.exact.dynamic_programming import (
    EdgePolicies,
    at_source,
    backward_pass,
    elbo,
    eubo,
    forward_pass,
    visit_probability,
)
from gfn_vi.evaluation.exact.subtrajectories import subtrajectory_square
from gfn_vi.evaluation.exact.visits import Visits

Penalty = Callable[[Tensor], Tensor]


class GraphExpectations:
    """Implements core.protocols.Expectations on a state graph: averages under `flows`, divergences between P_F and P_B."""

    def __init__(self, policies: EdgePolicies, log_Z: Tensor, flows: Visits, log_flow: Tensor | None = None) -> None:
        """log_Z [R]; log_flow [S, R]: learned log F, for the objectives that need it."""
        self.policies, self.graph, self.log_Z, self.flows, self._log_flow = policies, policies.graph, log_Z, flows, log_flow
        self.gain = policies.log_pf - policies.log_pb
        log_reward = self.graph.log_reward[:, None].masked_fill(~policies.stops, 0.0)
        self.end = (policies.log_stop - log_reward) * policies.stops

    # -- under the flows ----------------------------------------------------------------------------------------------

    def log_ratio(self) -> Tensor:
        """E[l]."""
        return (self.flows.edges * self.gain).sum(0) + (self.flows.stops * self.end).sum(0)

    def residual_square(self) -> Tensor:
        """E[u^2]."""
        start = at_source(self.graph, self.gain) * self.log_Z
        return self.square(start)

    def log_ratio_variance(self) -> Tensor:
        """Var[l] = E[(l - E l)^2], whose gradient has no part that goes through E l."""
        return self.square(at_source(self.graph, self.gain) * -self.log_ratio().detach())

    def square(self, log_start: Tensor) -> Tensor:
        """E[(log_start + l)^2] with log_start [S, R] at the state that a trajectory starts from."""
        flows, graph = self.flows, self.graph
        with torch.no_grad():
            kernel, gain = flows.edge_kernel, self.gain
            taken = flows.edges * gain
            init = (flows.start * log_start).index_add(0, graph.target, taken)
            before = forward_pass(graph, kernel, init) / flows.visits.where(flows.visits > 0, 1.0)
            init = (flows.stop_kernel * self.end).index_add(0, graph.source, kernel * gain)
            after = backward_pass(graph, kernel, init)
            on_edge = flows.edges * (before[graph.source] + gain + after[graph.target])
            on_stop = flows.stops * (before + self.end)
            on_start = flows.start * (log_start + after)
        # E[u u] with one u replaced by the sum of its local terms: the value of E[u^2], and half its gradient
        half = (on_edge * self.gain).sum(0) + (on_stop * self.end).sum(0) + (on_start * log_start).sum(0)
        return 2 * half - half.detach()

    def steps(self, penalty: Penalty) -> Tensor:
        """E[sum over steps of penalty(log F(s) + log P_F - log F(s') - log P_B)], the stop step included, F learned."""
        return self._steps(penalty, self._learned_flow())

    def steps_between_stops(self, penalty: Penalty) -> Tensor:
        """The same with F(s) = R(s) / P_F(stop | s); only where every state can stop."""
        return self._steps(penalty, -self.end)

    def _steps(self, penalty: Penalty, log_flow: Tensor) -> Tensor:
        residual = log_flow[self.graph.source] + self.gain - log_flow[self.graph.target]
        return (self.flows.edges * penalty(residual)).sum(0) + (self.flows.stops * penalty(log_flow + self.end)).sum(0)

    def inflows(self, penalty: Penalty) -> Tensor:
        """E[sum over visited states but s_0 of penalty(log inflow - log F) + penalty(log F + log P_F(stop) - log R)]."""
        log_flow, graph = self._learned_flow(), self.graph
        edge = log_flow[graph.source] + self.policies.log_pf
        index = graph.target[:, None].expand_as(edge)
        top = torch.full_like(log_flow, -torch.inf).scatter_reduce(0, index, edge.detach(), "amax")
        has_parent = top > -torch.inf
        top = top.where(has_parent, 0.0)
        total = torch.zeros_like(top).index_add(0, graph.target, (edge - top[graph.target]).exp())
        inflow = top + total.where(has_parent, 1.0).log()
        matching = (inflow - log_flow).where(has_parent, 0.0)
        return (self.flows.visits * penalty(matching)).sum(0) + (self.flows.stops * penalty(log_flow + self.end)).sum(0)

    def subtrajectories(self, lamda: float) -> Tensor:
        """E[weighted mean over pairs i < j of squared residuals], weights lamda^(j - i)."""
        return subtrajectory_square(self.flows, self.gain, self.end, self._learned_flow(), lamda)

    def _learned_flow(self) -> Tensor:
        if self._log_flow is None:
            raise ValueError("the sampler has no learned flow")
        source = at_source(self.graph, self.gain)
        return self._log_flow.where(source == 0, self.log_Z)

    # -- between P_F and P_B, whatever the flows ----------------------------------------------------------------------

    def elbo(self) -> Tensor:
        """-E_{P_F}[l] = log Zhat - KL(P_F, P_B), differentiable in P_F's visits, too."""
        return elbo(self.policies, visit_probability(self.policies))

    def eubo(self) -> Tensor:
        """-E_{P_B}[l] = log Zhat + KL(P_B, P_F), differentiable in P_B's visits, too."""
        return eubo(self.policies)

    def kl_forward_backward(self) -> Tensor:
        """KL(P_F, P_B)."""
        return self.graph.log_partition - self.elbo()

    def kl_backward_forward(self) -> Tensor:
        """KL(P_B, P_F)."""
        return self.eubo() - self.graph.log_partition

    def log_power(self, alpha: float) -> Tensor:
        """log of the sum over trajectories of P_F^alpha (R P_B)^(1 - alpha); not finite where that overflows."""
        p = self.policies
        weights = (alpha * p.log_pf + (1 - alpha) * p.log_pb).exp()
        reached = forward_pass(self.graph, weights, at_source(self.graph, weights))
        log_reward = self.graph.log_reward[:, None].masked_fill(~p.stops, 0.0)
        return (reached * (alpha * p.log_stop + (1 - alpha) * log_reward).exp() * p.stops).sum(0).log()

    def log_source_flow(self) -> Tensor:
        """log R(s_0) - log P_F(stop | s_0), where s_0 can stop."""
        return -self.end[0]
