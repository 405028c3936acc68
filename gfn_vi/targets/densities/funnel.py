"""Neal's funnel (2003, "Slice sampling"): the scale of all other coordinates is exp(x_0 / 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.checks import check_positive, check_whole
from gfn_vi.targets.densities.base import BaseDensity


class Funnel(BaseDensity):
    """x_0 ~ N(0, s^2), and x_i given x_0 ~ N(0, exp(x_0)) for i = 1 .. d - 1."""

    log_Z = 0.0
    has_exact_samples = True

    def __init__(self, dim: int, s: float) -> None:
        """s: standard deviation of x_0, 1 ("easy") or 3 ("hard") in the literature: different targets."""
        check_whole(dim, 2, "target.dim")
        check_positive(s, "target.s")
        self.dim, self.s = dim, s
        self.log_top = -math.log(s) - dim / 2 * math.log(2 * math.pi)

    def log_density(self, states: Tensor) -> Tensor:
        """Return log N(x_0; 0, s^2) + the sum over i of log N(x_i; 0, exp(x_0)): [..., d] -> [...]."""
        first, scaled = self._scaled(states)
        return self.log_top - (first / self.s).square() / 2 - (self.dim - 1) / 2 * first - scaled.square().sum(-1) / 2

    def score(self, states: Tensor) -> Tensor:
        """Return (-x_0 / s^2 - (d - 1) / 2 + sum x_i^2 exp(-x_0) / 2, -x_i exp(-x_0)): [..., d] -> [..., d]."""
        with torch.no_grad():
            first, scaled = self._scaled(states)
            along = scaled.square().sum(-1) / 2 - first / self.s**2 - (self.dim - 1) / 2
            return torch.cat([along[..., None], -scaled * (-first[..., None] / 2).exp()], -1)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw x_0, then the others given it: [R, n, d]."""
        noise = rng.normal(n, self.dim)
        first = self.s * noise[..., :1]
        return torch.cat([first, (first / 2).exp() * noise[..., 1:]], -1)

    def _scaled(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 [...] and x_i exp(-x_0 / 2) [..., d - 1]; scaled before squaring, since exp(-x_0) overflows earlier."""
        first = states[..., 0]
        return first, states[..., 1:] * (-first[..., None] / 2).exp()
