"""Pairs of coordinates with a double well in the first of them: 2^(d / 2) modes, too many to count at d = 32.

Noe et al. (2019), "Boltzmann generators"; Midgley et al. (2023). What can be compared is, for each pair, how often its left
well is occupied.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_whole
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.double_well import N_INTERVALS, integrate, quantile


def log_double_well(x: Tensor) -> Tensor:
    """Return -x^4 + 6 x^2 + x / 2."""
    square = x.square()
    return square * (6 - square) + x / 2


class ManyWell(BaseDensity):
    """log R = sum over pairs of -x_1^4 + 6 x_1^2 + x_1 / 2 - x_2^2 / 2; pairs are coordinates (0, 1), (2, 3), ...

    left_mass: probability of x_1 < 0 in each pair, about 0.155693.
    """

    has_exact_samples = True

    def __init__(self, dim: int) -> None:
        """dim: d, an even number."""
        check_whole(dim, 2, "target.dim")
        require(dim % 2 == 0, "target.dim", dim, "expected an even number: coordinates come in pairs")
        self.dim = dim
        # exp(log_double_well) is below 1e-200 at 5
        self.grid, self.below, log_Z = integrate(log_double_well, 5.0)
        self.log_Z = dim / 2 * (log_Z + math.log(2 * math.pi) / 2)
        self.left_mass = float(self.below[N_INTERVALS // 2])

    def log_density(self, states: Tensor) -> Tensor:
        """Return the sum over pairs: [..., d] -> [...]."""
        return (log_double_well(states[..., 0::2]) - states[..., 1::2].square() / 2).sum(-1)

    def score(self, states: Tensor) -> Tensor:
        """Return (-4 x_1^3 + 12 x_1 + 1/2, -x_2) in each pair: [..., d] -> [..., d]."""
        with torch.no_grad():
            first, second = states[..., 0::2], states[..., 1::2]
            return torch.stack([first * (12 - 4 * first.square()) + 0.5, -second], -1).flatten(-2)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw first coordinates by the inverse of their distribution function, second ones standard normal: [R, n, d]."""
        first = quantile(self.grid, self.below, rng.uniform(n, self.dim // 2))
        return torch.stack([first, rng.normal(n, self.dim // 2)], -1).flatten(-2)

    def well_occupancy(self, states: Tensor) -> Tensor:
        """Return whether each pair is in its left well, x_1 < 0: [..., d] -> [..., d / 2] bool; its mean is left_mass."""
        return states[..., 0::2] < 0
