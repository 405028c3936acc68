"""Symmetric double wells in some coordinates, the shape of a standard normal in the others (Richter & Berner 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_positive, check_whole
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.double_well import integrate, quantile

# Beyond 2^16 modes are not counted: what remembers visits has one boolean for each.
MOST_COUNTED = 16


class MultiWell(BaseDensity):
    """log R = -sum over i < m of (x_i^2 - delta)^2 - sum over the others of x_i^2 / 2; m = n_wells.

    The 2^m modes are the signs of the first m coordinates, bit i set where x_i >= 0, and every state belongs to one. By symmetry
    they have equal masses; left_mass: probability of x_i < 0.
    """

    has_exact_samples = True
    left_mass = 0.5

    def __init__(self, dim: int, n_wells: int, delta: float) -> None:
        """n_wells: m, coordinates with two wells, at -sqrt(delta) and sqrt(delta)."""
        check_whole(dim, 1, "target.dim")
        check_whole(n_wells, 1, "target.n_wells")
        require(n_wells <= dim, "target.n_wells", n_wells, f"expected at most target.dim={dim}")
        check_positive(delta, "target.delta")
        self.dim, self.n_wells, self.delta = dim, n_wells, delta
        # the density is below 1e-300 of its top there
        self.grid, self.below, log_Z = integrate(lambda x: -(x.square() - delta).square(), math.sqrt(delta + 27))
        self.log_Z = n_wells * log_Z + (dim - n_wells) / 2 * math.log(2 * math.pi)
        self.n_modes = 2**n_wells if n_wells <= MOST_COUNTED else None
        if self.n_modes is not None:
            self.mode_mass = torch.full((self.n_modes,), 1 / self.n_modes, dtype=torch.float64)

    def log_density(self, states: Tensor) -> Tensor:
        """Return the sum over coordinates: [..., d] -> [...]."""
        wells, others = states[..., : self.n_wells], states[..., self.n_wells :]
        return -(wells.square() - self.delta).square().sum(-1) - others.square().sum(-1) / 2

    def score(self, states: Tensor) -> Tensor:
        """Return -4 x (x^2 - delta) where there are wells, -x elsewhere: [..., d] -> [..., d]."""
        with torch.no_grad():
            wells, others = states[..., : self.n_wells], states[..., self.n_wells :]
            return torch.cat([-4 * wells * (wells.square() - self.delta), -others], -1)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw coordinates with wells by the inverse of their distribution function, others standard normal: [R, n, d]."""
        wells = quantile(self.grid, self.below, rng.uniform(n, self.n_wells))
        return torch.cat([wells, rng.normal(n, self.dim - self.n_wells)], -1)

    def well_occupancy(self, states: Tensor) -> Tensor:
        """Return whether each coordinate is in its left well, x_i < 0: [..., d] -> [..., m] bool; its mean is left_mass."""
        return states[..., : self.n_wells] < 0

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the number whose bit i says whether x_i >= 0: [..., d] -> [...] long."""
        if self.n_modes is None:
            return super().mode_index(states)
        power = 2 ** torch.arange(self.n_wells, device=states.device)
        return (~self.well_occupancy(states) * power).sum(-1)
