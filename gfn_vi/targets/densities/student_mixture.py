"""A mixture of heavy tails: components of independent Student-t coordinates with unit scale around random locations.

With 1 or 2 degrees of freedom there is no variance: Wasserstein distances of order two do not exist, and ways longer than the
side of the box that holds the locations count as that long. Blessing et al. (2024), "Beyond ELBOs", have the same mixture with
locations from a JAX key: other locations, another target.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_positive, check_whole
from gfn_vi.targets.densities.base import BaseDensity


class StudentMixture(BaseDensity):
    """R = 1/K sum over k of the product over i of t(x_i - location_ki); the attribute locations is [K, d] in float64.

    A state belongs to the component that most likely drew it, however far out. Heavy tails overlap everywhere: the mean of
    `responsibilities` over exact samples equals mode_mass, the equal weights, shares counted by mode_index do not.
    """

    log_Z = 0.0
    has_exact_samples = True

    def __init__(self, dim: int, n_components: int, degrees_of_freedom: int, half_width: float, seed: int) -> None:
        """degrees_of_freedom: a whole number; half_width: locations are uniform on [-half_width, half_width]^d; seed: of them."""
        check_whole(dim, 1, "target.dim")
        check_whole(n_components, 1, "target.n_components")
        check_whole(degrees_of_freedom, 1, "target.degrees_of_freedom")
        check_positive(half_width, "target.half_width")
        check_whole(seed, 0, "target.seed")
        self.dim, self.n_modes, self.degrees_of_freedom = dim, n_components, degrees_of_freedom
        self.transport_clip = 2 * half_width if degrees_of_freedom <= 2 else None
        uniform = torch.rand(n_components, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.locations = (2 * uniform - 1) * half_width
        self.mode_mass = torch.full((n_components,), 1 / n_components, dtype=torch.float64)
        nu = degrees_of_freedom
        log_top = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - math.log(nu * math.pi) / 2
        self.log_top = dim * log_top - math.log(n_components)

    def log_density(self, states: Tensor) -> Tensor:
        """Return log of the mean of the components: [..., d] -> [...]."""
        return self._log_components(states).logsumexp(-1)

    def responsibilities(self, states: Tensor) -> Tensor:
        """Return the probability that component k drew the state: [..., d] -> [..., K]."""
        return self._log_components(states).softmax(-1)

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the component that most likely drew each state: [..., d] -> [...] long."""
        return self._log_components(states).argmax(-1)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw locations at random, and z / sqrt(chi^2 / nu) in each coordinate, chi^2 a sum of nu squares: [R, n, d]."""
        component = rng.integers(len(self.locations), n)
        noise = rng.normal(n, self.dim)
        chi_square = rng.normal(n, self.dim, self.degrees_of_freedom).square().sum(-1)
        scale = (chi_square / self.degrees_of_freedom).sqrt()
        return self.in_type_of(noise, "locations")[component] + noise / scale

    def _log_components(self, states: Tensor) -> Tensor:
        nu = self.degrees_of_freedom
        difference = states[..., None, :] - self.in_type_of(states, "locations")
        return self.log_top - (nu + 1) / 2 * (difference.square() / nu).log1p().sum(-1)
