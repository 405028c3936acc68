"""Exact expected gradients of samplers with linear steps on a Gaussian target, in closed form and in any dimension.

    gradients = closed_form_of(sampler, target)                # None for any other pair
    gradients(objective.descends(gradients.under("P_F")))      # {role: [R, P]}

Behaviors that tilt P_F have no closed form here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.linear_gaussian import (
    LARGEST_JOINT,
    GaussianTarget,
    LinearGaussianExpectations,
    LinearSampler,
    joints_of,
)
from gfn_vi.evaluation.gradients.batch_gradients import Gradients


def closed_form_of(sampler: object, target: object) -> ClosedFormGradients | None:
    """Return exact gradients where the steps are linear, the target is Gaussian and the matrices are not too large; else None."""
    if not isinstance(sampler, LinearSampler) or not isinstance(target, GaussianTarget):
        return None
    return ClosedFormGradients(sampler, target) if sampler.n_steps * sampler.dim <= LARGEST_JOINT else None


class ClosedFormGradients:
    """The Gaussians of a copy in float64, from which expected gradients at the sampler's current parameters are computed."""

    def __init__(self, sampler: LinearSampler, target: GaussianTarget) -> None:
        self.dtype, self.sampler, self.log_partition = sampler.log_Z.dtype, sampler.repeated(1).double(), target.log_Z
        with torch.enable_grad():
            self.forward, self.backward = joints_of(self.sampler, target)

    def under(self, measure: Literal["P_F", "P_B"]) -> LinearGaussianExpectations:
        """Return expectations over trajectories from P_F or P_B."""
        return LinearGaussianExpectations(self.forward, self.backward, self.sampler.log_Z, self.log_partition, measure)

    def __call__(self, descends: Mapping[Role, Tensor]) -> Gradients:
        """Return the gradient [R, P] by role of what the role descends, each [R]: as ExactGradients does."""
        n_replicas, found = self.sampler.n_replicas, {}
        for role, group in self.sampler.parameter_groups().items():
            value = descends[role] if role in descends else torch.zeros(())
            if value.requires_grad:
                parts = torch.autograd.grad(value.sum(), group, retain_graph=True, allow_unused=True, materialize_grads=True)
            else:
                parts = tuple(torch.zeros_like(p) for p in group)
            found[role] = torch.cat([part.reshape(n_replicas, -1) for part in parts], 1).to(self.dtype)
        return found
