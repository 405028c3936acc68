"""Transition kernels: what one step of a chain, or many rows of steps at once, draws from.

Rows are [R, N, K]: replica, trajectory, step. `noise` is standard normal and is all the randomness of a draw.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.core.protocols import GaussianTilt


class Kernel(ABC):
    """A distribution on R^d for each row."""

    @abstractmethod
    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [R, N, K, d] that the noise [R, N, K, width] becomes, and their log-densities [R, N, K]."""

    @abstractmethod
    def log_density(self, states: Tensor) -> Tensor:
        """Return the log-densities of states [R, N, K, d]: [R, N, K]."""

    @abstractmethod
    def redraw(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return `states`, which carry no gradient, and their log-densities as functions of the kernel, the noise held fixed.

        The values are those of `states` and `log_density(states)`; gradients are those of `draw` at the noise behind `states`.
        """

    @abstractmethod
    def tilted(self, steps: Tensor, tilt: GaussianTilt) -> Kernel:
        """Return the kernel that the tilt makes of this one; steps [K] long."""

    @abstractmethod
    def smallest_std(self) -> Tensor:
        """Return the smallest standard deviation in any row and direction of R^d, for each replica: [R]."""


class Gaussian(Kernel):
    """The base of Gaussian kernels: an affine map between noise and states."""

    @abstractmethod
    def noise_of(self, states: Tensor) -> Tensor:
        """Return the noise that becomes the states: [R, N, K, d]."""

    @abstractmethod
    def states_of(self, noise: Tensor) -> Tensor:
        """Return the states that the noise becomes: [R, N, K, d]."""

    @abstractmethod
    def log_volume(self) -> Tensor:
        """Return the log of the absolute determinant of the map from noise to states: broadcastable to [R, N, K]."""

    def _log_density_of(self, noise: Tensor) -> Tensor:
        return noise.square().sum(-1) * -0.5 - (self.log_volume() + noise.shape[-1] * math.log(2 * math.pi) / 2)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and their log-densities."""
        return self.states_of(noise), self._log_density_of(noise)

    def log_density(self, states: Tensor) -> Tensor:
        """Return the log-density of the Gaussian at the states: [R, N, K]."""
        return self._log_density_of(self.noise_of(states))

    def redraw(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and log-densities along the noise."""
        noise = self.noise_of(states).detach()
        moved = self.states_of(noise)
        # exactly the states that were given, so that rounding does not grow along the chain
        return states + (moved - moved.detach()), self._log_density_of(noise)


@dataclass(frozen=True)
class DiagonalGaussian(Gaussian):
    """N(mean, diag(std^2)): mean [R, N, K, d], std broadcastable to it."""

    mean: Tensor
    std: Tensor

    def noise_of(self, states: Tensor) -> Tensor:
        """Return the noise (states - mean) / std: [R, N, K, d]."""
        return (states - self.mean) / self.std

    def states_of(self, noise: Tensor) -> Tensor:
        """Return the states mean + std * noise: [R, N, K, d]."""
        return self.mean + self.std * noise

    def log_volume(self) -> Tensor:
        """Return the sum of log std over dimensions."""
        log_std = self.std.log()
        dim = self.mean.shape[-1]
        return log_std[..., 0] * dim if log_std.shape[-1] == 1 else log_std.sum(-1)

    def tilted(self, steps: Tensor, tilt: GaussianTilt) -> DiagonalGaussian:
        """Return the Gaussian of the tilted mean and standard deviation."""
        return DiagonalGaussian(*tilt(steps, self.mean, self.std))

    def smallest_std(self) -> Tensor:
        """Return the smallest entry of std: [R]."""
        return self.std.expand_as(self.mean).flatten(1).amin(1)


@dataclass(frozen=True)
class FullGaussian(Gaussian):
    """N(mean, L L'): mean [R, 1, 1, d], tril [R, d, d] lower triangular with a positive diagonal. One kernel for all rows."""

    mean: Tensor
    tril: Tensor

    def noise_of(self, states: Tensor) -> Tensor:
        """Return the noise L^-1 (states - mean): [R, N, K, d]."""
        columns = (states - self.mean).flatten(1, 2).transpose(1, 2)
        solved = torch.linalg.solve_triangular(self.tril, columns, upper=False)
        return solved.transpose(1, 2).view_as(states)

    def states_of(self, noise: Tensor) -> Tensor:
        """Return the states mean + L noise: [R, N, K, d]."""
        return self.mean + torch.bmm(noise.flatten(1, 2), self.tril.transpose(1, 2)).view_as(noise)

    def log_volume(self) -> Tensor:
        """Return the sum of the logs of the diagonal of L."""
        return self.tril.diagonal(dim1=1, dim2=2).log().sum(-1)[:, None, None]

    def tilted(self, steps: Tensor, tilt: GaussianTilt) -> FullGaussian:
        """Tilt along the principal axes, in which the dimensions are independent: mean and std there are what the tilt sees."""
        axes, std, _ = torch.linalg.svd(self.tril)
        mean, std = tilt(steps, self.mean @ axes[:, None], std[:, None, None])
        spread = axes * std[:, 0]
        tril = torch.linalg.cholesky(spread @ spread.transpose(1, 2))
        return FullGaussian(mean @ axes.transpose(1, 2)[:, None], tril)

    def smallest_std(self) -> Tensor:
        """Return the smallest singular value of L: [R]."""
        return torch.linalg.svdvals(self.tril)[:, -1]


@dataclass(frozen=True)
class DiagonalMixture(Kernel):
    """A mixture of C diagonal Gaussians, one for all rows: log_weights [R, C] normalized, means and stds [R, C, d].

    Its noise has d + 1 numbers: the last chooses the component. That choice has no gradient, so there is no path along the noise.
    """

    log_weights: Tensor
    means: Tensor
    stds: Tensor

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and the mixture's log-densities of them."""
        n_components, dim = self.means.shape[1:]
        share = torch.special.ndtr(noise[..., -1]).flatten(1)  # [R, N K] uniform
        cdf = self.log_weights.exp().cumsum(-1)
        chosen = torch.searchsorted(cdf, share * cdf[:, -1:], right=True).clamp(max=n_components - 1)
        index = chosen[..., None].expand(-1, -1, dim)
        own = noise[..., :-1].flatten(1, 2)
        states = (self.means.gather(1, index) + self.stds.gather(1, index) * own).view(*noise.shape[:-1], dim)
        return states, self.log_density(states)

    def log_density(self, states: Tensor) -> Tensor:
        """Return the log of the sum over components of weight times density."""
        components = DiagonalGaussian(self.means[:, None, None], self.stds[:, None, None])  # [R, 1, 1, C, d]
        return torch.logsumexp(components.log_density(states.unsqueeze(3)) + self.log_weights[:, None, None], -1)

    def redraw(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Raise: which component is drawn jumps as the weights move."""
        raise NotImplementedError("a mixture has no path along the noise")

    def tilted(self, steps: Tensor, tilt: GaussianTilt) -> DiagonalMixture:
        """Tilt each component as a row of its own."""
        means, stds = tilt(steps, self.means[:, :, None], self.stds[:, :, None])
        return DiagonalMixture(self.log_weights, means[:, :, 0], stds[:, :, 0])

    def smallest_std(self) -> Tensor:
        """Return the smallest standard deviation of any component: [R]."""
        return self.stds.flatten(1).amin(1)
