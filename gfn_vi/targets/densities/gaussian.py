"""A Gaussian of any mean and covariance: the target for which all that a sampler should find is known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_whole, cholesky_factor, finite_tensor
from gfn_vi.targets.densities.base import BaseDensity


class Gaussian(BaseDensity):
    """R = N(mean, covariance); the attributes mean [d] and covariance [d, d] are in float64."""

    log_Z = 0.0
    has_exact_samples = True

    def __init__(self, dim: int, mean: float | list[float], covariance: float | list[float] | list[list[float]]) -> None:
        """mean: one number for all coordinates, or d; covariance: one variance, d variances, or d rows of d numbers."""
        check_whole(dim, 1, "target.dim")
        self.dim = dim
        expected = f"expected one number, or a list of target.dim={dim}"
        center = finite_tensor(mean, "target.mean", expected)
        require(center.shape in ((), (dim,)), "target.mean", mean, expected)
        self.mean = center.expand(dim).clone()
        expected = f"expected one variance, a list of target.dim={dim} variances, or as many rows of as many numbers"
        spread = finite_tensor(covariance, "target.covariance", expected)
        require(spread.shape in ((), (dim,), (dim, dim)), "target.covariance", covariance, expected)
        self.covariance = spread.clone() if spread.dim() == 2 else torch.diag(spread.expand(dim))
        self.factor = cholesky_factor(self.covariance, "target.covariance", covariance)
        # z = whitening (x - mean) is standard normal
        self.whitening = torch.linalg.solve_triangular(self.factor, torch.eye(dim, dtype=torch.float64), upper=False)
        self.log_top = -float(self.factor.diagonal().log().sum()) - dim / 2 * math.log(2 * math.pi)

    def log_density(self, states: Tensor) -> Tensor:
        """Return log N(x; mean, covariance): [..., d] -> [...]."""
        return self.log_top - self._whitened(states).square().sum(-1) / 2

    def score(self, states: Tensor) -> Tensor:
        """Return covariance^-1 (mean - x): [..., d] -> [..., d]."""
        with torch.no_grad():
            return -self._whitened(states) @ self.in_type_of(states, "whitening")

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw mean + L z with z standard normal: [R, n, d]."""
        noise = rng.normal(n, self.dim)
        return self.in_type_of(noise, "mean") + noise @ self.in_type_of(noise, "factor").mT

    def _whitened(self, states: Tensor) -> Tensor:
        return (states - self.in_type_of(states, "mean")) @ self.in_type_of(states, "whitening").mT
