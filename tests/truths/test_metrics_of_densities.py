"""What exact samples say of a sampler, by hand, in closed form and at the optimum; and where the samples of densities lie."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from building import generators
from densities import CASES, VARIANTS, GaussianDensity, make, spread
from linear_chains import LinearChain, gaussian_kl
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.densities.bounds import BoundsFromTheTarget
from gfn_vi.evaluation.densities.distances import Distances, _distances
from gfn_vi.evaluation.densities.samples import DensitySamples
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.mixtures import GaussianMixture

R, LOG_Z = 2, 1.7
EXACT = {"rtol": 1e-11, "atol": 1e-11}
MEAN, COVARIANCE = torch.tensor([0.7, -0.4]), torch.tensor([[1.3, 0.5], [0.5, 0.8]])


class Sampled(GaussianDensity):
    """A Gaussian with exact samples."""

    has_exact_samples = True

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return self.mean + rng.normal(n, self.dim) @ torch.linalg.cholesky(self.covariance).T


def target(dim: int = 2) -> Sampled:
    return Sampled(MEAN[:dim], COVARIANCE[:dim, :dim], LOG_Z)


def bounds(sampler: Any, n: int, n_drawn: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    rng = generators(seed, sampler.n_replicas, "metrics")
    return BoundsFromTheTarget(n)(Measurement(sampler, sampler.target, rng, False, n_drawn or n))


# -- bounds --------------------------------------------------------------------------------------------------------------


def test_bounds_from_the_target_by_hand() -> None:
    """With as many samples of P_F as one likes, drawn first; w = R P_B / P_F of exact samples and of P_F's, one by one."""
    sampler = spread(make("diffusion", *VARIANTS["diffusion"]["learned"], target=target()))
    found = bounds(sampler, 5, n_drawn=9)
    rng = generators(0, R, "metrics")
    drawn = sampler.rollout(9, rng)
    back = sampler.backward_rollout(sampler.target.sample(5, rng), rng)
    for r in range(R):
        forward, backward = (-sampler.evaluate(t).log_ratio()[r].detach().numpy() for t in (drawn, back))
        w = np.exp(backward)
        expected = {
            "eubo": backward.mean(),
            "eubo_se": backward.std(ddof=1) / math.sqrt(5),
            "bound_gap": backward.mean() - forward.mean(),
            "bound_gap_se": math.sqrt(backward.var(ddof=1) / 5 + forward.var(ddof=1) / 9),
            "target_log_Z": -math.log((1 / w).mean()),
            # delta method: the relative standard error of the mean of 1 / w, with the variance of all five
            "target_log_Z_se": (1 / w).std() / math.sqrt(5) / (1 / w).mean(),
            "ess_forward": 1 / (w.mean() * (1 / w).mean()),
        }
        for weights, own in {"target": 1 / w, "target_inverse": w}.items():
            expected[f"{weights}_n_effective"] = own.sum() ** 2 / (own**2).sum()
        told = {name: float(value[r]) for name, value in found.items() if not name.endswith("_pareto_k")}
        assert told == pytest.approx(expected, rel=1e-9)
    assert set(BoundsFromTheTarget(2).records(sampler.target, False, True)) == set(found)


@pytest.mark.parametrize(("dim", "n_steps"), [(1, 3), (2, 2)])
@torch.no_grad()
def test_bounds_from_the_target_of_linear_chains(dim: int, n_steps: int) -> None:
    """EUBO = log Z + KL(P_B, P_F), EUBO - ELBO the sum of both KLs, and log Z: within 4.5 standard errors of 40,000 samples."""
    chain = LinearChain(target(dim), n_steps)
    found = bounds(chain, 40_000)
    for r in range(R):
        forward, backward = chain.forward_joint(r), chain.backward_joint(r)
        reverse, ahead = gaussian_kl(forward, backward), gaussian_kl(backward, forward)
        closed = {"eubo": LOG_Z + ahead, "bound_gap": reverse + ahead}
        for name, value in closed.items():
            error = found[f"{name}_se"][r]
            assert float((found[name][r] - value).abs()) < 4.5 * float(error), name
            assert float(error) < 0.1 * float(reverse + ahead), name


