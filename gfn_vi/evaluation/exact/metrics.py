"""Exact metrics of a sampler on an enumerable target. Definitions: docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget, GraphTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.evaluation.dags.metrics import exact_graph_metrics
from gfn_vi.evaluation.exact.dynamic_programming import (
    EdgePolicies,
    edge_policies,
    elbo,
    eubo,
    terminating_probability,
    visits_and_sample_fraction,
)
from gfn_vi.evaluation.exact.policies import PolicySampler

# Rows (states times replicas) that go through a network at once.
LARGEST_CHUNK = 2**17


def policies_on_graph(sampler: PolicySampler, graph: StateGraph) -> EdgePolicies:
    """Evaluate both policies on every state of the graph, once; differentiable."""
    forward = tabulated(graph, sampler.n_replicas, sampler.forward_log_probs)
    return edge_policies(graph, forward, tabulated(graph, sampler.n_replicas, sampler.backward_log_probs))


def tabulated(graph: StateGraph, n_replicas: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function: states [R, N, *state] -> [R, N, ...], on every state: [R, S, ...]."""
    # in chunks: hidden layers of a million states and many replicas would not fit in memory
    chunks = graph.states.split(max(1, LARGEST_CHUNK // n_replicas))
    return torch.cat([function(chunk.expand(n_replicas, *chunk.shape)) for chunk in chunks], 1)


@torch.no_grad()
def terminating_distribution(sampler: PolicySampler, graph: StateGraph) -> Tensor:
    """P_T of every replica: [R, S] float64."""
    return terminating_probability(policies_on_graph(sampler, graph)).T


def divergences(log_target: Tensor, terminating: Tensor) -> dict[str, Tensor]:
    """Between the target pi (log pi [S]) and P_T [S, R], natural logs, each [R].

    jsd; total_variation = l1 / 2; l1; kl_forward = KL(pi, P_T); kl_reverse = KL(P_T, pi). States that cannot stop have
    probability 0 under both and contribute nothing.
    """
    p, q = log_target.exp()[:, None], terminating
    possible = p > 0
    log_p = log_target[:, None].masked_fill(~possible, 0.0)
    log_q = q.clamp(min=torch.finfo(q.dtype).tiny).log()  # only ever multiplied by q or, where q underflows, see below
    log_m = ((p + q) / 2).clamp(min=torch.finfo(q.dtype).tiny).log()
    zero = (q == 0) & possible  # P_T underflowed: KL(pi, P_T) is infinite to machine precision
    l1 = (p - q).abs().sum(0)
    return {
        "jsd": ((p * (log_p - log_m)).sum(0) + (q * (log_q - log_m)).sum(0)) / 2,
        "total_variation": l1 / 2,
        "l1": l1,
        "kl_forward": (p * (log_p - log_q)).sum(0).masked_fill(zero.any(0), math.inf),
        "kl_reverse": (q * (log_q - log_p)).sum(0),
    }


class ExactMetrics:
    """All exact metrics in one evaluation of the policies on the whole state graph."""

    needs_enumeration = True

    @torch.no_grad()
    def __call__(self, sampler: PolicySampler, target: EnumerableTarget, rng: ReplicaGenerators) -> dict[str, Tensor]:
        """Name -> [R] float64."""
        graph = target.state_graph()
        policies = policies_on_graph(sampler, graph)
        visits, ess = visits_and_sample_fraction(policies)
        terminating = visits * policies.stop_probability
        log_Z = sampler.log_Z.double()
        about_graphs = exact_graph_metrics(target, graph, terminating) if isinstance(target, GraphTarget) else {}
        return divergences(graph.log_target, terminating) | {
            "modes_covered": self._modes_covered(graph, terminating),
            "log_Z": log_Z,
            "log_Z_error": log_Z - graph.log_partition,
            "elbo": elbo(policies, visits),
            "eubo": eubo(policies),
            "ess": ess,
            **about_graphs,
        }

    @staticmethod
    def _modes_covered(graph: StateGraph, terminating: Tensor) -> Tensor:
        """Number of modes on which P_T puts at least half of the target's mass: [R]."""
        label, n_modes = graph.modes
        inside = label >= 0

        def mass(probability: Tensor) -> Tensor:
            total = torch.zeros(n_modes, probability.shape[1], dtype=torch.float64, device=probability.device)
            return total.index_add_(0, label[inside], probability[inside])

        return (mass(terminating) >= mass(graph.log_target.exp()[:, None]) / 2).sum(0).double()
