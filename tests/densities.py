"""Densities for tests: what a sampler of a density needs of its target, written down as plainly as possible."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor


class Density:
    """A density whose score is what autograd says."""

    dim: int
    log_Z: float

    def log_reward(self, states: Tensor) -> Tensor:
        raise NotImplementedError

    def score(self, states: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = states.detach().requires_grad_()
            return torch.autograd.grad(self.log_reward(leaf).sum(), leaf)[0]

    def to(self, device: object) -> Self:
        return self


class GaussianDensity(Density):
    """exp(log_Z) N(mean, covariance)."""

    def __init__(self, mean: Tensor, covariance: Tensor, log_Z: float = 0.0) -> None:
        self.dim, self.mean, self.covariance, self.log_Z = len(mean), mean.double(), covariance.double(), log_Z
        self.precision = torch.linalg.inv(self.covariance)

    def log_reward(self, states: Tensor) -> Tensor:
        centered = states.double() - self.mean
        quadratic = ((centered @ self.precision) * centered).sum(-1)
        return self.log_Z - 0.5 * (quadratic + torch.logdet(self.covariance) + self.dim * math.log(2 * math.pi))


class Bumps(Density):
    """Two Gaussians of different width and weight in each dimension: curved everywhere, log Z = 0."""

    log_Z = 0.0

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def log_reward(self, states: Tensor) -> Tensor:
        x = states.double()
        left = math.log(0.3) - 0.5 * ((x + 1.5) / 0.6).square() - math.log(0.6)
        right = math.log(0.7) - 0.5 * ((x - 1.0) / 0.9).square() - math.log(0.9)
        return (torch.logaddexp(left, right) - 0.5 * math.log(2 * math.pi)).sum(-1)
