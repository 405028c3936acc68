"""Langevin chains leave a density as it is; a local search is such chains, on a clock, counted, and remembered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import generators
from densities import NETWORK, Bumps, GaussianDensity, make
from torch import Tensor
from torch.distributions import MultivariateNormal

from gfn_vi.core.errors import ConfigError
from gfn_vi.exploration.local_search import BEST_ACCEPTANCE, LocalSearch
from gfn_vi.exploration.mala import Points, log_ratio, mala_step
from gfn_vi.exploration.tilted import OnPolicy

R, DIM = 2, 2
EXACT = {"rtol": 1e-12, "atol": 1e-12}
GAUSSIAN = GaussianDensity(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.7]]), log_Z=2.0)
STEPS = torch.tensor([0.1, 0.6], dtype=torch.float64)  # of each replica


def points_of(target: Any) -> Any:
    return lambda states: Points(states, target.log_reward(states), target.score(states))


def proposal(target: Any, start: Tensor, step: Tensor) -> MultivariateNormal:
    """Written down as the definition has it."""
    mean = start + step[:, None, None] * target.score(start)
    covariance = 2 * step[:, None, None, None] * torch.eye(start.shape[-1]).double()
    return MultivariateNormal(mean, covariance)


@pytest.mark.parametrize("target", [GAUSSIAN, Bumps(DIM)], ids=["gaussian", "bumps"])
def test_the_ratio_is_that_of_the_definition_and_balances_in_detail(target: Any) -> None:
    """R(x) q(x' | x) min(1, ratio) is the same in both directions."""
    x, y = generators(0, R).normal(50, DIM), generators(1, R).normal(50, DIM)
    at = points_of(target)
    found = log_ratio(at(x), at(y), STEPS)
    there = target.log_reward(x) + proposal(target, x, STEPS).log_prob(y)
    back = target.log_reward(y) + proposal(target, y, STEPS).log_prob(x)
    torch.testing.assert_close(found, back - there, **EXACT)
    reverse = log_ratio(at(y), at(x), STEPS)
    torch.testing.assert_close(there + found.clamp(max=0), back + reverse.clamp(max=0), **EXACT)


def test_chains_of_exact_samples_stay_exact() -> None:
    """Means and second moments after 30 steps, each within 4.5 standard errors of 20,000 independent chains."""
    n, rng, at = 20_000, generators(3, R), points_of(GAUSSIAN)
    tril = torch.linalg.cholesky(GAUSSIAN.covariance)
    points = at(GAUSSIAN.mean + rng.normal(n, DIM) @ tril.T)
    moved = torch.zeros(R).double()
    for _ in range(30):
        points, accepted = mala_step(points, STEPS, rng.normal(n, DIM), rng.uniform(n), at)
        moved += accepted.double().mean(1) / 30
    assert 0.3 < float(moved[1]) < 0.8 < float(moved[0]), "a small step and one that is often refused"
    torch.testing.assert_close(points.log_reward, GAUSSIAN.log_reward(points.states), **EXACT)
    torch.testing.assert_close(points.score, GAUSSIAN.score(points.states), **EXACT)
    centered = points.states - GAUSSIAN.mean
    products = centered[..., :, None] * centered[..., None, :]
    for values, wanted in ((centered, torch.zeros(DIM).double()), (products.flatten(2), GAUSSIAN.covariance.flatten())):
        error = values.std(1) / math.sqrt(n)
        assert bool(((values.mean(1) - wanted).abs() < 4.5 * error).all())


def test_what_is_not_a_number_is_refused() -> None:
    def at(states: Tensor) -> Points:
        spoiled = states.where(states > 0, math.nan)
        return Points(states, spoiled.sum(-1), -states)

    start = at(torch.ones(R, 500, 1).double())
    rng = generators(0, R)
    for _ in range(20):
        start, _ = mala_step(start, STEPS, rng.normal(500, 1), rng.uniform(500), at)
    assert bool((start.states > 0).all())
    assert bool(start.log_reward.isfinite().all())


def searching(**changed: Any) -> LocalSearch:
    arguments = {"fraction": 0.5, "capacity": 400, "priority": "rank", "exponent": 1.0, "rank_weight": 0.1}
    search = {"every": 20, "n_chains": 6, "n_steps": 10, "burn_in": 4, "step_size": 0.1}
    return LocalSearch(source=OnPolicy(), **(arguments | search | changed))


def test_a_search_is_on_the_clock_and_counted() -> None:
    """At the first collect past each multiple of `every`; one reward per proposal, one score per proposal and start."""
    sampler, exploration, rng = make("diffusion", *NETWORK, target=Bumps(DIM)), searching(), generators(0, R)
    fresh = [8, 4, 4, 4, 4, 4, 4]
    for number, searches in enumerate([0, 0, 0, 1, 0, 1, 0]):  # after 0, 8, 16, 24, 32, 40, 48 trajectories
        rewards, scores = sampler.reward_calls.clone(), sampler.score_calls.clone()
        exploration.collect(sampler, 8, rng, 8 * number)
        assert (sampler.reward_calls - rewards).tolist() == [fresh[number] + searches * 60] * R
        assert (sampler.score_calls - scores).tolist() == [searches * 66] * R
        memory = exploration.memory
        n_fresh, most = sum(fresh[: number + 1]), 36 * (number >= 3) + 36 * (number >= 5)
        assert all(n_fresh <= size <= n_fresh + most for size in memory.size.tolist())
        for r, size in enumerate(memory.size.tolist()):
            held = memory.stored["objects"][r, :size]
            torch.testing.assert_close(memory.stored["log_reward"][r, :size], sampler.target.log_reward(held), **EXACT)
            assert len(set(map(tuple, held.tolist()))) == size, "no object twice"
    accepted = exploration.statistics()["search_acceptance"] * 36
    assert bool((accepted > 0).all())


def test_multiples_of_the_clock_that_a_batch_passed_are_one_search() -> None:
    """After 8, 90 and 98 trajectories with a search every 20: one when four multiples were passed at once, none after it."""
    sampler, exploration, rng = make("diffusion", *NETWORK, target=Bumps(DIM)), searching(), generators(0, R)
    found = []
    for seen in (0, 8, 90, 98, 100):
        before = sampler.score_calls.clone()
        exploration.collect(sampler, 8, rng, seen)
        found.append((sampler.score_calls - before).tolist())
    assert found == [[0] * R, [0] * R, [66] * R, [0] * R, [66] * R]


def test_a_search_goes_on_with_the_step_size_of_the_last_one() -> None:
    """Replica by replica: without a burn-in the second search keeps what the first one was left with."""
    sampler, exploration, rng = make("diffusion", *NETWORK, target=Bumps(DIM)), searching(), generators(0, R)
    exploration.collect(sampler, 8, rng, 0)
    exploration.search(sampler, rng, 8)
    adapted = exploration.statistics()["search_step_size"]
    assert bool(((adapted / 0.1).log().abs() > 1e-3).all())
    exploration.burn_in = 0
    exploration.search(sampler, rng, 16)
    torch.testing.assert_close(exploration.statistics()["search_step_size"], adapted, **EXACT)


def test_accepted_points_after_the_burn_in_are_remembered() -> None:
    sampler, exploration, rng = make("diffusion", *NETWORK, target=Bumps(DIM)), searching(), generators(0, R)
    exploration.collect(sampler, 8, rng, 0)
    before = exploration.memory.size
    exploration.search(sampler, rng, 8)
    gained = exploration.memory.size - before
    torch.testing.assert_close(exploration.statistics()["search_acceptance"], gained.double() / 36, **EXACT)


def test_without_a_burn_in_every_step_counts_and_the_step_size_stays() -> None:
    sampler, exploration = make("diffusion", *NETWORK, target=Bumps(DIM)), searching(n_steps=1, burn_in=0)
    exploration.collect(sampler, 8, generators(0, R), 0)
    exploration.search(sampler, generators(0, R), 8)
    statistics = exploration.statistics()
    assert bool((statistics["search_acceptance"] > 0).all())
    assert statistics["search_step_size"].tolist() == pytest.approx([0.1] * R, rel=1e-12)


@pytest.mark.parametrize("step_size", [1e-3, 30.0])
def test_the_step_size_moves_towards_the_best_acceptance(step_size: float) -> None:
    """From far too small and far too large; 200 chains for 60 steps after the burn-in say the acceptance to about 0.01."""
    sampler, rng = make("diffusion", *NETWORK, target=GAUSSIAN), generators(0, R)
    exploration = searching(n_chains=200, n_steps=160, burn_in=100, step_size=step_size, priority="uniform")
    for number in range(3):
        exploration.collect(sampler, 40, rng, 40 * number)
    statistics = exploration.statistics()
    assert statistics["search_acceptance"].tolist() == pytest.approx([BEST_ACCEPTANCE] * R, abs=0.04)
    assert bool(((statistics["search_step_size"] > 0.05) & (statistics["search_step_size"] < 3)).all())


REFUSED = {
    "n_chains": 0,
    "n_steps": 2.5,
    "burn_in": 10,
    "every": 0,
    "step_size": 0.0,
    "priority": "best",
    "rank_weight": 0.0,
    "capacity": 0,
    "fraction": 1.0,
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_cannot_work_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        searching(**{key: REFUSED[key]})
    assert error.value.key == f"exploration.{key}"
