"""One moment of a sampler: what several metrics need of it is computed once and handed to all of them.

A family's own metric (edges of graphs, say) thus costs no second evaluation of the policies, and measures the same trajectories
as the general ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Evaluation, Trajectories
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, visits_and_sample_fraction
from gfn_vi.evaluation.exact.tables import policies_on_graph


def state_graph_of(target: object) -> StateGraph | None:
    """Return the graph of all states of a target that can be listed, None of any other."""
    return target.state_graph() if isinstance(target, EnumerableTarget) and target.enumerable else None


@dataclass
class Measurement:
    """The sampler and the target as they are now, with what metrics compute of them, once and without gradient.

    rng: from which metrics draw; exact, n_samples: how this evaluation measures. Properties are computed when first asked for.
    """

    sampler: Any
    target: Any
    rng: ReplicaGenerators
    exact: bool
    n_samples: int | None

    @cached_property
    def graph(self) -> StateGraph | None:
        """Return all states and edges where the target can be listed, None elsewhere."""
        return state_graph_of(self.target)

    @cached_property
    def state_graph(self) -> StateGraph:
        """Return all states and edges of a target that can be listed."""
        graph: StateGraph = self.target.state_graph() if self.graph is None else self.graph
        return graph

    @cached_property
    def policies(self) -> EdgePolicies:
        """Return both policies on every edge."""
        with torch.no_grad():
            return policies_on_graph(self.sampler, self.state_graph)

    @cached_property
    def visits_and_sample_fraction(self) -> tuple[Tensor, Tensor]:
        """Return the visit probabilities [S, R], and the effective sample size of P_F as a fraction [R]."""
        with torch.no_grad():
            return visits_and_sample_fraction(self.policies)

    @cached_property
    def terminating(self) -> Tensor:
        """Return the terminating distribution P_T: [S, R] float64."""
        return self.visits_and_sample_fraction[0] * self.policies.stop_probability

    @cached_property
    def samples(self) -> tuple[Trajectories, Evaluation]:
        """Return n_samples fresh trajectories of P_F per replica, and their evaluation."""
        assert self.n_samples is not None
        with torch.no_grad():
            trajectories = self.sampler.rollout(self.n_samples, self.rng)
            return trajectories, self.sampler.evaluate(trajectories)
