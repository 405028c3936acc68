"""A posterior that no formula knows, three ways: NUTS, annealed importance sampling and a trained sampler agree about it.

Logistic regression on a table of 40 rows and three columns, the intercept besides. The sampler is a diffusion, trained by
reverse KL along the noise; its samples count by their importance weights.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from annealing import annealed, log_mean, weighted_means
from building import generators, make_trainer
from known_densities import written
from torch import Tensor

from gfn_vi.evaluation.densities.nuts import Nuts, convergence

N = 4000
WORDS = (
    *("target=logistic_regression", "sampler=diffusion", "sampler.n_steps=8", "sampler.hidden=[32]", "objective=reverse_kl"),
    *("estimator@objective.estimator=sticking_the_landing", "baseline@objective.baseline=none", "optimizer.lr_forward=3e-3"),
    *("trainer.batch_size=64", "evaluation.n_samples=1000"),
)
Estimates = tuple[Tensor, Tensor]


def table() -> str:
    """Classes drawn from a regression with weights 1.5, -1 and 0.5."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    probability = (x @ torch.tensor([1.5, -1.0, 0.5], dtype=torch.float64) + 0.3).sigmoid()
    y = (torch.rand(40, dtype=torch.float64, generator=generator) < probability).long()
    rows = [",".join(f"{value:.6f}" for value in row) + f",{label}" for row, label in zip(x.tolist(), y.tolist(), strict=True)]
    return "\n".join(["a,b,c,y", *rows]) + "\n"


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = written(tmp_path_factory.mktemp("table"), table())
    found = make_trainer(*WORDS, f"target.data.path={path}")
    for _ in range(400):
        found.update()
    return found


@pytest.fixture(scope="module")
def ours(trainer: Any) -> tuple[Tensor, Tensor]:
    """Samples of the trained sampler [N, d], and their log-weights [N]."""
    sampler = trainer.parts.sampler
    with torch.no_grad():
        trajectories = sampler.rollout(N, generators(1, 1))
        log_weights = -sampler.evaluate(trajectories).log_ratio()[0]
    return trajectories.terminal_states()[0], log_weights


@pytest.fixture(scope="module")
def theirs(trainer: Any) -> tuple[Tensor, Tensor]:
    """States of annealed importance sampling, and their log-weights."""
    target = trainer.parts.target
    return annealed(target.log_reward, target.score, target.dim, n_chains=1000, n_levels=100, step=0.15)


def assert_agree(first: Estimates, second: Estimates) -> None:
    """Each estimate with its standard error: within four of that of the difference."""
    error = (first[1].square() + second[1].square()).sqrt()
    assert float(((first[0] - second[0]) / error).abs().max()) < 4


def test_the_weights_are_worth_something(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    """Effective sample sizes: else the errors of what follows mean nothing."""
    for _, log_weights in (ours, theirs):
        share = log_weights.softmax(0)
        assert float(1 / share.square().sum()) > len(share) / 5


def test_log_Z_by_our_weights_and_by_annealing(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    (found, error), (expected, other) = log_mean(ours[1]), log_mean(theirs[1])
    assert math.hypot(error, other) < 0.05
    assert abs(found - expected) < 4 * math.hypot(error, other)


def test_posterior_means_by_nuts_by_our_weights_and_by_annealing(
    trainer: Any, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]
) -> None:
    chains = Nuts(2, 300, 150, 1.0, 0.8, 10, 0, 1.05, 100, 0.01).draw(trainer.parts.target)
    r_hat, ess = convergence(chains["samples"])
    assert float(r_hat.max()) < 1.02
    samples = chains["samples"].flatten(0, 1)
    nuts = samples.mean(0), samples.std(0) / ess.sqrt()
    assert float(nuts[1].max()) < 0.05
    assert_agree(nuts, weighted_means(*ours))
    assert_agree(nuts, weighted_means(*theirs))
    assert_agree(weighted_means(*ours), weighted_means(*theirs))
