"""Theorems 1 to 4 for Gaussian targets and linear chains, in one dimension and more: Gaussians have closed forms for both sides.

The side with u^2 is an expectation over trajectories that the sampler itself evaluates: u is quadratic in the noise, so that
three Gauss-Hermite nodes per number integrate u times its derivatives exactly.
"""

from __future__ import annotations

import pytest
import torch
from building import generators
from densities import GaussianDensity, Noise
from linear_chains import LinearChain, R, gaussian_kl, hermite
from torch import Tensor

from gfn_vi.core.types import Role, Trajectories
from gfn_vi.verification.equivalence import trajectory_balance_is_reverse_kl

MEAN, COVARIANCE = torch.tensor([0.7, -0.4]), torch.tensor([[1.3, 0.5], [0.5, 0.8]])
LOG_Z = 1.7
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
sizes = pytest.mark.parametrize(("dim", "n_steps"), [(1, 3), (2, 2)])  # the chain's own log Z is 0.4, and wrong


def chain_of(dim: int, n_steps: int) -> LinearChain:
    return LinearChain(GaussianDensity(MEAN[:dim], COVARIANCE[:dim, :dim], LOG_Z), n_steps)


def from_the_source(chain: LinearChain) -> tuple[Trajectories, Tensor]:
    """Trajectories of P_F at the nodes, and their weights [B]."""
    nodes, weights = hermite(chain.n_steps * chain.dim, 3)
    noise = nodes.view(-1, chain.n_steps, chain.dim).transpose(0, 1).expand(R, -1, -1, -1)
    return chain.rollout(len(weights), Noise(noise)), weights


def from_the_target(chain: LinearChain) -> tuple[Trajectories, Tensor]:
    """Trajectories of P_B from the target's own points at the nodes, and their weights [B]."""
    nodes, weights = hermite(chain.n_steps * chain.dim, 3)
    nodes = nodes.view(-1, chain.n_steps, chain.dim)
    ends = chain.target.mean + nodes[:, 0] @ torch.linalg.cholesky(chain.target.covariance).T
    noise = nodes[:, 1:].transpose(0, 1).expand(R, -1, -1, -1)
    return chain.backward_rollout(ends.expand(R, -1, -1), Noise(noise)), weights


def assert_same_gradients(chain: LinearChain, role: Role, left: Tensor, right: Tensor) -> None:
    parameters = chain.parameter_groups()[role]
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    found, wanted = (torch.autograd.grad(side, parameters, **options) for side in (left, right))
    assert all(bool((g != 0).any()) for g in wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@sizes
def test_theorem_1(dim: int, n_steps: int) -> None:
    """E under P_F of d_theta u^2 = 2 d_theta KL(P_F, P_B), though log Z is wrong."""
    chain = chain_of(dim, n_steps)
    drawn, weights = from_the_source(chain)
    left = (weights * chain.evaluate(drawn).residual().square()).sum()
    right = sum(gaussian_kl(chain.forward_joint(r), chain.backward_joint(r)) for r in range(R))
    assert_same_gradients(chain, Role.FORWARD, left, 2 * right)


@sizes
def test_theorem_2(dim: int, n_steps: int) -> None:
    """E under P_B of d_phi u^2 = 2 d_phi KL(P_B, P_F)."""
    chain = chain_of(dim, n_steps)
    drawn, weights = from_the_target(chain)
    left = (weights * chain.evaluate(drawn).residual().square()).sum()
    right = sum(gaussian_kl(chain.backward_joint(r), chain.forward_joint(r)) for r in range(R))
    assert_same_gradients(chain, Role.BACKWARD, left, 2 * right)


def square_of_log_ratio(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor]) -> Tensor:
    """E under p of log^2(p / q) for two Gaussians: with x = m + L z it is (c + b z + z A z)^2, of mean c + tr A and variance
    |b|^2 + 2 tr A^2.
    """
    tril, precision = torch.linalg.cholesky(p[1]), torch.linalg.inv(q[1])
    shift = p[0] - q[0]
    a = (tril.T @ precision @ tril - torch.eye(len(shift)).double()) / 2
    b = tril.T @ precision @ shift
    c = (shift @ precision @ shift + torch.logdet(q[1]) - torch.logdet(p[1])) / 2
    return (c + a.trace()).square() + b.square().sum() + 2 * (a @ a).trace()


@sizes
def test_theorem_3(dim: int, n_steps: int) -> None:
    """E under P_F of d_phi u^2 = d_phi (E log^2(P_B / P_F) + 2 (log Z - log Zhat) KL(P_F, P_B)), P_F held fixed (eq. 9)."""
    chain = chain_of(dim, n_steps)
    drawn, weights = from_the_source(chain)
    left = (weights * chain.evaluate(drawn).residual().square()).sum()
    right = torch.zeros(()).double()
    for r in range(R):
        forward, backward = chain.forward_joint(r), chain.backward_joint(r)
        excess = chain.log_Z[r].detach() - LOG_Z
        right = right + square_of_log_ratio(forward, backward) + 2 * excess * gaussian_kl(forward, backward)
    assert_same_gradients(chain, Role.BACKWARD, left, right)


@sizes
def test_theorem_4(dim: int, n_steps: int) -> None:
    """Trajectory balance and the reverse KL with baseline -log Z go the same way, update by update."""
    check = trajectory_balance_is_reverse_kl(chain_of(dim, n_steps), generators(0, R), 30)
    assert check.holds(1e-9)
    assert bool((check.left > 1e-3).all())