@pytest.mark.parametrize("std", [0.7, 1.2])
def test_what_exact_samples_say_of_one_step(std: float) -> None:
    """P_F = N(0, 1), R = Z N(0, t^2): E[w] E[1 / w] = 1 / (t^2 sqrt(2 / t^2 - 1)); the spread of 20 repetitions is as told."""
    density = Sampled(torch.zeros(1), torch.tensor([[std**2]], dtype=torch.float64), LOG_Z)
    sampler = make("mean_field", "init_std=1.0", target=density)
    found = [bounds(sampler, 4000, seed=10 * k) for k in range(10)]
    log_Z, error, ess = (torch.cat([f[name] for f in found]) for name in ("target_log_Z", "target_log_Z_se", "ess_forward"))
    assert abs(float(ess.mean()) - std**2 * math.sqrt(2 / std**2 - 1)) < 4.5 * float(ess.std()) / math.sqrt(20)
    if std < 1:  # otherwise 1 / w has no variance
        assert abs(float(log_Z.mean()) - LOG_Z) < 4.5 * float(log_Z.std()) / math.sqrt(20)
        assert float(log_Z.std() / error.mean()) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_log_Z_lies_between_the_bounds(case: tuple[str, str]) -> None:
    """EUBO >= log Z >= ELBO for every sampler, by more than three standard errors."""
    name, variant = case
    sampler = spread(make(name, *VARIANTS[name][variant], target=target()), size=0.1)
    found = bounds(sampler, 400)
    elbo, elbo_se = found["eubo"] - found["bound_gap"], (found["bound_gap_se"] ** 2 - found["eubo_se"] ** 2).sqrt()
    assert bool((found["eubo"] - 3 * found["eubo_se"] > LOG_Z).all())
    assert bool((elbo + 3 * elbo_se < LOG_Z).all())


@pytest.mark.parametrize("name", ["diffusion", "variance_preserving", "gaussian_chain", "mean_field", "full_rank", "flow"])
def test_bounds_meet_where_the_sampler_is_right(name: str) -> None:
    """What it is at initialization is its target: every w is Z, so that nothing is random."""
    options = {"variance_preserving": ("start_std=0.7",), "gaussian_chain": ("init_std=0.7",), "diffusion": ("sigma=0.7",)}
    small = VARIANTS[name]["plain"]
    density = Sampled(torch.zeros(2), 0.49 * torch.eye(2), LOG_Z)
    sampler = make(name, *small, *options.get(name, ("init_std=0.7",)), target=density)
    wanted = {"eubo": LOG_Z, "bound_gap": 0.0, "target_log_Z": LOG_Z, "ess_forward": 1.0}
    for weights in ("target", "target_inverse"):
        wanted |= {f"{weights}_n_effective": 50.0, f"{weights}_pareto_k": -math.inf}
    found = bounds(sampler, 50)
    for metric, value in found.items():
        torch.testing.assert_close(value, torch.full_like(value, wanted.get(metric, 0.0)), rtol=0, atol=1e-7, msg=metric)


# -- distances -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_distances_are_means_over_blocks_beside_their_floor() -> None:
    """Three blocks of 8 of 25 samples; the floor compares two sets of exact samples, never a set with itself."""
    sampler, metric = spread(make("mean_field", target=target())), Distances(25, 8, 6)
    found = metric(Measurement(sampler, sampler.target, generators(4, R, "metrics"), False, 30))
    rng = generators(4, R, "metrics")
    ours = sampler.rollout(30, rng).terminal_states()
    theirs, others = sampler.target.sample(25, rng), sampler.target.sample(25, rng)
    directions = rng.normal(3, 2, 6)
    directions /= directions.norm(dim=2, keepdim=True)
    for name, distance in _distances(None).items():
        for label, first in ((name, ours), (f"{name}_floor", others)):
            for r in range(R):
                values = [
                    float(distance(*(x[r, 8 * b : 8 * b + 8] for x in (first, theirs)), directions[r, b])) for b in range(3)
                ]
                assert float(found[label][r]) == pytest.approx(np.mean(values), rel=1e-12)
                assert float(found[f"{label}_se"][r]) == pytest.approx(np.std(values, ddof=1) / math.sqrt(3), rel=1e-12)
    assert set(metric.records(sampler.target, False, True)) == set(found)


