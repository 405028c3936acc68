"""Exact expectations of gradient estimators: all batches of a size, each with its probability.

Unordered batches take the place of replicas in an Evaluation made from one evaluation of all trajectories, so an objective sees
what it sees in training, and everything stays differentiable in the one set of parameters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget, Objective
from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.exact.enumeration import as_trajectories, multisets
from gfn_vi.evaluation.exact.policies import PolicySampler


class AllBatches:
    """All batches of trajectories of a tiny target, for a sampler of one replica in float64."""

    def __init__(self, sampler: PolicySampler, target: DiscreteTarget) -> None:
        if sampler.n_replicas != 1:
            raise ValueError(f"batches take the place of replicas: expected a sampler of 1 replica, found {sampler.n_replicas}")
        self.sampler = sampler
        self.trajectories: Trajectories = as_trajectories(target, 1)

    def evaluate(self, needs: frozenset[Need], log_behavior: Tensor) -> Evaluation:
        """Return the evaluation of all trajectories [1, n], with log pi [n]."""
        return replace(self.sampler.evaluate(self.trajectories, needs), log_behavior=log_behavior[None])

    def expected_loss(
        self,
        objective: Objective,
        size: int,
        log_behavior: Tensor,
        earlier: Tensor | None = None,
        roles: frozenset[Role] = frozenset(Role),
    ) -> Tensor:
        """Return the sum over batches of (probability x loss), whose gradient is the estimator's expected gradient: a scalar.

        `size` independent trajectories from pi, log pi [n]; earlier: trajectories [b] of a batch that the objective is shown
        before, for what it remembers; roles: whose log-probabilities are differentiated (tied networks serve both).
        """
        evaluation = self.evaluate(objective.needs, log_behavior)
        if Role.FORWARD not in roles:
            evaluation = replace(evaluation, log_pf=evaluation.log_pf.detach())
        if Role.BACKWARD not in roles:
            evaluation = replace(evaluation, log_pb=evaluation.log_pb.detach())
        index, log_orders = multisets(len(log_behavior), size)
        if earlier is not None:
            objective(take_batches(evaluation, earlier.expand(len(index), -1)))
        probability = (log_behavior[index].sum(1) + log_orders).exp()
        # what is enumerated is a probability distribution: 1 up to rounding of some thousand terms
        excess = float((probability.sum() - 1).abs().detach())
        if not excess < 1e4 * torch.finfo(log_behavior.dtype).eps:
            raise ValueError(f"the probabilities of all batches sum to 1 + {excess:.1e}: log_behavior is no distribution")
        return (probability * objective(take_batches(evaluation, index))).sum()


def take_batches(evaluation: Evaluation, index: Tensor) -> Evaluation:
    """Return the batches index [M, B] of the evaluation of all trajectories [1, n], as if they were M replicas."""

    def pick(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[0][index]

    names = ("log_pf", "log_pb", "log_reward", "log_behavior", "mask", "log_flow", "log_inflow", "score_norm_pf", "score_norm_pb")
    picked: dict[str, Any] = {name: pick(getattr(evaluation, name)) for name in names}
    return replace(evaluation, log_Z=evaluation.log_Z.expand(len(index)), **picked)
