"""What a line of nodes misses: mass beyond its ends, and what lies between the nodes. Both are measured, per replica.

Mass: at every visited node the probabilities of all steps, forward and backward, should sum to 1. Resolution: the trapezoidal
rule's error is exp(-c / spacing^2) for Gaussians and polynomials, so that an error e with every other node left out means about
e^4 with all. The logarithm of a mixture is singular off the real line, where its density is 0: there it is exp(-c / spacing), and
e^2 is left. Steps are matrices here and not edges: a line is measured several times before it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.line_graph import LineGraph


@dataclass(frozen=True)
class Resolution:
    """lost [R]: probability that the line misses; outside [R]: that P_F ends where R is 0.

    visits [M, R]: the largest probability of each node at any time, of P_F or P_B; change [R]: of ELBO, EUBO or log Z, the
    largest, in nats, when every other node is left out.
    """

    lost: Tensor
    outside: Tensor
    visits: Tensor
    change: Tensor


@torch.no_grad()
def resolution(policies: EdgePolicies) -> Resolution:
    """Measure what the policies [E, R] on a LineGraph miss; an odd number of nodes."""
    whole, part = _Sums(policies, 1), _Sums(policies, 2)
    return Resolution(whole.lost, whole.outside, whole.visits, (whole.bounds - part.bounds).abs().amax(0))


class _Sums:
    """Sums over every stride-th node: bounds [3, R] (ELBO, EUBO, log Z), and what Resolution says of all of them."""

    def __init__(self, policies: EdgePolicies, stride: int) -> None:
        graph = policies.graph
        assert isinstance(graph, LineGraph)
        m, wider = graph.n_nodes, math.log(stride)
        log_pf, log_pb = graph.by_step(policies.log_pf), graph.by_step(policies.log_pb)
        self._steps = [(log_pf[k, ::stride, ::stride], log_pb[k, ::stride, ::stride]) for k in range(graph.n_steps - 1)]
        self._wider, self._first = wider, policies.log_pf[:m:stride] + wider
        log_reward = graph.log_reward[-m::stride, None] + wider
        log_Z = log_reward.logsumexp(0)
        possible = log_reward > -torch.inf
        log_reward = log_reward.masked_fill(~possible, 0.0)
        after, lower, lost = self._forward()
        target = ((log_reward - log_Z).exp() * possible).expand_as(after[-1])
        before, upper, lost_backward = self._backward(target)
        self.outside = (after[-1] * ~possible).sum(0)
        self.lost = lost + lost_backward + (1 - after[-1].sum(0)).abs()
        self.visits = torch.stack([*after, *before]).amax(0)
        ends = torch.stack([after[-1], target])
        self.bounds = torch.stack([*(torch.stack([lower, upper]) + (ends * log_reward).sum(1)), log_Z.expand_as(lower)])

    def _forward(self) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the visits of P_F at every time, E_{P_F}[log P_B - log P_F], and the probability that is lost."""
        visits = [self._first.exp()]
        total, lost = -(visits[0] * self._first).sum(0), (1 - visits[0].sum(0)).abs()
        for log_pf, log_pb in self._steps:
            kernel = (log_pf + self._wider).exp()
            lost = lost + ((1 - kernel.sum(1)).abs() * visits[-1]).sum(0)
            flow = visits[-1][:, None] * kernel
            total = total + (flow * (log_pb - log_pf)).sum((0, 1))
            visits.append(flow.sum(0))
        return visits, total, lost

    def _backward(self, target: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the visits of P_B from the last time on, E_{P_B}[log P_B - log P_F], and the probability that is lost."""
        visits, total, lost = [target], torch.zeros_like(target[0]), torch.zeros_like(target[0])
        for log_pf, log_pb in reversed(self._steps):
            kernel = (log_pb + self._wider).exp()
            lost = lost + ((1 - kernel.sum(0)).abs() * visits[-1]).sum(0)
            flow = kernel * visits[-1]
            total = total + (flow * (log_pb - log_pf)).sum((0, 1))
            visits.append(flow.sum(1))
        return visits, total - (visits[-1] * self._first).sum(0), lost
