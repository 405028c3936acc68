"""Sums over a line whose terms leave the range of float64: powers of densities, and the logarithm of P_T far from its mass.

P_B^2 / P_F of a single step grows without bound away from what is visited, and only the product over all steps is small. So sums
over paths are taken in logarithms, step by step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.line_graph import LineGraph

# Of E w^2, a share at the ends of the line above which it is not known: it may well be infinite.
LARGEST_SHARE_AT_ENDS = 1e-9


def _graph(policies: EdgePolicies) -> LineGraph:
    assert isinstance(policies.graph, LineGraph)
    return policies.graph


def _reached(policies: EdgePolicies, log_weights: Tensor) -> list[Tensor]:
    """Return the log of the sum over paths to each node of the product of edge weights [E, R], at times 1 .. T: [M, R] each."""
    graph = _graph(policies)
    found = [log_weights[: graph.n_nodes]]
    for step in graph.by_step(log_weights):
        found.append((found[-1][:, None] + step).logsumexp(0))
    return found


def line_log_power(policies: EdgePolicies, alpha: float) -> Tensor:
    """Return the log of the sum over paths of P_F^alpha (R P_B)^(1 - alpha), differentiable: [R]."""
    log_reward = _graph(policies).log_reward[-_graph(policies).n_nodes :, None]
    reached = _reached(policies, alpha * policies.log_pf + (1 - alpha) * policies.log_pb)
    return (reached[-1] + (1 - alpha) * log_reward).logsumexp(0)


@torch.no_grad()
def line_log_terminating(policies: EdgePolicies) -> Tensor:
    """Return the log-probability under P_T of each node at the last time: [M, R]."""
    return _reached(policies, policies.log_pf)[-1]


@torch.no_grad()
def line_sample_fraction(policies: EdgePolicies) -> Tensor:
    """Return (E w)^2 / E w^2 of w = R P_B / P_F under P_F: [R], 0 where E w^2 has a share at the ends of the line."""
    graph = _graph(policies)
    log_weights = 2 * policies.log_pb - policies.log_pf
    reached = _reached(policies, log_weights)
    to_go = [(2 * graph.log_target[-graph.n_nodes :, None]).expand_as(reached[0])]
    for step in graph.by_step(log_weights).flip(0):
        to_go.append((step + to_go[-1]).logsumexp(1))
    total = (reached[-1] + to_go[0]).logsumexp(0)
    share = (torch.stack(reached) + torch.stack(to_go[::-1]) - total)[:, (0, -1)].exp().amax((0, 1))
    return (-total).exp().masked_fill(share >= LARGEST_SHARE_AT_ENDS, 0.0)
