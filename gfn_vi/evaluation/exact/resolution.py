"""What a line of nodes misses: mass beyond its ends, and what lies between the nodes. Both are measured, per replica.

Mass: at every visited node the probabilities of all steps, forward and backward, should sum to 1. Resolution: the trapezoidal
rule's error for smooth functions is exp(-c / spacing^2), so an error e with every other node left out means about e^4 with all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
from gfn_vi.evaluation.exact.line_graph import LineGraph, line_graph
from gfn_vi.evaluation.exact.visits import backward_visits

# Of E w^2, a share at the ends of the line above which it is not known: it may well be infinite.
LARGEST_SHARE_AT_ENDS = 1e-9


@dataclass(frozen=True)
class Resolution:
    """lost [R]: probability that the line misses; visits [M, R]: the largest probability of each node at any time, of P_F or P_B.

    change [R]: of ELBO, EUBO or log Z, the largest, in nats, when every other node is left out.
    """

    lost: Tensor
    visits: Tensor
    change: Tensor


@torch.no_grad()
def resolution(policies: EdgePolicies) -> Resolution:
    """Measure what the policies [E, R] on a LineGraph miss; an odd number of nodes."""
    graph = policies.graph
    assert isinstance(graph, LineGraph)
    forward, backward = visit_probability(policies), backward_visits(policies).states
    after, before = graph.by_time(forward), graph.by_time(backward)
    log_pf, log_pb = graph.by_step(policies.log_pf), graph.by_step(policies.log_pb)
    first = policies.log_pf[: graph.n_nodes].exp().sum(0)
    lost = (1 - first).abs() + ((1 - log_pf.exp().sum(2)).abs() * after[:-1]).sum((0, 1))
    lost = lost + ((1 - log_pb.exp().sum(1)).abs() * before[1:]).sum((0, 1)) + (1 - after[-1].sum(0)).abs()
    whole, part = _bounds(policies, forward), _bounds(_every_other(policies))
    return Resolution(lost, torch.maximum(after, before).amax(0), (whole - part).abs().amax(0))


def _bounds(policies: EdgePolicies, visits: Tensor | None = None) -> Tensor:
    """Return ELBO, EUBO and log Z: [3, R]."""
    visits = visit_probability(policies) if visits is None else visits
    lower = elbo(policies, visits)
    return torch.stack([lower, eubo(policies), policies.graph.log_partition.expand_as(lower)])


def _every_other(policies: EdgePolicies) -> EdgePolicies:
    """Return the policies on every other node, the first and the last among them."""
    graph = policies.graph
    assert isinstance(graph, LineGraph)
    log_density = graph.log_reward[-graph.n_nodes :] - math.log(graph.spacing)
    half = line_graph(graph.nodes[::2, 0], graph.n_steps, log_density[::2])
    m, wider = graph.n_nodes, math.log(half.spacing / graph.spacing)

    def thinned(values: Tensor, first: float) -> Tensor:
        later = graph.by_step(values)[:, ::2, ::2].flatten(0, 2) + wider
        return torch.cat([values[:m:2] + first, later])

    log_pf, log_pb = thinned(policies.log_pf, wider), thinned(policies.log_pb, 0.0)
    return EdgePolicies(half, log_pf, log_pb, log_pf.new_zeros(half.n_states, log_pf.shape[1]))


@torch.no_grad()
def has_second_moment(policies: EdgePolicies) -> Tensor:
    """Return whether E w^2 of w = R P_B / P_F under P_F is a sum over the line, of which nothing lies at its ends: [R] bool."""
    graph = policies.graph
    assert isinstance(graph, LineGraph)
    weights = (2 * policies.log_pb - policies.log_pf).exp()
    reached = forward_pass(graph, weights, at_source(graph, weights))
    to_go = backward_pass(graph, weights, (2 * graph.log_target).exp()[:, None].expand(-1, weights.shape[1]))
    share = graph.by_time(reached * to_go) / to_go[0]
    return share[:, (0, -1)].amax((0, 1)) < LARGEST_SHARE_AT_ENDS
