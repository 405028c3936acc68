"""Reference samples: what their convergence is judged by, errors of means over them, and chains against a known density."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import generators
from densities import GaussianDensity, make
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.evaluation.densities.bounds import BoundsFromTheTarget
from gfn_vi.evaluation.densities.nuts import Nuts, convergence
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.references import BaseChains, Chains, References

GAUSSIAN = GaussianDensity(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.7]]), log_Z=2.0)


def nuts(n_samples: int, n_warmup: int, seed: int = 0) -> Nuts:
    return Nuts(2, n_samples, n_warmup, 1.0, 0.8, 10, seed, 1.05, 100, 0.01)


def autoregressive(correlation: float, *shape: int) -> Tensor:
    """Chains [C, N, d] of standard normal numbers, each with that correlation to the one before."""
    noise = generators(5, 1).normal(*shape)[0]
    chains = [noise[:, 0]]
    for k in range(1, shape[1]):
        chains.append(correlation * chains[-1] + math.sqrt(1 - correlation**2) * noise[:, k])
    return torch.stack(chains, 1)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_effective_sample_sizes_are_those_of_autoregressive_chains(correlation: float) -> None:
    """Of N they are worth N (1 - c) / (1 + c); R-hat is 1. Monotone functions of a coordinate change neither."""
    chains = autoregressive(correlation, 16, 4000, 3)
    r_hat, ess = convergence(chains)
    expected = 64000 * (1 - correlation) / (1 + correlation)
    assert float((ess / expected - 1).abs().max()) < 0.1
    assert float((r_hat - 1).abs().max()) < 0.005
    torch.testing.assert_close(convergence((3 * chains).exp())[1], ess)


def test_chains_that_disagree_are_told_by_their_place_and_by_their_width() -> None:
    """The first of three coordinates is sound; R-hat of the others says that one chain lies elsewhere, or is wider."""
    chains = autoregressive(0.0, 4, 1000, 3)
    chains[0, :, 1] += 1
    chains[0, :, 2] *= 2
    r_hat, _ = convergence(chains)
    assert float(r_hat[0]) < 1.01
    assert float(r_hat[1:].min()) > 1.04
    drifting = autoregressive(0.0, 2, 1000, 1) + torch.linspace(-1, 1, 1000).double()[:, None]
    assert float(convergence(drifting)[0]) > 1.1, "halves of one chain disagree"


class Given(BaseChains):
    """Chains that are there already."""

    def __init__(self, samples: Tensor, divergent: float = 0.0) -> None:
        self.samples, self.divergent = samples, divergent
        self.n_chains, self.n_samples = samples.shape[:2]
        self.largest_r_hat, self.smallest_ess, self.largest_divergent = 1.01, 400, 0.01
        self.drawn = 0

    def draw(self, target: Any) -> Chains:
        self.drawn += 1
        r_hat, ess = convergence(self.samples)
        steps = self.n_chains * self.n_samples
        diverged = torch.arange(steps).view(self.samples.shape[:2]) < self.divergent * steps
        return {
            "samples": self.samples,
            "log_reward": target.log_reward(self.samples),
            "divergent": diverged,
            "r_hat": r_hat,
            "ess": ess,
        }


def references(method: BaseChains, n_samples: int = 10, keep: Any = lambda draw, fits: draw()) -> References:
    return References(method, GAUSSIAN, n_samples, keep)


def test_chains_that_are_not_good_enough_are_refused() -> None:
    sound = autoregressive(0.0, 2, 1000, 2)
    references(Given(sound)).prepare()
    apart, still = sound.clone(), sound.clone()
    apart[0, :, 1] += 1
    still[:, :, 0] = 1.0
    cases = [
        (Given(apart), "chains disagree, R-hat is .* of x_1 "),
        (Given(still), "chains disagree, R-hat is nan of x_0"),
        (Given(autoregressive(0.8, 2, 1000, 2)), "2000 samples are worth .* independent ones of x_"),
        (Given(sound, 0.02), "2.0% of the steps diverged .at most 1.0%"),
    ]
    for method, said in cases:
        method.largest_r_hat = 1.03
        with pytest.raises(ConfigError, match=said):
            references(method).prepare()
    with pytest.raises(ConfigError, match=r"evaluation\.references\.n_samples=1000: expected 1001 or more"):
        references(Given(sound), n_samples=1001)


def test_sets_are_samples_of_the_chains_and_share_none() -> None:
    """Of each replica by its own generator, whatever stands beside it."""
    samples = autoregressive(0.0, 2, 1000, 2)
    method = Given(samples)
    found = references(method)
    ours, theirs = found.sets(2, 900, generators(3, 2))
    assert ours.shape == theirs.shape == (2, 900, 2)
    pool = {tuple(row) for row in samples.flatten(0, 1).tolist()}
    for r in range(2):
        drawn = [tuple(row) for row in torch.cat([ours[r], theirs[r]]).tolist()]
        assert len(set(drawn)) == 1800
        assert set(drawn) < pool
    assert not torch.equal(ours[0], ours[1])
    torch.testing.assert_close(found.sets(2, 900, generators(4, 1))[1][0], theirs[1])
    assert method.drawn == 1


def test_errors_of_means_grow_by_what_the_chains_are_worth() -> None:
    """The variance of a mean over n of N correlated samples, over 4000 chains: v / n times the square of the inflation."""
    n_chains, n_samples, n, correlation = 4000, 200, 100, 0.6
    chains = autoregressive(correlation, n_chains, n_samples, 1)[..., 0]
    chosen = torch.rand(chains.shape, generator=torch.Generator().manual_seed(1)).argsort(1)[:, :n]
    measured = float(chains.gather(1, chosen).mean(1).var())
    method = Given(autoregressive(0.0, 2, 1000, 2))
    found = references(method)
    found.prepare()
    found.size, found._facts["reference_ess"] = n_samples, n_samples * (1 - correlation) / (1 + correlation)
    assert measured == pytest.approx(found.inflation(n) ** 2 / n, rel=0.1)
    found._facts["reference_ess"] = 3.0 * n_samples  # chains that are better than independent
    assert found.inflation(n) == 1


def test_bounds_from_references_have_those_errors() -> None:
    """The same numbers, with errors that are larger by the inflation; how good the chains are stands beside them."""
    z = autoregressive(0.0, 2, 1000, 2)
    found = references(Given(GAUSSIAN.mean + z @ torch.linalg.cholesky(GAUSSIAN.covariance).T), n_samples=500)
    found.prepare()
    sampler = make("mean_field", target=GAUSSIAN)
    measured = []
    for ess in (2000.0, 100.0):
        found._facts["reference_ess"] = ess
        moment = Measurement(sampler, GAUSSIAN, generators(9, 2), False, 500, None, found)
        measured.append(BoundsFromTheTarget(500)(moment))
    first, second = measured
    assert {*first} == {*BoundsFromTheTarget(500).records(GAUSSIAN, False, True)}
    for name in ("eubo", "target_log_Z"):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(second[f"{name}_se"], found.inflation(500) * first[f"{name}_se"])
    assert second["reference_ess"].tolist() == [100.0, 100.0]
    assert found.inflation(500) > 2
    assert bool((first["eubo"] + 4 * first["eubo_se"] > GAUSSIAN.log_Z).all())
    assert bool(((first["target_log_Z"] - GAUSSIAN.log_Z).abs() < 4 * first["target_log_Z_se"]).all())


def test_chains_of_another_function_do_not_fit() -> None:
    """What was kept is used where log R of it is as it was; else it is drawn anew."""
    method = Given(autoregressive(0.0, 2, 1000, 2))
    asked: list[bool] = []

    def keep(draw: Any, fits: Any) -> Chains:
        kept = dict(draw())
        asked.append(fits(kept))
        kept["log_reward"] = kept["log_reward"] + 1e-3
        asked.append(fits(kept))
        return draw()

    references(method, keep=keep).prepare()
    assert asked == [True, False]


def test_chains_have_the_moments_of_the_density() -> None:
    """Means, second moments and the mean square over all dimensions, within 4.5 standard errors of their own effective size."""
    dim = 6
    wide = GaussianDensity(torch.linspace(-1, 1, dim), 0.3 * torch.ones(dim, dim) + torch.diag(torch.linspace(0.2, 1, dim)))
    chains = nuts(400, 150).draw(wide)
    samples = chains["samples"]
    assert samples.shape == (2, 400, dim)
    assert samples.dtype == torch.float64
    torch.testing.assert_close(chains["log_reward"], wide.log_reward(samples))
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(wide.covariance), (samples - wide.mean).mT, upper=False).mT
    square = z.square() - 1
    moments = torch.cat([z, square, z[..., :1] * z[..., 1:], square.mean(-1, keepdim=True)], -1)
    _, ess = convergence(moments)
    error = moments.flatten(0, 1).std(0) / ess.sqrt()
    assert float((moments.flatten(0, 1).mean(0) / error).abs().max()) < 4.5
    assert float(chains["ess"].min()) > 150


def test_without_pyro_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfn_vi.evaluation.densities.nuts.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"evaluation\.references=Nuts: comes with pyro: pip install 'gfn_vi\[references\]'"):
        nuts(10, 10)


def test_the_same_seed_is_the_same_chains_and_no_other_generator_moves() -> None:
    before = torch.get_rng_state()
    first, again, other = (nuts(10, 10, seed).draw(GAUSSIAN)["samples"] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again, first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(other, first)