# -- where samples lie ---------------------------------------------------------------------------------------------------


def lying(density: Any, states: list[list[list[float]]], log_reward: Tensor | None = None) -> dict[str, Tensor]:
    """What is said of samples [R, n, d], as if they had been drawn."""
    x = torch.tensor(states).double()
    moment = Measurement(None, density, generators(0, len(x)), False, x.shape[1])
    reward = density.log_reward(x) if log_reward is None else log_reward
    vars(moment)["samples"] = (SimpleNamespace(terminal_states=lambda: x, log_reward=reward), None)
    metric = DensitySamples(x.shape[1])
    found = metric(moment)
    assert set(metric.records(density, False, True)) == set(found)
    return found


def test_shares_of_modes_by_hand() -> None:
    """Masses 1/2, 3/10 and 1/5: shares 3/4, 1/4, 0; then 1/4, 0, 1/4 and half of the samples nowhere, not being numbers."""
    density = GaussianMixture(1, [[-5.0], [0.0], [5.0]], [0.1, 0.1, 0.1], [math.log(p) for p in (0.5, 0.3, 0.2)])
    left, middle, right = [-5.0], [0.1], [4.9]
    found = lying(density, [[left, left, left, middle], [left, right, [math.nan], [math.inf]]])
    assert found["mode_mass_error"].tolist() == pytest.approx([(0.25 + 0.05 + 0.2) / 2, (0.25 + 0.3 + 0.05 + 0.5) / 2])
    assert found["modes_covered"].tolist() == [2, 2]
    assert found["non_finite_share"].tolist() == [0, 0.5]


def test_a_mode_is_covered_from_half_of_its_mass_on() -> None:
    density = GaussianMixture(1, [[-5.0], [5.0]], [0.1, 0.1], [math.log(0.5)] * 2)
    for n, covered in ((3, 2), (2, 2), (1, 1)):  # of eight, half of the mass being two
        assert lying(density, [[[5.0]] * n + [[-5.0]] * (8 - n)])["modes_covered"].tolist() == [covered]


def test_samples_whose_reward_is_not_finite_are_counted() -> None:
    density = GaussianMixture(1, [[-5.0], [5.0]], [0.1, 0.1], [math.log(0.5)] * 2)
    reward = torch.tensor([[0.0, math.inf, 0.0, -math.inf]])
    found = lying(density, [[[5.0], [-5.0], [5.0], [5.0]]], reward)
    assert found["non_finite_share"].tolist() == [0.5]
    assert found["mode_mass_error"].tolist() == pytest.approx([0.5])  # the left mode is empty: half of the samples are in none


def test_shares_of_wells_by_hand() -> None:
    """The worst pair counts; what is not a number is in no well, so that nobody is right by chance."""
    density = ManyWell(4)
    left, right = -1.7, 1.7
    pairs = [[left, 0.0, right, 0.0], [right, 0.0, right, 0.0], [right, 0.0, right, 0.0], [left, 0.0, right, 0.0]]
    assert lying(density, [pairs])["well_error"].tolist() == pytest.approx([0.5 - density.left_mass])
    found = lying(density, [[[math.nan] * 4] * 4])
    assert found["non_finite_share"].tolist() == [1]
    assert found["well_error"].tolist() == pytest.approx([1 - density.left_mass])
