"""Exact expected gradients on an enumerable target: of any objective, divergence or loss, under P_F, P_B or a tilted policy.

    gradients = ExactGradients(sampler, graph)                 # the networks, once on every state
    gradients(objective.descends(gradients.under("P_F")))      # {role: [R, P]}

The expectations are differentiated in the log-probabilities on the edges (level passes, float64); what they ask of the
networks is pulled back once, so that a further objective costs a backward pass and no evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gfn_vi.core.protocols import Objective, Tilt
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.expectations import GraphExpectations
from gfn_vi.evaluation.exact.tables import evaluated, flows_on_graph, policies_on_graph, tilted_on_graph
from gfn_vi.evaluation.exact.visits import Visits, backward_visits, forward_visits

Measure = Literal["P_F", "P_B"] | Tilt
Gradients = dict[Role, Tensor]
# What a role's scalar is differentiated in: a role descends with its own log-probabilities, the others being constants.
SIDES = {Role.FORWARD: ("log_pf", "log_stop"), Role.BACKWARD: ("log_pb",), Role.FLOW: ("log_flow",), Role.LOG_Z: ("log_Z",)}


class ExactGradients:
    """The evaluation of a sampler's networks from which exact expected gradients at its current parameters are computed."""

    def __init__(self, sampler: Any, graph: StateGraph) -> None:
        """Evaluate both policies, and log F where it is learned, on every state; memory grows with states x replicas.

        sampler: a PolicySampler, on a LineGraph a KernelSampler.
        """
        self.graph, self.dtype = graph, sampler.log_Z.dtype
        self.sampler = sampler = evaluated(sampler, graph)
        with torch.enable_grad():
            policies = policies_on_graph(sampler, graph)
            self._outputs = {"log_pf": policies.log_pf, "log_stop": policies.log_stop, "log_pb": policies.log_pb}
            self._outputs["log_Z"] = sampler.log_Z.double()
            log_flow = flows_on_graph(sampler, graph)
            if log_flow is not None:
                self._outputs["log_flow"] = log_flow
        self._leaves = {name: value.detach().requires_grad_() for name, value in self._outputs.items()}
        leaves = self._leaves
        self.policies = EdgePolicies(graph, leaves["log_pf"], leaves["log_pb"], leaves["log_stop"])

    def under(self, measure: Measure) -> GraphExpectations:
        """Return expectations over trajectories from P_F, P_B, or the tilted P_F that an exploration draws from."""
        return GraphExpectations(self.policies, self._leaves["log_Z"], self._visits(measure), self._leaves.get("log_flow"))

    def _visits(self, measure: Measure) -> Visits:
        if measure == "P_B":
            return backward_visits(self.policies)
        if measure == "P_F":
            return forward_visits(self.policies)
        return forward_visits(tilted_on_graph(self.sampler, self.policies, measure))

    def __call__(self, descends: Mapping[Role, Tensor] | Tensor) -> Gradients:
        """Return the gradient [R, P] by role of what the role descends, each [R]; a single tensor is descended by every role.

        P: the role's parameters in the order of parameter_groups, flattened; roles without parameters are left out. Where
        P_B is tied to P_F its gradient is part of P_F's.
        """
        groups = {role: list(p) for role, p in self.sampler.parameter_groups().items() if p}
        wanted = dict.fromkeys(SIDES, descends) if isinstance(descends, Tensor) else descends
        outputs, cotangents = [], []
        for role, scalar in wanted.items():
            names = [name for name in SIDES[role] if name in self._leaves]
            if not names or not scalar.requires_grad:
                continue
            leaves = [self._leaves[name] for name in names]
            found = torch.autograd.grad(scalar.sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
            for name, cotangent in zip(names, found, strict=True):
                if self._outputs[name].requires_grad:
                    outputs.append(self._outputs[name])
                    cotangents.append(cotangent)
        parameters = [p for group in groups.values() for p in group]
        pulled = torch.autograd.grad(
            outputs, parameters, cotangents, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        by_parameter = iter(pulled)
        n_replicas = self.sampler.n_replicas
        parts = {role: torch.cat([next(by_parameter).reshape(n_replicas, -1) for _ in p], 1) for role, p in groups.items()}
        return {role: part.to(self.dtype) for role, part in parts.items()}


def expected_gradients(sampler: Any, graph: StateGraph, objective: Objective, measure: Measure = "P_F") -> Gradients | None:
    """Return the exact expected gradient [R, P] by role of the objective on trajectories from `measure`.

    None where the objective is no sum over the graph (Objective.descends). For objectives that weight trajectories it is what
    they mean, whatever the measure, and how their estimates relate to it depends on the weights: self-normalized ones
    reach it as the batch grows, plain ones on average, but for a factor Zhat / Z on what is averaged under P_B while log Z is
    wrong; truncated ones, and cut powers and weights (max_exponent, max_log_weight), stay off by what they cut.
    """
    exact = ExactGradients(sampler, graph)
    descends = objective.descends(exact.under(measure))
    return None if descends is None else exact(descends)
