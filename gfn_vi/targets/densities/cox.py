"""The posterior of a log-Gaussian Cox process on a grid (Moller et al. 1998): latent log-intensities given counts of points.

With cells i of an n x n grid, their positions p_i in units of a cell, and y_i points counted in cell i:

    x ~ N(log(126) - s2 / 2, K),   K_ij = s2 exp(-|p_i - p_j| / (n beta)),   y_i given x ~ Poisson(exp(x_i) / n^2)

log R(x) = log N(x) + sum over i of (x_i y_i - exp(x_i) / n^2): log y_i! is left out, as in the literature, and x is not whitened.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.targets.checks import check_positive, check_whole
from gfn_vi.targets.csv_reading import KEY
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.points import Points

# Points in the unit square that are expected, those of the pines that the model was first fitted to.
EXPECTED_POINTS = 126


class LogGaussianCox(BaseDensity):
    """d = n^2 latent log-intensities; the attributes mean [d], covariance [d, d] and counts [d] are in float64."""

    def __init__(self, n: int, s2: float, beta: float, data: Points) -> None:
        """n: cells along a side; s2: variance of a log-intensity; beta: length of correlation, in units of the square's side."""
        check_whole(n, 1, "target.n")
        check_positive(s2, "target.s2")
        check_positive(beta, "target.beta")
        self.dim = n * n
        self.area = 1 / n**2
        side = torch.arange(n, dtype=torch.float64)
        position = torch.cartesian_prod(side, side) if n > 1 else side.new_zeros(1, 2)
        self.covariance = s2 * (-(position[:, None] - position).square().sum(-1).sqrt() / (n * beta)).exp()
        self.mean = torch.full((self.dim,), math.log(EXPECTED_POINTS) - s2 / 2, dtype=torch.float64)
        factor = torch.linalg.cholesky(self.covariance)
        self.precision = torch.cholesky_inverse(factor)
        self.log_top = -float(factor.diagonal().log().sum()) - self.dim / 2 * math.log(2 * math.pi)
        self.counts = data.counts(n, self.mean, factor)
        self.path = data.path
        names = [f"{i},{j}" for i in range(n) for j in range(n)]
        self.coordinate_names = tuple(names)

    @property
    def remarks(self) -> list[str]:
        """Return a sentence where the file has fewer or more points than half or twice as many as the prior expects."""
        found = int(self.counts.sum())
        if self.path is None or EXPECTED_POINTS / 2 <= found <= EXPECTED_POINTS * 2:
            return []
        always = f"the prior expects {EXPECTED_POINTS}, whatever the file has, and draws intensities towards that"
        return [f"{KEY}={self.path} has {found} points: {always}"]

    def log_density(self, states: Tensor) -> Tensor:
        """Return log N(x; mean, covariance) + the sum over cells of x y - exp(x) / n^2: [..., d] -> [...]."""
        centered = states - self.in_type_of(states, "mean")
        prior = self.log_top - (centered @ self.in_type_of(states, "precision") * centered).sum(-1) / 2
        return prior + (states * self.in_type_of(states, "counts") - self.area * states.exp()).sum(-1)

    def score(self, states: Tensor) -> Tensor:
        """Return covariance^-1 (mean - x) + y - exp(x) / n^2: [..., d] -> [..., d]."""
        with torch.no_grad():
            centered = states - self.in_type_of(states, "mean")
            of_the_points = self.in_type_of(states, "counts") - self.area * states.exp()
            return of_the_points - centered @ self.in_type_of(states, "precision")
