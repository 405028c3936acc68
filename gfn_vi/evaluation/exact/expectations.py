"""Exact expectations of losses and divergences over all trajectories, differentiable, by passes over a state graph.

What depends on a trajectory is a sum of local terms: l(tau) = sum over edges of g_e + h_x with g = log P_F - log P_B and
h_x = log P_F(stop | x) - log R(x), and u = log Z + l. Expectations of sums are sums of (probability x local term). The gradient
of E[u^2] under a fixed measure needs the mean of u given an edge: mean of what came before + g_e + mean of what comes after, two
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
from gfn_vi.evaluation.exact.line_graph import LineGraph
from gfn_vi.evaluation.exact.line_moments import line_log_power
from gfn_vi.evaluation.exact.subtrajectories import subtrajectory_square
from gfn_vi.evaluation.exact.visits import Visits

Penalty = Callable[[Tensor], Tensor]


class GraphExpectations:
    """The protocol Expectations on a state graph: averages under `visits`, divergences between P_F and P_B."""

    def __init__(self, policies: EdgePolicies, log_Z: Tensor, visits: Visits, log_flow: Tensor | None = None) -> None:
        """visits: the distribution over trajectories; log_Z [R]; log_flow [S, R]: learned log F, where an objective needs it."""
        self.policies, self.graph, self.log_Z, self.visits, self._log_flow = policies, policies.graph, log_Z, visits, log_flow
        self.gain = policies.log_pf - policies.log_pb
        log_reward = self.graph.log_reward[:, None].masked_fill(~policies.stops, 0.0)
        self.end = (policies.log_stop - log_reward) * policies.stops

    # -- under the visits ---------------------------------------------------------------------------------------------

    def log_ratio(self) -> Tensor:
        """Return the expectation E[l]: [R]."""
        return (self.visits.edges * self.gain).sum(0) + (self.visits.stops * self.end).sum(0)

    def residual_square(self) -> Tensor:
        """Return the expectation E[u^2]: [R]."""
        start = at_source(self.graph, self.gain) * self.log_Z
        return self.square(start)

    def log_ratio_variance(self) -> Tensor:
        """Return the variance Var[l] = E[(l - E l)^2], whose gradient has no part that goes through E l: [R]."""
        return self.square(at_source(self.graph, self.gain) * -self.log_ratio().detach())

    def square(self, log_start: Tensor) -> Tensor:
        """Return E[(log_start + l)^2] with log_start [S, R] at the state that a trajectory starts from: [R]."""
        visits, graph = self.visits, self.graph
        with torch.no_grad():
            kernel, gain = visits.edge_kernel, self.gain
            taken = visits.edges * gain
            init = (visits.start * log_start).index_add(0, graph.target, taken)
            before = forward_pass(graph, kernel, init) / visits.states.where(visits.states > 0, 1.0)
            init = (visits.stop_kernel * self.end).index_add(0, graph.source, kernel * gain)
            after = backward_pass(graph, kernel, init)
            on_edge = visits.edges * (before[graph.source] + gain + after[graph.target])
            on_stop = visits.stops * (before + self.end)
            on_start = visits.start * (log_start + after)
        # E[u u] with one u replaced by the sum of its local terms: the value of E[u^2], and half its gradient
        half = (on_edge * self.gain).sum(0) + (on_stop * self.end).sum(0) + (on_start * log_start).sum(0)
        return 2 * half - half.detach()

    def steps(self, penalty: Penalty) -> Tensor:
        """Return E[sum over steps, the stop step too, of penalty(log F(s) + log P_F - log F(s') - log P_B)], F learned: [R]."""
        return self._steps(penalty, self._learned_flow())

    def steps_between_stops(self, penalty: Penalty) -> Tensor:
        """Return what `steps` returns with F(s) = R(s) / P_F(stop | s): [R]; only where every state can stop."""
        return self._steps(penalty, -self.end)

    def _steps(self, penalty: Penalty, log_flow: Tensor) -> Tensor:
        residual = log_flow[self.graph.source] + self.gain - log_flow[self.graph.target]
        return (self.visits.edges * penalty(residual)).sum(0) + (self.visits.stops * penalty(log_flow + self.end)).sum(0)

    def inflows(self, penalty: Penalty) -> Tensor:
        """Return E[sum over visited s but s_0 of penalty(log inflow - log F) + penalty(log F + log P_F(stop) - log R)]: [R]."""
        log_flow, graph = self._learned_flow(), self.graph
        edge = log_flow[graph.source] + self.policies.log_pf
        index = graph.target[:, None].expand_as(edge)
        top = torch.full_like(log_flow, -torch.inf).scatter_reduce(0, index, edge.detach(), "amax")
        has_parent = top > -torch.inf
        top = top.where(has_parent, 0.0)
        total = torch.zeros_like(top).index_add(0, graph.target, (edge - top[graph.target]).exp())
        inflow = top + total.where(has_parent, 1.0).log()
        matching = (inflow - log_flow).where(has_parent, 0.0)
        return (self.visits.states * penalty(matching)).sum(0) + (self.visits.stops * penalty(log_flow + self.end)).sum(0)

    def subtrajectories(self, lamda: float) -> Tensor:
        """Return E[weighted mean over pairs i < j of squared residuals] with weights lamda^(j - i): [R]."""
        stop_is_step = not isinstance(self.graph, LineGraph)
        return subtrajectory_square(self.visits, self.gain, self.end, self._learned_flow(), lamda, stop_is_step)

    def _learned_flow(self) -> Tensor:
        if self._log_flow is None:
            raise ValueError("the sampler has no learned flow")
        source = at_source(self.graph, self.gain)
        return self._log_flow.where(source == 0, self.log_Z)

    # -- between P_F and P_B, whatever the visits ---------------------------------------------------------------------

    def elbo(self) -> Tensor:
        """Return -E_{P_F}[l] = log Zhat - KL(P_F, P_B), differentiable in P_F's visits, too: [R]."""
        return elbo(self.policies, visit_probability(self.policies))

    def eubo(self) -> Tensor:
        """Return -E_{P_B}[l] = log Zhat + KL(P_B, P_F), differentiable in P_B's visits, too: [R]."""
        return eubo(self.policies)

    def kl_forward_backward(self) -> Tensor:
        """Return the divergence KL(P_F, P_B): [R]."""
        return self.graph.log_partition - self.elbo()

    def kl_backward_forward(self) -> Tensor:
        """Return the divergence KL(P_B, P_F): [R]."""
        return self.eubo() - self.graph.log_partition

    def log_power(self, alpha: float) -> Tensor:
        """Return the log of the sum over trajectories of P_F^alpha (R P_B)^(1 - alpha): [R]; not finite where that overflows."""
        p = self.policies
        if isinstance(self.graph, LineGraph):
            return line_log_power(p, alpha)
        weights = (alpha * p.log_pf + (1 - alpha) * p.log_pb).exp()
        reached = forward_pass(self.graph, weights, at_source(self.graph, weights))
        log_reward = self.graph.log_reward[:, None].masked_fill(~p.stops, 0.0)
        return (reached * (alpha * p.log_stop + (1 - alpha) * log_reward).exp() * p.stops).sum(0).log()

    def log_source_flow(self) -> Tensor:
        """Return log R(s_0) - log P_F(stop | s_0), where s_0 can stop: [R]."""
        return -self.end[0]
