"""A normalizing flow: its density is a density, and that of what it draws, by a Jacobian that knows nothing of couplings."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from building import generators, make_trainer
from densities import VARIANTS, Bumps, Noise, make, spread
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.exploration.widened import WidenedSteps
from gfn_vi.samplers.continuous.flow import FlowSampler

R = 2
SMALL = VARIANTS["flow"]["plain"]
TILTS = [None, WidenedSteps(0.4).tilt(0)]


def far_from_gaussian(dim: int) -> FlowSampler:
    """Its couplings bend: each log-density is that of no Gaussian."""
    return spread(make("flow", *SMALL, target=Bumps(dim)))


@pytest.mark.parametrize("tilt", TILTS, ids=["plain", "widened"])
@torch.no_grad()
def test_the_density_integrates_to_1(tilt: object) -> None:
    """By the trapezoidal rule in t with x = sinh t, out to 40. zuko bounds scales by a function with a kink in its second
    derivative: halving the spacing leaves an error of some 1e-10.
    """
    sampler = far_from_gaussian(2)
    kernel = sampler.family() if tilt is None else sampler.family().tilted(torch.zeros(1), tilt)
    t = torch.linspace(-4.4, 4.4, 401, dtype=torch.float64)
    points, width = torch.cartesian_prod(t.sinh(), t.sinh()), t.cosh() * (t[1] - t[0])
    mass = kernel.log_density(points.expand(R, -1, -1)[:, :, None]).exp()[:, :, 0] * torch.outer(width, width).flatten()
    torch.testing.assert_close(mass.sum(1), torch.ones(R).double(), rtol=0, atol=1e-9)
    centered = points - (mass[..., None] * points).sum(1, keepdim=True)
    second, fourth = ((mass[..., None] * centered**power).sum(1) for power in (2, 4))
    assert float((fourth / second.square() - 3).abs().max()) > 0.1, "far enough from a Gaussian"


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("tilt", TILTS, ids=["plain", "widened"])
def test_the_density_of_what_is_drawn_is_the_change_of_variables(dim: int, tilt: object) -> None:
    """log N(noise) minus the log of the Jacobian's determinant, by autograd, dense; evaluated again it is the same."""
    sampler = far_from_gaussian(dim)
    noise = generators(5, R).normal(1, 6, dim)
    drawn = sampler.rollout(6, Noise(noise), tilt)
    kernel = sampler.family() if tilt is None else sampler.family().tilted(torch.zeros(1), tilt)
    for r in range(R):
        for b in range(6):

            def state(own: Tensor, r: int = r, b: int = b) -> Tensor:
                full = noise.transpose(1, 2).clone()  # [R, 6, 1, d]
                full[r, b, 0] = own
                return kernel.draw(full)[0][r, b, 0]

            jacobian = torch.autograd.functional.jacobian(state, noise[r, 0, b])
            log_normal = -0.5 * noise[r, 0, b].square().sum() - dim / 2 * math.log(2 * math.pi)
            wanted = log_normal - torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(drawn.log_behavior[r, b], wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(sampler.log_density(drawn, tilt), drawn.log_behavior, rtol=1e-11, atol=1e-11)


def test_it_starts_as_a_gaussian_and_its_weights_differ_by_replica() -> None:
    sampler = make("flow", *SMALL, "init_std=0.7")
    x = generators(0, R).normal(9, 3)
    wanted = torch.distributions.Normal(*torch.tensor([0.0, 0.7], dtype=torch.float64)).log_prob(x).sum(-1)
    torch.testing.assert_close(sampler.family().log_density(x[:, :, None])[:, :, 0], wanted, rtol=1e-12, atol=1e-12)
    drawn = [p for p in sampler.weights if bool(p.any())]
    assert len(drawn) == len(sampler.weights) - 2 * 3  # the last layer of each coupling is zero
    for p in drawn:
        assert not torch.equal(p[0], p[1])
        bound = 1 / math.sqrt(p.shape[-1]) if p.dim() == 3 else 1.0
        assert bool((p.abs() <= bound).all())


def test_building_it_takes_no_number_of_the_global_generator() -> None:
    before = torch.get_rng_state()
    one, other = make("flow", *SMALL), make("flow", *SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_what_a_gaussian_cannot() -> None:
    """A curved, heavy-tailed target: the ELBO comes closer to log Z than the best Gaussian's does."""
    run = (
        *("target=funnel", "target.dim=2", "target.s=1.0", "objective=reverse_kl", "estimator@objective.estimator=pathwise"),
        *("baseline@objective.baseline=none", "optimizer.lr_forward=0.01", "trainer.batch_size=128"),
        *("trainer.n_trajectories=51200", "evaluation.n_samples=2000"),
    )
    elbo = {}
    for choice in (("sampler=full_rank",), ("sampler=flow", "sampler.hidden=[16]", "sampler.n_couplings=4")):
        trainer = make_trainer(*run, *choice)
        for _ in range(trainer.budget.steps):
            trainer.update()
        elbo[choice[0]] = float(trainer.measure()["sampled_elbo"][0])
    assert elbo["sampler=full_rank"] < -0.1
    assert -0.06 < elbo["sampler=flow"] < 0.02


def test_one_dimension_is_refused() -> None:
    with pytest.raises(ConfigError, match="sampler=mean_field"):
        make("flow", *SMALL, target=Bumps(1))


def test_without_zuko_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(ConfigError, match=r"gfn_vi\[flows\]"):
        make("flow", *SMALL)
