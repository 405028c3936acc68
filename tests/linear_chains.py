"""Chains whose every density is Gaussian: what they do on Gaussian targets has a closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from building import generators
from densities import GaussianDensity
from torch import Tensor, nn

from gfn_vi.core.types import Role
from gfn_vi.samplers.continuous.kernels import DiagonalGaussian
from gfn_vi.samplers.continuous.sampler import ContinuousSampler, Kernels

R = 2


class LinearChain(ContinuousSampler):
    """x_{k+1} ~ N(weight_k x_k + shift_k, std_k^2), x_k given x_{k+1} ~ N(back_k x_{k+1}, back_std_k^2): free numbers."""

    def __init__(self, target: GaussianDensity, n_steps: int) -> None:
        super().__init__(target, R, n_steps, False, 0.4)
        rng, dim = generators(0, R), target.dim

        def free(center: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(center + 0.3 * rng.normal(*shape))

        self.weight, self.shift, self.log_std = free(0.8, n_steps, 1), free(0.0, n_steps, dim), free(-0.2, n_steps, dim)
        self.back, self.back_log_std = free(0.5, n_steps, 1), free(-0.3, n_steps, dim)
        self.double()

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        forward, backward = [self.weight, self.shift, self.log_std], [self.back, self.back_log_std]
        return super().parameter_groups() | {Role.FORWARD: forward, Role.BACKWARD: backward}

    def forward_kernels(self) -> Kernels:
        def kernels(steps: slice, states: Tensor, score: Tensor | None) -> DiagonalGaussian:
            mean = self.weight[:, None, steps] * states + self.shift[:, None, steps]
            return DiagonalGaussian(mean, self.log_std[:, None, steps].exp())

        return kernels

    def backward_kernels(self) -> Kernels:
        return lambda steps, states, score: DiagonalGaussian(
            self.back[:, None, steps] * states, self.back_log_std[:, None, steps].exp()
        )

    # -- closed forms: the states after steps 1..T, one after another, are one Gaussian vector -----------------------------

    def forward_joint(self, r: int) -> tuple[Tensor, Tensor]:
        """Mean [T d] and covariance of the chain of replica r."""
        steps, dim = self.n_steps, self.dim
        mean, factor = [torch.zeros(dim).double()], [torch.zeros(dim, steps * dim).double()]
        for k in range(steps):
            own = torch.zeros(dim, steps * dim).double()
            own = own.index_add(1, torch.arange(k * dim, (k + 1) * dim), self.log_std[r, k].exp().diag_embed())
            mean.append(self.weight[r, k] * mean[-1] + self.shift[r, k])
            factor.append(self.weight[r, k] * factor[-1] + own)
        spread = torch.cat(factor[1:])
        return torch.cat(mean[1:]), spread @ spread.T

    def backward_joint(self, r: int) -> tuple[Tensor, Tensor]:
        """Mean and covariance when x_T is drawn from the target and the rest from P_B of replica r."""
        steps, dim = self.n_steps, self.dim
        mean, factor = [self.target.mean], [torch.linalg.cholesky(self.target.covariance)]
        factor[0] = torch.nn.functional.pad(factor[0], (0, (steps - 1) * dim))
        for k in range(steps - 1, 0, -1):
            own = torch.zeros(dim, steps * dim).double()
            place = torch.arange((steps - k) * dim, (steps - k + 1) * dim)
            own = own.index_add(1, place, self.back_log_std[r, k].exp().diag_embed())
            mean.insert(0, self.back[r, k] * mean[0])
            factor.insert(0, self.back[r, k] * factor[0] + own)
        spread = torch.cat(factor)
        return torch.cat(mean), spread @ spread.T


def gaussian_kl(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor]) -> Tensor:
    """KL(p, q) of two Gaussians (mean, covariance)."""
    centered, precision = q[0] - p[0], torch.linalg.inv(q[1])
    quadratic = centered @ precision @ centered + (precision @ p[1]).trace()
    return 0.5 * (quadratic - len(centered) + torch.logdet(q[1]) - torch.logdet(p[1]))


def hermite(n_dims: int, order: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes [B, n_dims] and weights [B] of N(0, I): exact for degrees up to 2 * order - 1 in each dimension."""
    x, w = np.polynomial.hermite_e.hermegauss(order)
    nodes = torch.tensor(list(itertools.product(x, repeat=n_dims)))
    weights = torch.tensor(list(itertools.product(w / math.sqrt(2 * math.pi), repeat=n_dims))).prod(1)
    return nodes, weights
