"""Gaussians and their mixtures against scipy and quadrature; exact samples against distribution functions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from building import generators
from known_densities import LEVEL, MATRIX, MEANS, assert_drawn_by, assert_equal_to, log_integral, points, shipped
from scipy import special, stats
from torch import Tensor

from gfn_vi.targets.densities.gaussian import Gaussian
from gfn_vi.targets.densities.mixtures import GaussianMixture


def test_gaussian_is_scipys() -> None:
    x, mean = points(20, 3), [0.3, -1.0, 2.0]
    for covariance in (1.7, [0.5, 1.0, 3.0], MATRIX):
        target = Gaussian(3, mean, covariance)
        matrix = covariance * np.eye(3) if isinstance(covariance, float) else np.array(covariance)
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        assert_equal_to(target.covariance, matrix)
        assert_equal_to(target.log_density(x), stats.multivariate_normal(mean, matrix).logpdf(x.numpy()))
        assert_equal_to(target.score(x), np.linalg.solve(matrix, (np.array(mean) - x.numpy()).T).T)


def test_gaussian_samples_have_its_mean_and_covariance() -> None:
    """Whitened by numpy they are independent standard normals; so are their sums and differences, up to a scale."""
    mean = np.array([0.3, -1.0, 2.0])
    sample = Gaussian(3, mean.tolist(), MATRIX).sample(4000, generators(2, 1))[0].numpy()
    z = np.linalg.solve(np.linalg.cholesky(np.array(MATRIX)), (sample - mean).T).T
    directions = [np.array(d) / np.linalg.norm(d) for d in product((-1, 0, 1), repeat=3) if any(d)]
    assert min(stats.kstest(z @ d, "norm").pvalue for d in directions) > LEVEL


def mixture_by_scipy(target: GaussianMixture, log_weights: np.ndarray, x: Tensor) -> np.ndarray:
    parts = [
        w + stats.multivariate_normal(m.numpy(), (L @ L.mT).numpy()).logpdf(x.numpy())
        for w, m, L in zip(log_weights, target.means, target.factors, strict=True)
    ]
    return special.logsumexp(parts, axis=0)


def test_weights_in_the_place_of_their_logarithms_are_told() -> None:
    (said,) = GaussianMixture(2, MEANS, 0.7, [0.5, 0.3, 0.2]).remarks
    assert said.startswith("target.log_weights=[0.5, 0.3, 0.2] are positive and sum to 1: if they are weights, give their log")
    for others in (LOG_WEIGHTS, [0.5, 0.3, 0.3], None):
        assert GaussianMixture(2, MEANS, 0.7, others).remarks == []


MIXTURES: dict[str, Any] = {
    "one variance": 0.7,
    "a variance each": [0.7, 1.5, 0.2],
    "one matrix": [[1.0, 0.6], [0.6, 2.0]],
    "a matrix each": [[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.5]], [[2.0, -0.3], [-0.3, 0.1]]],
}
LOG_WEIGHTS = [0.3, -1.0, 0.9]  # their sum is no 1


@pytest.mark.parametrize("covariance", MIXTURES)
def test_mixture_is_the_sum_of_scipys(covariance: str) -> None:
    target = GaussianMixture(2, MEANS, MIXTURES[covariance], LOG_WEIGHTS)
    given, eye = np.array(MIXTURES[covariance]), np.eye(2)
    expected = given[..., None, None] * eye if given.ndim < 2 else given
    assert_equal_to(target.factors @ target.factors.mT, expected + np.zeros((3, 2, 2)))
    x = points(50, 2, scale=4)
    assert_equal_to(target.log_density(x), mixture_by_scipy(target, np.array(LOG_WEIGHTS), x))
    assert target.log_Z == pytest.approx(math.log(sum(map(math.exp, LOG_WEIGHTS))), abs=1e-12)
    assert log_integral(target, target.means, 15, 801) == pytest.approx(target.log_Z, abs=1e-9)
    assert_equal_to(target.responsibilities(x).sum(-1), np.ones(50))


def test_far_from_all_means_nothing_is_lost() -> None:
    """Squares are expanded: what that costs is relative to |x|^2."""
    target = shipped("gmm40")
    x = points(50, 2, scale=1e4)
    expected = mixture_by_scipy(target, np.full(40, -math.log(40)), x)
    torch.testing.assert_close(target.log_density(x), torch.tensor(expected), rtol=1e-13, atol=0)


def test_named_layouts() -> None:
    nine = sorted(product((-5.0, 0.0, 5.0), repeat=2))
    assert sorted(map(tuple, shipped("gmm9").means.tolist())) == nine
    assert sorted(map(tuple, shipped("gmm25").means.tolist())) == sorted(product((-10.0, -5.0, 0.0, 5.0, 10.0), repeat=2))
    eight = shipped("eight_gaussians")
    z = torch.view_as_complex(eight.means)
    assert_equal_to(z.abs(), np.full(8, 4 / 1.414))
    assert_equal_to(torch.view_as_real((z / (4 / 1.414)) ** 8), np.tile([1.0, 0.0], (8, 1)))
    assert len({(round(x, 6), round(y, 6)) for x, y in eight.means.tolist()}) == 8
    assert_equal_to(eight.factors, np.tile(0.5 / 1.414 * np.eye(2), (8, 1, 1)))
    assert_equal_to(shipped("gmm9").factors, np.tile(math.sqrt(0.3) * np.eye(2), (9, 1, 1)))
    assert_equal_to(shipped("gmm25").factors, np.tile(math.sqrt(0.3) * np.eye(2), (25, 1, 1)))
    forty = shipped("gmm40")
    assert_equal_to(forty.factors, np.tile(math.log1p(math.e) * np.eye(2), (40, 1, 1)))
    published = (torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * 40
    assert torch.equal(forty.means, published.double())
    torch.testing.assert_close(forty.means[0], torch.tensor([-0.2995, 21.4578], dtype=torch.float64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "eight_gaussians", "gmm9", "gmm25", "gmm40", "gaussian_mixture"])
def test_log_Z_of_what_is_shipped_by_quadrature(name: str) -> None:
    target = shipped(name)
    centers = target.mean[None] if name == "gaussian" else target.means
    assert log_integral(target, centers, 14, 1001) == pytest.approx(target.log_Z, abs=1e-9)


@pytest.mark.parametrize("covariance", MIXTURES)
def test_mixture_samples(covariance: str) -> None:
    """Marginals by their distribution functions, components by their weights, on the mean of responsibilities and by counting."""
    target = GaussianMixture(2, MEANS, MIXTURES[covariance], LOG_WEIGHTS)
    sample = target.sample(5000, generators(3, 1))[0]
    weights = special.softmax(LOG_WEIGHTS)
    assert_equal_to(target.mode_mass, weights)
    matrices = (target.factors @ target.factors.mT).numpy()
    for direction in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.6, 0.8]), np.array([0.6, -0.8])):
        centers, scales = np.array(MEANS) @ direction, np.sqrt(direction @ matrices @ direction)

        def cdf(x: np.ndarray, centers: np.ndarray = centers, scales: np.ndarray = scales) -> np.ndarray:
            return stats.norm.cdf((x[:, None] - centers) / scales) @ weights

        assert_drawn_by(sample @ torch.tensor(direction), cdf)
    share = target.responsibilities(sample)
    error = share.std(0) / math.sqrt(len(share))
    assert float(((share.mean(0) - target.mode_mass) / error).abs().max()) < 4


def test_modes_hold_999_in_1000_of_their_component() -> None:
    """gmm25, whose components lie nine standard deviations apart; in five dimensions the radius is that of five."""
    target = shipped("gmm25")
    sample = target.sample(20000, generators(7, 1))[0]
    counts = torch.bincount(target.mode_index(sample) + 1, minlength=26)
    assert stats.binomtest(int(counts[0]), 20000, 1e-3).pvalue > LEVEL
    assert stats.chisquare(counts[1:].numpy()).pvalue > LEVEL
    assert target.mode_index(target.means).tolist() == list(range(25))
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64) * math.sqrt(0.3)
    for dim in (2, 5):
        target = GaussianMixture(dim, [[0.0] * dim, [9.0] * dim], 0.3, None)
        radius = math.sqrt(stats.chi2.ppf(0.999, dim))
        for factor, expected in ((1 - 1e-9, 0), (1 + 1e-9, -1)):
            x = torch.zeros(dim, dtype=torch.float64)
            x[:2] = radius * factor * direction
            assert int(target.mode_index(x)) == expected


def test_modes_of_full_covariances_are_ellipsoids() -> None:
    """Along the long axis a state is inside where the same distance across is outside; weights decide between components."""
    target = GaussianMixture(2, [[0.0, 0.0], [50.0, 0.0]], [[9.0, 0.0], [0.0, 0.01]], None)
    assert target.mode_index(torch.tensor([[6.0, 0.0], [0.0, 6.0], [55.0, 0.1]])).tolist() == [0, -1, 1]
    matrix = np.array(MIXTURES["one matrix"])
    x = points(200, 2, scale=4)
    square = np.einsum("ni,ij,nj->n", x, np.linalg.inv(matrix), x)
    tilted = GaussianMixture(2, [[0.0, 0.0]], matrix.tolist(), None)
    assert torch.equal(tilted.mode_index(x) == 0, torch.tensor(square <= stats.chi2.ppf(0.999, 2)))
    heavy = GaussianMixture(1, [[0.0], [2.0]], 1.0, [5.0, 0.0])
    assert heavy.mode_index(torch.tensor([[0.0], [2.0], [3.0]])).tolist() == [0, 0, 0]
    assert GaussianMixture(1, [[0.0], [2.0]], 1.0, None).mode_index(torch.tensor([[0.9], [1.1]])).tolist() == [0, 1]
