"""Gradients along the noise: against closed forms, against finite differences, and against gradients by scores."""

from __future__ import annotations

import pytest
import torch
from building import generators
from densities import CASES, VARIANTS, GaussianDensity, Noise, make, spread
from linear_chains import LinearChain, R, gaussian_kl, hermite
from torch import Tensor

from gfn_vi.core.types import Need, Role, Trajectories
from gfn_vi.samplers.continuous.sampler import ContinuousSampler

PATHS = (Need.PATHWISE, Need.STICKING_THE_LANDING)
MEAN, COVARIANCE = torch.tensor([0.7, -0.4]), torch.tensor([[1.3, 0.5], [0.5, 0.8]])
LOG_Z = 1.7
SIZES = [(1, 3), (2, 2), (2, 1)]  # dimension, steps
NOISY = [(name, variant) for name, variant in CASES if make(name, *VARIANTS[name][variant]).has_noise_path]


def target(dim: int) -> GaussianDensity:
    return GaussianDensity(MEAN[:dim], COVARIANCE[:dim, :dim], LOG_Z)


def on_nodes(chain: LinearChain, order: int) -> tuple[Trajectories, Tensor]:
    """Trajectories whose noise is at the nodes of a quadrature, and their weights [B]."""
    nodes, weights = hermite(chain.n_steps * chain.dim, order)
    noise = nodes.view(-1, chain.n_steps, chain.dim).transpose(0, 1).expand(R, -1, -1, -1)
    return chain.rollout(len(weights), Noise(noise)), weights


def gradient(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True))


