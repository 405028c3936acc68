"""Annealed importance sampling (Neal 2001, arXiv physics/9803008): a second opinion on log Z and on means, for tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def annealed(
    log_density: Function, score: Function, dim: int, n_chains: int, n_levels: int, step: float
) -> tuple[Tensor, Tensor]:
    """Return states [n, d] and their log-weights [n], which average to log Z: from N(0, I) to the density, level by level.

    At level k the density is N(0, I)^(1 - b) R^b with b = (k / K)^2. One Hamiltonian trajectory of five leapfrog steps, accepted
    or refused, leaves it as it is; the weight grows by the ratio of two levels before.
    """
    generator = torch.Generator().manual_seed(0)
    levels = torch.linspace(0, 1, n_levels + 1, dtype=torch.float64).square()

    def start(x: Tensor) -> Tensor:
        return -x.square().sum(-1) / 2 - dim / 2 * math.log(2 * math.pi)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = noise(n_chains, dim)
    log_weights = torch.zeros(n_chains, dtype=torch.float64)
    for before, level in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        log_weights += (level - before) * (log_density(x) - start(x))

        def height(x: Tensor, b: float = level) -> Tensor:
            return b * log_density(x) + (1 - b) * start(x)

        def slope(x: Tensor, b: float = level) -> Tensor:
            return b * score(x) - (1 - b) * x

        momentum = noise(n_chains, dim)
        moved, energy = x, height(x) - momentum.square().sum(-1) / 2
        for _ in range(5):
            momentum = momentum + step / 2 * slope(moved)
            moved = moved + step * momentum
            momentum = momentum + step / 2 * slope(moved)
        gain = height(moved) - momentum.square().sum(-1) / 2 - energy
        accepted = torch.rand(n_chains, dtype=torch.float64, generator=generator).log() < gain
        x = torch.where(accepted[:, None], moved, x)
    return x, log_weights


def log_mean(log_weights: Tensor) -> tuple[float, float]:
    """Return the log of the mean of weights [n], and its standard error by the delta method."""
    n = len(log_weights)
    weights = (log_weights - log_weights.max()).exp()
    return float(log_weights.max() + weights.mean().log()), float(weights.std() / weights.mean() / math.sqrt(n))


def weighted_means(states: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return means of coordinates of states [n, d] under normalized weights [n], and their standard errors: [d] and [d]."""
    share = log_weights.softmax(0)[:, None]
    mean = (share * states).sum(0)
    return mean, (share * (states - mean)).square().sum(0).sqrt()
