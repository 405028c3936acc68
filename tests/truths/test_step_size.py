"""The bounds of a diffusion whose drift is exact close as its steps get smaller, and as fast as Euler and Maruyama's scheme."""

from __future__ import annotations

import math

import pytest
import torch
from densities import GaussianDensity, make
from linear_chains import LinearChain, gaussian_kl
from torch import Tensor, nn

MEAN, VARIANCE, LOG_Z = 0.7, 0.4, 1.7


class ExactDrift(nn.Module):
    """The drift that takes a Brownian motion of unit variance from 0 at time 0 to N(MEAN, VARIANCE) at time 1 (Doob's transform).

    The gradient of log E[N(Y; MEAN, VARIANCE) / N(Y; 0, 1)] with Y ~ N(x, 1 - t), a ratio of exponentials of quadratics.
    """

    def embed(self, times: Tensor) -> Tensor:
        """Slope and intercept at each time: [1, 1, T, 2]."""
        curvature = 1 / VARIANCE - 1
        remaining = 1 + curvature * (1 - times)
        return torch.stack([-curvature / remaining, MEAN / VARIANCE / remaining], -1)[None, None]

    def forward(self, states: Tensor, embedded: Tensor) -> Tensor:
        return embedded[..., :1] * states + embedded[..., 1:]


def divergences(n_steps: int) -> tuple[float, float]:
    """KL(P_F, P_B) and KL(P_B, P_F) of the sampler, from what its kernels make of 0 and 1: they are affine."""
    target = GaussianDensity(torch.tensor([MEAN], dtype=torch.float64), torch.tensor([[VARIANCE]], dtype=torch.float64), LOG_Z)
    sampler = make("diffusion", "hidden=[4]", "n_frequencies=4", f"n_steps={n_steps}", target=target)
    sampler.forward_net = ExactDrift()
    chain = LinearChain(target, n_steps)
    zeros = torch.zeros(2, 1, n_steps, 1).double()
    every, later = slice(0, n_steps), slice(1, n_steps)
    at_zero, at_one = (sampler.forward_kernels()(every, zeros + x, None) for x in (0, 1))
    back = sampler.backward_kernels()(later, torch.ones_like(zeros[:, :, 1:]), None)
    chain.weight.copy_((at_one.mean - at_zero.mean)[:, 0])
    chain.shift.copy_(at_zero.mean.expand_as(zeros)[:, 0])
    chain.log_std.copy_(at_zero.std.log())
    chain.back[:, 1:] = back.mean[:, 0]
    chain.back_log_std[:, 1:] = back.std.log()
    forward, backward = chain.forward_joint(0), chain.backward_joint(0)
    return float(gaussian_kl(forward, backward)), float(gaussian_kl(backward, forward))


@torch.no_grad()
def test_the_gap_of_the_bounds_is_of_the_first_order_in_the_step() -> None:
    """Halving the step halves log Z - ELBO and EUBO - log Z; the rest is of the second order."""
    gaps = torch.tensor([divergences(n) for n in (32, 64, 128, 256)], dtype=torch.float64)
    assert bool((gaps > 0).all())
    orders = (gaps[:-1] / gaps[1:]).log() / math.log(2)
    assert orders[-1].tolist() == pytest.approx([1, 1], abs=0.01)
    # the order approaches 1 as the step does 0
    assert bool(((orders - 1).abs().diff(dim=0) < 0).all())
