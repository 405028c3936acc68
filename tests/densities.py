"""Densities for tests, written down as plainly as possible, and small samplers of them."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from building import composed, generators
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from gfn_vi.samplers.continuous.sampler import ContinuousSampler

DIM = 3
NETWORK = ("hidden=[6,5]", "n_frequencies=4", "n_steps=5")
# Choice -> variants of it, each what it takes to make it small and to reach another branch of it.
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "diffusion": {
        "plain": NETWORK,
        "learned": (*NETWORK, "backward=learned", "learn_noise=true", "flow=true", "noise=geometric", "sigma_end=0.3"),
        "langevin": (*NETWORK, "langevin=scalar", "score_clip=1.0", "noise=linear", "sigma_end=2.0", "start_std=0.5"),
        "forward_looking": (
            *(*NETWORK, "langevin=per_dimension", "flow=true", "forward_looking=true", "grid=[0,0.1,0.3,0.35,0.9,2.0]"),
            *("score_clip=null", "backward=learned"),
        ),
        "one_step": ("n_steps=1", "hidden=[6]", "n_frequencies=4", "flow=true"),
    },
    "variance_preserving": {
        "plain": NETWORK,
        "learned": (*NETWORK, "backward=learned", "learn_noise=true", "flow=true", "langevin=scalar", "forward_looking=true"),
    },
    "gaussian_chain": {
        "plain": ("hidden=[6]", "n_layers=3"),
        "reference": ("hidden=[6]", "n_layers=3", "backward=reference", "flow=true"),
        "one_layer": ("hidden=[6]", "n_layers=1"),
    },
    "linear_chain": {
        "plain": ("n_steps=4",),
        "learned": ("n_steps=3", "backward=learned", "init_std=1.3"),
        "one_step": ("n_steps=1", "backward=learned"),
    },
    "flow": {"plain": ("hidden=[6,5]", "n_couplings=3")},
    "mean_field": {"plain": ()},
    "full_rank": {"plain": ()},
    "gaussian_mixture_family": {"plain": ("n_components=4",)},
}
CASES = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]


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


def make(name: str, *overrides: str, n_replicas: int = 2, seed: int = 0, target: Any = None) -> ContinuousSampler:
    """As its YAML builds it, in float64."""
    config = composed(f"sampler={name}", *(f"sampler.{override}" for override in overrides)).sampler
    config = OmegaConf.to_container(config)
    if config.get("flow", False) is None:
        config["flow"] = False
    rng = generators(seed, n_replicas, "initialization")
    return instantiate(config, _partial_=True, _convert_="all")(target=target or Bumps(DIM), rng=rng)


def spread(sampler: ContinuousSampler, seed: int = 0, size: float = 0.3) -> ContinuousSampler:
    """Moved away from where every network is zero: replica r as it would be alone."""
    noise = generators(seed, sampler.n_replicas, "spread")
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.add_(size * noise.normal(*parameter.shape[1:]))
    return sampler


class Noise:
    """In place of generators: rollouts draw these numbers and no others."""

    def __init__(self, noise: Tensor) -> None:
        """noise: [R, steps, B, width]."""
        self.noise = noise

    def normal(self, *shape: int) -> Tensor:
        assert self.noise.shape[1:] == shape
        return self.noise
