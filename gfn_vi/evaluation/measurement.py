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
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, visit_probability, visits_and_sample_fraction
from gfn_vi.evaluation.exact.line_moments import line_sample_fraction
from gfn_vi.evaluation.exact.policies import KernelSampler
from gfn_vi.evaluation.exact.quadrature import Line, Quadrature
from gfn_vi.evaluation.exact.tables import policies_on_graph
from gfn_vi.evaluation.references import References


def state_graph_of(target: object) -> StateGraph | None:
    """Return the graph of all states of a target that can be listed, None of any other."""
    return target.state_graph() if isinstance(target, EnumerableTarget) and target.enumerable else None


def line_of(sampler: Any, target: Any, quadrature: Quadrature | None) -> Line | None:
    """Return nodes for a density of one dimension, None of any other target and where quadrature is off."""
    if quadrature is None or getattr(target, "dim", None) != 1 or not isinstance(sampler, KernelSampler):
        return None
    return quadrature.find(sampler.repeated(1).double(), target)


def why_not_exact(target: Any, sampler: Any, quadrature: Quadrature | None) -> str | None:
    """Return why there are no exact sums for this target, "" where nobody expects them; None where there are.

    Raises ConfigError for nodes that were asked for and do not resolve the sampler as it is now.
    """
    if getattr(target, "dim", None) is None:
        return "the target is not enumerable within target.max_enumerated_states" if state_graph_of(target) is None else None
    line = line_of(sampler, target, quadrature)
    if line is None or quadrature is None:
        return ""
    if line.problem is not None and not quadrature.is_automatic:
        raise line.problem
    return None if line.problem is None else str(line.problem)


@dataclass
class Measurement:
    """The sampler and the target as they are now, with what metrics compute of them, once and without gradient.

    rng: from which metrics draw; exact, n_samples: how this evaluation measures. Properties are computed when first asked for.
    quadrature: how a density of one dimension is summed. references: what stands for exact samples where there are none.
    """

    sampler: Any
    target: Any
    rng: ReplicaGenerators
    exact: bool
    n_samples: int | None
    quadrature: Quadrature | None = None
    references: References | None = None

    @cached_property
    def line(self) -> Line | None:
        """Return the nodes that stand for a density of one dimension in an exact evaluation, None elsewhere."""
        return line_of(self.sampler, self.target, self.quadrature) if self.exact else None

    @cached_property
    def graph(self) -> StateGraph | None:
        """Return all states and edges where the target can be listed, or summed over on a line; None elsewhere."""
        return state_graph_of(self.target) if self.line is None else self.line.graph

    @cached_property
    def state_graph(self) -> StateGraph:
        """Return all states and edges of a target that can be listed."""
        graph: StateGraph = self.target.state_graph() if self.graph is None else self.graph
        return graph

    @cached_property
    def policies(self) -> EdgePolicies:
        """Return both policies on every edge."""
        if self.line is not None:
            return self.line.policies
        with torch.no_grad():
            return policies_on_graph(self.sampler, self.state_graph)

    @cached_property
    def visits_and_sample_fraction(self) -> tuple[Tensor, Tensor]:
        """Return the visit probabilities [S, R], and the effective sample size of P_F as a fraction [R]."""
        with torch.no_grad():
            if self.line is not None:
                return visit_probability(self.policies), line_sample_fraction(self.policies)
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

    def target_samples(self, n_sets: int, n: int) -> list[Tensor]:
        """Return n_sets sets of n samples of the target per replica, exact ones or references: [R, n, d] each."""
        if self.references is None:
            return [self.target.sample(n, self.rng) for _ in range(n_sets)]
        return self.references.sets(n_sets, n, self.rng)

    def target_error(self, n: int) -> float:
        """Return by what standard errors of means over n samples of the target exceed those over independent ones."""
        return 1.0 if self.references is None else self.references.inflation(n)

    def reference_facts(self) -> dict[str, Tensor]:
        """Return how good the references are, for every replica the same: name -> [R]; nothing where samples are exact."""
        facts = {} if self.references is None else self.references.facts()
        return {name: torch.full((len(self.rng),), value, dtype=torch.float64) for name, value in facts.items()}