# -- exact expectations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "n_steps"), SIZES)
def test_expected_gradients_are_those_of_the_closed_form(dim: int, n_steps: int) -> None:
    """KL(P_F, P_B) of Gaussians; along the noise, without the score of P_F, and by scores: one gradient, for P_F and P_B.

    l is quadratic in the noise, so three nodes per number integrate l times a score exactly. Trajectory balance and the
    log-variance have twice that gradient for P_F.
    """
    chain = LinearChain(target(dim), n_steps)
    groups = chain.parameter_groups()
    forward, backward = groups[Role.FORWARD], groups[Role.BACKWARD]
    divergence = sum(gaussian_kl(chain.forward_joint(r), chain.backward_joint(r)) for r in range(R))
    exact_forward, exact_backward = gradient(divergence, forward), gradient(divergence, backward)
    # of one step nothing goes back, and the weight of the source counts for nothing
    assert all(bool((g != 0).any()) for g in (*exact_forward, *exact_backward)) == (n_steps > 1)
    drawn, weights = on_nodes(chain, 3)
    plain = chain.evaluate(drawn)
    ratio = plain.log_ratio()
    torch.testing.assert_close((weights * ratio).sum() + R * LOG_Z, divergence, rtol=1e-11, atol=1e-11)
    fixed = ratio.detach()
    centered = ratio - (weights * ratio).sum(1, keepdim=True)
    found = {
        "score": (weights * (fixed * plain.trajectory_log_pf - plain.trajectory_log_pb)).sum(),
        **{need.name: (weights * chain.evaluate(drawn, frozenset({need})).log_ratio()).sum() for need in PATHS},
    }
    for name, value in found.items():
        for side, exact in ((forward, exact_forward), (backward, exact_backward)):
            for a, b in zip(gradient(value, side), exact, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
    for value in ((weights * plain.residual().square()).sum(), (weights * centered.square()).sum()):
        for a, b in zip(gradient(value, forward), exact_forward, strict=True):
            torch.testing.assert_close(a, 2 * b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("dim", "n_steps"), SIZES)
@torch.no_grad()
def test_the_bounds_are_what_the_divergences_say(dim: int, n_steps: int) -> None:
    """ELBO = log Z - KL(P_F, P_B) <= log Z <= EUBO = log Z + KL(P_B, P_F), exactly and at any number of steps."""
    chain = LinearChain(target(dim), n_steps)
    drawn, weights = on_nodes(chain, 3)
    elbo = -(weights * chain.evaluate(drawn).log_ratio()).sum(1)
    nodes, weights = hermite(n_steps * dim, 3)
    nodes = nodes.view(-1, n_steps, dim)
    terminals = (MEAN[:dim] + nodes[:, 0] @ torch.linalg.cholesky(COVARIANCE[:dim, :dim].double()).T).expand(R, -1, -1)
    back = chain.backward_rollout(terminals, Noise(nodes[:, 1:].transpose(0, 1).expand(R, -1, -1, -1)))
    eubo = -(weights * chain.evaluate(back).log_ratio()).sum(1)
    for r in range(R):
        forward, backward = chain.forward_joint(r), chain.backward_joint(r)
        torch.testing.assert_close(elbo[r], LOG_Z - gaussian_kl(forward, backward), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(eubo[r], LOG_Z + gaussian_kl(backward, forward), rtol=1e-11, atol=1e-11)
        assert elbo[r] < LOG_Z < eubo[r]


# -- finite differences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", NOISY, ids="-".join)
@pytest.mark.parametrize("need", PATHS)
def test_gradients_along_the_noise_are_finite_differences(case: tuple[str, str], need: Need) -> None:
    """Roll out with the same noise at parameters nearby: l changes as its gradient says, whatever is learned and looked at.

    Without the score of P_F, log P_F is that of the parameters before the change.
    """
    name, variant = case
    sampler = spread(make(name, *VARIANTS[name][variant]))
    drawn = sampler.rollout(5, generators(7, R))
    parameters = list(sampler.parameters())
    loss = sampler.evaluate(drawn, frozenset({need})).log_ratio()
    direction = [generators(1, R).normal(*p.shape[1:]) for p in parameters]
    grads = gradient(loss.sum(), parameters)
    slope = sum((g * v).view(R, -1).sum(1) for g, v in zip(grads, direction, strict=True))
    before = make(name, *VARIANTS[name][variant])
    before.load_state_dict({k: v.clone() for k, v in sampler.state_dict().items()})

    @torch.no_grad()
    def moved(step: float) -> Tensor:
        after = make(name, *VARIANTS[name][variant])
        after.load_state_dict({k: v.clone() for k, v in sampler.state_dict().items()})
        for p, v in zip(after.parameters(), direction, strict=True):
            p.add_(step * v)
        nearby = after.rollout(5, generators(7, R))
        evaluation = after.evaluate(nearby)
        ratio = evaluation.log_ratio()
        if need is Need.STICKING_THE_LANDING:
            ratio = ratio - evaluation.trajectory_log_pf + before.log_density(nearby)
        return ratio.sum(1)

    h = 1e-5
    # fourth order: the error is h^4 and the rounding of l over h
    difference = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", NOISY, ids="-".join)
def test_the_two_differ_by_the_score(case: tuple[str, str]) -> None:
    name, variant = case
    sampler = spread(make(name, *VARIANTS[name][variant]))
    drawn = sampler.rollout(5, generators(7, R))
    parameters = list(sampler.parameters())
    path, landing = (gradient(sampler.evaluate(drawn, frozenset({n})).log_ratio().sum(), parameters) for n in PATHS)
    score = gradient(sampler.evaluate(drawn).log_pf.sum(), parameters)
    assert any(bool((s != 0).any()) for s in score)
    for a, b, s in zip(path, landing, score, strict=True):
        torch.testing.assert_close(a - b, s, rtol=1e-9, atol=1e-9)


# -- at the optimum ------------------------------------------------------------------------------------------------------


def optimal(name: str) -> tuple[ContinuousSampler, float]:
    """A sampler of exactly its target, and the log Z of it: what it is at initialization, or set to be."""
    small = ("hidden=[6]", "n_frequencies=4", "n_steps=4")
    if name == "diffusion":
        overrides, std = (*small, "sigma=1.5", "end_time=2.0"), 1.5 * 2**0.5
    elif name == "variance_preserving":
        overrides, std = (*small, "start_std=0.7"), 0.7
    elif name == "gaussian_chain":
        overrides, std = ("hidden=[6]", "n_layers=3", "init_std=1.3"), 1.3
    else:
        overrides, std = ("init_std=0.6",), 0.6
    return make(name, *overrides, target=GaussianDensity(torch.zeros(2), std**2 * torch.eye(2).double(), LOG_Z)), LOG_Z


@pytest.mark.parametrize("name", ["diffusion", "variance_preserving", "gaussian_chain", "mean_field", "full_rank", "flow"])
def test_sticking_the_landing_has_no_variance_at_the_optimum(name: str) -> None:
    """Every trajectory gives gradient 0 then, and l is -log Z on each; the gradient along the noise still varies."""
    sampler, log_Z = optimal(name)
    drawn = sampler.rollout(6, generators(0, R))
    ratio = sampler.evaluate(drawn).log_ratio()
    torch.testing.assert_close(ratio, torch.full_like(ratio, -log_Z), rtol=0, atol=1e-12)
    forward = sampler.parameter_groups()[Role.FORWARD]
    landing, path = (sampler.evaluate(drawn, frozenset({n})).log_ratio() for n in reversed(PATHS))
    for b in range(6):
        assert max(float(g.abs().max()) for g in gradient(landing[:, b].sum(), forward)) < 1e-12
        assert max(float(g.abs().max()) for g in gradient(path[:, b].sum(), forward)) > 1e-2


def test_full_rank_has_no_variance_on_a_correlated_gaussian() -> None:
    sampler = make("full_rank", target=target(2))
    tril = torch.linalg.cholesky(COVARIANCE.double())
    with torch.no_grad():
        sampler.mean.copy_(MEAN)
        sampler.log_diagonal.copy_(tril.diagonal().log())
        sampler.below_diagonal.copy_(tril[1, 0])
    landing = sampler.evaluate(sampler.rollout(6, generators(0, R)), frozenset({Need.STICKING_THE_LANDING})).log_ratio()
    for b in range(6):
        assert max(float(g.abs().max()) for g in gradient(landing[:, b].sum(), list(sampler.parameters()))) < 1e-12


def test_mean_field_finds_the_known_optima_of_a_correlated_gaussian() -> None:
    """Gradient 0 where theory says: variances 1 / precision for KL(P_F, P_B), the marginal ones for KL(P_B, P_F)."""
    density, nodes = target(2), hermite(2, 3)
    parameters = {}
    for direction, variance in (("reverse", 1 / density.precision.diagonal()), ("forward", density.covariance.diagonal())):
        sampler = make("mean_field", target=density)
        with torch.no_grad():
            sampler.mean.copy_(MEAN)
            sampler.log_std.copy_(variance.log() / 2)
        parameters[direction] = sampler
    weights = nodes[1]
    reverse = parameters["reverse"]
    drawn = reverse.rollout(9, Noise(nodes[0].expand(R, 1, -1, -1)))
    reverse_loss = (weights * reverse.evaluate(drawn, frozenset({Need.PATHWISE})).log_ratio()).sum()
    forward = parameters["forward"]
    terminals = (MEAN + nodes[0] @ torch.linalg.cholesky(density.covariance).T).expand(R, -1, -1)
    drawn = forward.backward_rollout(terminals, generators(0, R))
    forward_loss = (weights * forward.evaluate(drawn).trajectory_log_pf).sum()
    for sampler, loss in ((reverse, reverse_loss), (forward, forward_loss)):
        assert max(float(g.abs().max()) for g in gradient(loss, [sampler.mean, sampler.log_std])) < 1e-12
