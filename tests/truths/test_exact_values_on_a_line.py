"""Metrics on a line against sums over a hundred times as many points: logarithms of mixtures ask for more than Gaussians do.

log(p + q) is singular off the real line where p = -q, closer to it the farther p and q are apart, and so is the log of a target
with two modes: the rule converges more slowly than it does for the Gaussian closed forms of test_quadrature.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from building import generators
from densities import Density, GaussianDensity, make
from torch import Tensor
from torch.distributions import Normal

from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.measurement import Measurement

SPACING = 5e-4
# of the divergence, that of densities between nodes which just resolve their steps
TOLERANCE = {"elbo": 1e-9, "eubo": 1e-9, "kl_reverse": 1e-9, "kl_forward": 1e-9, "jsd": 1e-8}


class Two(Density):
    """Two equal modes of standard deviation `width`, `apart` from each other."""

    dim, log_Z = 1, 0.0

    def __init__(self, apart: float, width: float) -> None:
        self.apart, self.width = apart, width

    def log_reward(self, states: Tensor) -> Tensor:
        x = states.double()[..., 0]
        modes = [Normal(mean, self.width).log_prob(x) for mean in torch.tensor([-0.5, 0.5]).double() * self.apart]
        return torch.logaddexp(*modes) - math.log(2)


def compared(target: Density, std: float) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of P_F = N(0, std^2), and the same by brute force."""
    sampler = make("mean_field", f"init_std={std}", target=target, n_replicas=1)
    moment = Measurement(sampler, target, generators(0, 1), True, None, Quadrature(None, None, None))
    x = torch.arange(-60.0, 60.0, SPACING, dtype=torch.float64)
    log_p, log_q = target.log_reward(x[:, None]), Normal(torch.zeros(()).double(), std).log_prob(x)
    p, q, log_m = log_p.exp(), log_q.exp(), torch.logaddexp(log_p, log_q) - math.log(2)
    expected = {
        "elbo": q * (log_p - log_q),
        "eubo": p * (log_p - log_q),
        "kl_reverse": q * (log_q - log_p),
        "kl_forward": p * (log_p - log_q),
        "jsd": (p * (log_p - log_m) + q * (log_q - log_m)) / 2,
    }
    found = ExactMetrics()(moment)
    return {name: float(found[name]) for name in expected}, {k: float(v.sum()) * SPACING for k, v in expected.items()}


@pytest.mark.parametrize(("apart", "width", "std"), [(4, 0.6, 1.0), (6, 0.5, 1.5), (10, 0.5, 4.0), (3, 0.8, 0.5), (8, 1.0, 3.0)])
def test_of_two_modes(apart: float, width: float, std: float) -> None:
    found, expected = compared(Two(apart, width), std)
    for name, value in expected.items():
        assert abs(found[name] - value) < TOLERANCE[name], name


@pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (1.5, 0.7), (3.0, 0.7), (5.0, 1.0), (6.0, 0.7), (30.0, 1.0), (8.0, 2.0)])
def test_of_two_gaussians_apart(mean: float, std: float) -> None:
    """Far apart the Jensen-Shannon divergence is log 2."""
    target = GaussianDensity(torch.tensor([mean]).double(), torch.tensor([[std**2]], dtype=torch.float64))
    found, expected = compared(target, 1.0)
    for name, value in expected.items():
        assert abs(found[name] - value) < TOLERANCE[name], name
