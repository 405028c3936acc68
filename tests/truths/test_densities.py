"""Densities against scipy, quadrature and formulas written a second time; exact samples against distribution functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from building import composed, density_targets, generators
from hydra.utils import instantiate
from scipy import integrate, special, stats
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.binary_table import BinaryTable
from gfn_vi.targets.densities.cox import LogGaussianCox
from gfn_vi.targets.densities.double_well import quantile
from gfn_vi.targets.densities.funnel import Funnel
from gfn_vi.targets.densities.gaussian import Gaussian
from gfn_vi.targets.densities.logistic_regression import LogisticRegression
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.mixtures import GaussianMixture
from gfn_vi.targets.densities.multi_well import MultiWell
from gfn_vi.targets.densities.points import Points
from gfn_vi.targets.densities.student_mixture import StudentMixture
from gfn_vi.targets.densities.user_density import UserDensity

EXACT = {"rtol": 1e-11, "atol": 1e-11}
# Draws are fixed by their seeds, so these tests pass or fail for good; a correct sampler would fail one in a thousand of them.
LEVEL = 1e-3
MATRIX = [[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.7]]


def shipped(name: str, *overrides: str) -> Any:
    return instantiate(composed(f"target={name}", *overrides).target, _convert_="all")


def points(n: int, dim: int, scale: float = 2.0, seed: int = 1) -> Tensor:
    return scale * torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **EXACT)


def uniform_by(sample: Tensor, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
    """A Kolmogorov-Smirnov test of the sample against a distribution function."""
    assert stats.kstest(sample.flatten().numpy(), cdf).pvalue > LEVEL


def log_integral(target: BaseDensity, centers: Tensor, half_width: float, n: int) -> float:
    """log of the integral over a box around all centers, by the trapezoidal rule with n points a side: d = 1 or 2."""
    low, high = centers.amin(0) - half_width, centers.amax(0) + half_width
    axes = [torch.linspace(float(a), float(b), n, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    grid = torch.cartesian_prod(*axes).view(-1, len(axes))
    return float(target.log_reward(grid).logsumexp(0)) + math.log(cell)


# -- Gaussians and their mixtures ----------------------------------------------------------------------------------------


def test_gaussian_is_scipys() -> None:
    x, mean = points(20, 3), [0.3, -1.0, 2.0]
    for covariance in (1.7, [0.5, 1.0, 3.0], MATRIX):
        target = Gaussian(3, mean, covariance)
        matrix = covariance * np.eye(3) if isinstance(covariance, float) else np.array(covariance)
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        close(target.covariance, matrix)
        close(target.log_density(x), stats.multivariate_normal(mean, matrix).logpdf(x.numpy()))
        close(target.score(x), np.linalg.solve(matrix, (np.array(mean) - x.numpy()).T).T)


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


MIXTURES: dict[str, Any] = {
    "one variance": 0.7,
    "a variance each": [0.7, 1.5, 0.2],
    "one matrix": [[1.0, 0.6], [0.6, 2.0]],
    "a matrix each": [[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.5]], [[2.0, -0.3], [-0.3, 0.1]]],
}
MEANS = [[-3.0, 0.5], [2.0, 1.0], [0.0, -4.0]]
LOG_WEIGHTS = [0.3, -1.0, 0.9]  # their sum is no 1


@pytest.mark.parametrize("covariance", MIXTURES)
def test_mixture_is_the_sum_of_scipys(covariance: str) -> None:
    target = GaussianMixture(2, MEANS, MIXTURES[covariance], LOG_WEIGHTS)
    given, eye = np.array(MIXTURES[covariance]), np.eye(2)
    expected = given[..., None, None] * eye if given.ndim < 2 else given
    close(target.factors @ target.factors.mT, expected + np.zeros((3, 2, 2)))
    x = points(50, 2, scale=4)
    close(target.log_density(x), mixture_by_scipy(target, np.array(LOG_WEIGHTS), x))
    assert target.log_Z == pytest.approx(math.log(sum(map(math.exp, LOG_WEIGHTS))), abs=1e-12)
    assert log_integral(target, target.means, 15, 801) == pytest.approx(target.log_Z, abs=1e-9)
    close(target.responsibilities(x).sum(-1), np.ones(50))


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
    close(z.abs(), np.full(8, 4 / 1.414))
    close(torch.view_as_real((z / (4 / 1.414)) ** 8), np.tile([1.0, 0.0], (8, 1)))
    assert len({(round(x, 6), round(y, 6)) for x, y in eight.means.tolist()}) == 8
    close(eight.factors, np.tile(0.5 / 1.414 * np.eye(2), (8, 1, 1)))
    close(shipped("gmm9").factors, np.tile(math.sqrt(0.3) * np.eye(2), (9, 1, 1)))
    close(shipped("gmm25").factors, np.tile(math.sqrt(0.3) * np.eye(2), (25, 1, 1)))
    forty = shipped("gmm40")
    close(forty.factors, np.tile(math.log1p(math.e) * np.eye(2), (40, 1, 1)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        published = (torch.rand(40, 2) - 0.5) * 2 * 40
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
    close(target.mode_mass, weights)
    matrices = (target.factors @ target.factors.mT).numpy()
    for direction in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.6, 0.8]), np.array([0.6, -0.8])):
        centers, scales = np.array(MEANS) @ direction, np.sqrt(direction @ matrices @ direction)

        def cdf(x: np.ndarray, centers: np.ndarray = centers, scales: np.ndarray = scales) -> np.ndarray:
            return stats.norm.cdf((x[:, None] - centers) / scales) @ weights

        uniform_by(sample @ torch.tensor(direction), cdf)
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


# -- Student, funnel, wells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_student_mixture_is_scipys(degrees: int) -> None:
    target = StudentMixture(3, 4, degrees, 10.0, 0)
    x = points(30, 3, scale=8)
    parts = stats.t(degrees).logpdf(x.numpy()[:, None] - target.locations.numpy()).sum(-1)
    close(target.log_density(x), special.logsumexp(parts, axis=1) - math.log(4))
    close(target.responsibilities(x), special.softmax(parts, axis=1))
    assert target.mode_index(target.locations).tolist() == [0, 1, 2, 3]


def test_student_mixture_integrates_to_1() -> None:
    target = StudentMixture(1, 10, 2, 10.0, 0)
    total = integrate.quad(lambda x: math.exp(target.log_reward(torch.tensor([x]).double())), -math.inf, math.inf, limit=500)[0]
    assert math.log(total) == pytest.approx(target.log_Z, abs=1e-7)


def test_student_locations_fill_the_box_and_depend_on_the_seed() -> None:
    locations = StudentMixture(2, 2000, 2, 10.0, 0).locations
    uniform_by(locations, stats.uniform(-10, 20).cdf)
    assert not torch.equal(locations, StudentMixture(2, 2000, 2, 10.0, 1).locations)


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_student_samples(degrees: int) -> None:
    target = StudentMixture(2, 3, degrees, 10.0, 0)
    sample = target.sample(5000, generators(3, 1))[0]
    for i in range(2):
        centers = target.locations[:, i].numpy()
        uniform_by(sample[:, i], lambda x, c=centers: stats.t(degrees).cdf(x[:, None] - c).mean(1))
    share = target.responsibilities(sample)
    error = share.std(0) / math.sqrt(len(share))
    assert float(((share.mean(0) - target.mode_mass) / error).abs().max()) < 4


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_funnel_is_scipys(s: float) -> None:
    x = points(30, 10)
    first, others = x[:, 0].numpy(), x[:, 1:].numpy()
    expected = stats.norm(0, s).logpdf(first) + stats.norm(0, np.exp(first / 2)[:, None]).logpdf(others).sum(1)
    close(Funnel(10, s).log_density(x), expected)


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_log_Z_of_the_funnel_by_quadrature(s: float) -> None:
    """In (x_0, z) with x_1 = z exp(x_0 / 2), whose Jacobian is exp(x_0 / 2)."""
    first, z = torch.linspace(-9 * s, 9 * s, 401, dtype=torch.float64), torch.linspace(-9, 9, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(first, z)
    states = torch.stack([grid[:, 0], grid[:, 1] * (grid[:, 0] / 2).exp()], 1)
    total = (Funnel(2, s).log_reward(states) + grid[:, 0] / 2).logsumexp(0)
    assert float(total) + math.log(float((first[1] - first[0]) * (z[1] - z[0]))) == pytest.approx(0, abs=1e-9)


def test_the_funnel_does_not_overflow_in_single_precision_where_its_neck_is() -> None:
    x = torch.tensor([[-120.0, 1e-30, 0.0]])
    target = Funnel(3, 3.0)
    torch.testing.assert_close(target.log_density(x).double(), target.log_reward(x), rtol=1e-5, atol=0)
    assert bool(target.score(x).isfinite().all())


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_funnel_samples(s: float) -> None:
    sample = Funnel(4, s).sample(4000, generators(3, 1))[0]
    uniform_by(sample[:, 0], stats.norm(0, s).cdf)
    uniform_by(sample[:, 1:] / (sample[:, :1] / 2).exp(), stats.norm.cdf)


def double_well(x: float) -> float:
    return math.exp(-(x**4) + 6 * x**2 + x / 2)


def test_many_well_by_its_formula() -> None:
    x = points(20, 6)
    expected = sum(-(x[:, i] ** 4) + 6 * x[:, i] ** 2 + x[:, i] / 2 - x[:, i + 1] ** 2 / 2 for i in (0, 2, 4))
    close(ManyWell(6).log_density(x), expected)


def test_log_Z_of_many_well() -> None:
    """By scipy for a pair; as in the literature for 32 and 64 dimensions."""
    total = integrate.quad(double_well, -6, 6, points=[-1.7, 1.75], epsabs=0, epsrel=1e-12)[0]
    assert ManyWell(2).log_Z == pytest.approx(math.log(total * math.sqrt(2 * math.pi)), abs=1e-11)
    assert ManyWell(2).log_Z == pytest.approx(10.2934797, abs=5e-8)
    assert ManyWell(32).log_Z == pytest.approx(164.695675, abs=5e-7)
    assert ManyWell(64).log_Z == pytest.approx(329.39135, abs=5e-6)
    assert log_integral(ManyWell(2), torch.zeros(1, 2), 8, 801) == pytest.approx(ManyWell(2).log_Z, abs=1e-9)


def test_samples_and_wells_of_many_well() -> None:
    target = ManyWell(4)
    total, left = (integrate.quad(double_well, -6, end, points=[-1.7], epsabs=0, epsrel=1e-12)[0] for end in (6, 0))
    assert target.left_mass == pytest.approx(left / total, abs=1e-11)
    assert target.left_mass == pytest.approx(0.155693, abs=5e-7)
    sample = target.sample(20000, generators(3, 1))[0]
    grid = np.linspace(-4, 4, 4001)
    density = np.exp(-(grid**4) + 6 * grid**2 + grid / 2)
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    uniform_by(sample[:, 0::2], lambda x: np.interp(x, grid, cdf / cdf[-1]))
    uniform_by(sample[:, 1::2], stats.norm.cdf)
    is_left = target.well_occupancy(sample)
    assert is_left.shape == (20000, 2)
    assert torch.equal(is_left, torch.stack([sample[:, 0] < 0, sample[:, 2] < 0], 1))
    assert stats.binomtest(int(is_left.sum()), 40000, target.left_mass).pvalue > LEVEL
    assert target.n_modes is None


def test_the_quantile_is_the_inverse_of_the_distribution_function() -> None:
    """Between grid points, too, where both are linear."""
    target, uniform = ManyWell(2), torch.linspace(0.001, 0.999, 5001, dtype=torch.float64)
    below = np.interp(quantile(target.grid, target.below, uniform).numpy(), target.grid.numpy(), target.below.numpy())
    torch.testing.assert_close(torch.tensor(below), uniform, rtol=0, atol=1e-12)


def test_single_precision_never_draws_the_ends_of_the_range() -> None:
    """A uniform number of 0 in single precision would be a state of log R = -472 otherwise."""
    target = ManyWell(2)

    class Ends:
        dtype = torch.float32

        def uniform(self, *shape: int) -> Tensor:
            return torch.tensor([0.0, 1.0 - 2.0**-24])[None, :, None]

        def normal(self, *shape: int) -> Tensor:
            return torch.zeros(1, *shape)

    ends = target.sample(2, Ends())[0, :, 0].double()  # type: ignore[arg-type]
    below = [integrate.quad(double_well, -6, float(end), points=[-1.7], epsabs=0)[0] for end in ends]
    shares = np.array(below) / integrate.quad(double_well, -6, 6, points=[-1.7, 1.75])[0]
    assert shares[0] == pytest.approx(2.0**-25, rel=0.01)
    assert 1 - shares[1] == pytest.approx(2.0**-25, rel=0.01)


@pytest.mark.parametrize(("delta", "published"), [(2.0, 0.2930017), (4.0, -0.1082111)])
def test_multi_well(delta: float, published: float) -> None:
    """log Z as published for a dimension, and by scipy; plus that of a standard normal for each of the others."""
    target = MultiWell(3, 2, delta)
    x = points(20, 3)
    close(target.log_density(x), -((x[:, 0] ** 2 - delta) ** 2) - (x[:, 1] ** 2 - delta) ** 2 - x[:, 2] ** 2 / 2)
    well = integrate.quad(lambda x: math.exp(-((x**2 - delta) ** 2)), -6, 6, points=[-(delta**0.5), delta**0.5], epsrel=1e-12)[0]
    assert math.log(well) == pytest.approx(published, abs=5e-8)
    assert target.log_Z == pytest.approx(2 * math.log(well) + math.log(2 * math.pi) / 2, abs=1e-11)
    assert log_integral(MultiWell(1, 1, delta), torch.zeros(1, 1), 6, 2001) == pytest.approx(math.log(well), abs=1e-11)


def test_samples_and_modes_of_multi_well() -> None:
    target = MultiWell(3, 2, 2.0)
    sample = target.sample(20000, generators(3, 1))[0]
    grid = np.linspace(-4, 4, 4001)
    density = np.exp(-((grid**2 - 2) ** 2))
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    uniform_by(sample[:, :2], lambda x: np.interp(x, grid, cdf / cdf[-1]))
    uniform_by(sample[:, 2], stats.norm.cdf)
    counts = torch.bincount(target.mode_index(sample), minlength=4)
    assert target.n_modes == len(counts) == 4
    assert stats.chisquare(counts.numpy()).pvalue > LEVEL
    assert target.mode_index(torch.tensor([[-1.0, -1, 9], [1, -1, 9], [-1, 1, 9], [1, 1, 9]])).tolist() == [0, 1, 2, 3]
    assert MultiWell(40, 17, 2.0).n_modes is None


# The funnel's own score has tails too heavy for a comparison of means; the others have no exact samples.
NO_STEIN = ("funnel", "log_gaussian_cox", "logistic_regression", "user_density")
STEIN = [name for name in density_targets() if name not in NO_STEIN]


@pytest.mark.parametrize("name", STEIN)
def test_samples_belong_to_the_density(name: str) -> None:
    """Stein's identity E[score_i tanh(x_j) + (i = j) / cosh(x_j)^2] = 0 for all pairs, within 4.5 standard errors."""
    target = shipped(name)
    sample = target.sample(20000, generators(11, 1))[0]
    score = target.score(sample)
    size = math.sqrt(len(sample))
    total = torch.zeros(target.dim, target.dim, dtype=torch.float64)
    for j in range(target.dim):
        values = score * sample[:, j : j + 1].tanh()
        values[:, j] += sample[:, j].cosh() ** -2
        total[:, j] = values.mean(0) / (values.std(0) / size)
    assert float(total.abs().max()) < 4.5


# -- logistic regression -------------------------------------------------------------------------------------------------

TABLE = "age,dose,died\n50,1.5,yes\n60,0.5,no\n45,2.5,yes\n70,1.0,no\n30,0.0,no\n52,2.0,no\n41,1.0,yes\n"
ROWS = np.array([[50, 1.5], [60, 0.5], [45, 2.5], [70, 1.0], [30, 0.0], [52, 2.0], [41, 1.0]])
DIED = np.array([1, 0, 1, 0, 0, 0, 1])


def written(folder: Path, text: str) -> str:
    path = folder / "table.csv"
    path.write_text(text)
    return str(path)


def regression(
    path: str, label: str | None = None, standardize: bool = True, variance: float = 1.0, leave_out: Sequence[str] = ()
) -> LogisticRegression:
    return LogisticRegression(BinaryTable(path, label, list(leave_out), ",", standardize, None), variance)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("variance", [1.0, 9.0])
def test_logistic_regression_is_scipys(standardize: bool, variance: float, tmp_path: Path) -> None:
    target = regression(written(tmp_path, TABLE), standardize=standardize, variance=variance)
    assert target.coordinate_names == ("age", "dose", "intercept")
    assert target.classes == ("no", "yes")
    rows = (ROWS - ROWS.mean(0)) / ROWS.std(0) if standardize else ROWS
    w = points(20, 3)
    logits = w.numpy() @ np.column_stack([rows, np.ones(7)]).T
    likelihood = stats.bernoulli.logpmf(DIED, special.expit(logits)) if standardize else _log_bernoulli(logits)
    prior = stats.norm(0, math.sqrt(variance)).logpdf(w.numpy()).sum(1)
    close(target.log_density(w), prior + likelihood.sum(1))


def _log_bernoulli(logits: np.ndarray) -> np.ndarray:
    """Where probabilities round to 1."""
    return -np.logaddexp(0, np.where(DIED == 1, -logits, logits))


def test_log_Z_of_logistic_regression_is_the_mean_likelihood_under_the_prior(tmp_path: Path) -> None:
    """The integral of R over two coefficients, against Gauss and Hermite's rule for the prior."""
    text = "\n".join(["dose,died", *(f"{dose},{died}" for (_, dose), died in zip(ROWS.tolist(), DIED, strict=True))])
    target = regression(written(tmp_path, text), variance=2.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    dose = (ROWS[:, 1] - ROWS[:, 1].mean()) / ROWS[:, 1].std()
    slope, intercept = np.meshgrid(nodes * math.sqrt(2), nodes * math.sqrt(2), indexing="ij")
    p = special.expit(slope[..., None] * dose + intercept[..., None])
    likelihood = np.where(DIED == 1, p, 1 - p).prod(-1)
    expected = math.log(np.outer(weights, weights).ravel() @ likelihood.ravel() / (2 * math.pi))
    assert log_integral(target, torch.zeros(1, 2), 14, 1001) == pytest.approx(expected, abs=1e-9)


def test_the_label_is_any_column_and_its_order_is_that_of_numbers(tmp_path: Path) -> None:
    target = regression(written(tmp_path, "y,x\n10,1\n9,2\n10,4\n9,8\n"), label="y")
    assert target.coordinate_names == ("x", "intercept")
    assert target.classes == ("9", "10")
    assert target.rows[:, 1].tolist() == [1, -1, 1, -1]


def test_columns_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    """Neither texts nor missing values nor the last column are in the way; the label is the last that is left."""
    lines = [
        "id,age,dose,died,note",
        *(f"p{i},{a},{d},{y},{'' if i else 'x'}" for i, ((a, d), y) in enumerate(zip(ROWS, DIED, strict=True))),
    ]
    path = written(tmp_path, "\n".join(lines))
    found, expected = regression(path, leave_out=["id", "note"]), regression(written(tmp_path, TABLE))
    assert found.coordinate_names == expected.coordinate_names
    assert torch.equal(found.rows, expected.rows)
    for label, names, said in (
        (None, ["dose", "no"], "leave_out=no: no column of .*: they are age, dose, died"),
        ("died", ["died"], r"leave_out=\['died'\]: expected the label and another column to be left over"),
        (None, ["age", "dose"], r"leave_out=\['age', 'dose'\]: expected the label and another column to be left over"),
    ):
        with pytest.raises(ConfigError, match=said):
            regression(path, label=label, leave_out=names)


def test_breast_cancer_is_the_default() -> None:
    target = shipped("logistic_regression")
    assert target.dim == 31
    assert target.coordinate_names[0] == "mean radius"
    assert target.coordinate_names[-1] == "intercept"
    assert target.rows.shape == (569, 31)
    assert int((target.rows[:, -1] > 0).sum()) == 357
    close(target.rows[:, :-1].square().mean(0), np.ones(30))


# -- log-Gaussian Cox process --------------------------------------------------------------------------------------------


def cox(n: int = 4, path: str | None = None, seed: int = 0) -> LogGaussianCox:
    return LogGaussianCox(n, 1.91, 1 / 33 if n > 10 else 0.3, Points(path, ",", seed, None))


def test_cox_by_its_formula() -> None:
    """A Gaussian prior and Poisson counts; log y! is not in the density."""
    n, s2, beta = 4, 1.91, 0.3
    target = cox(n)
    cells = list(product(range(n), repeat=2))
    covariance = [[s2 * math.exp(-math.dist(a, b) / (n * beta)) for b in cells] for a in cells]
    x, y = points(10, n * n), target.counts.numpy()
    prior = stats.multivariate_normal(np.full(n * n, math.log(126) - s2 / 2), covariance).logpdf(x.numpy())
    poisson = stats.poisson(np.exp(x.numpy()) / n**2).logpmf(y) + special.gammaln(y + 1)
    close(target.log_density(x), prior + poisson.sum(1) + y.sum() * math.log(n**2))


def test_cox_of_one_cell_by_quadrature() -> None:
    """The integral of R is the probability of the count, times y!."""
    target = cox(1)
    y = float(target.counts[0])
    prior = stats.norm(math.log(126) - 1.91 / 2, math.sqrt(1.91))

    def joint(x: float) -> float:
        return float(prior.pdf(x) * stats.poisson(math.exp(x)).pmf(y))

    peak = math.log(y)  # of the likelihood, which is narrower than the prior
    probability = integrate.quad(joint, peak - 3, peak + 3, points=[peak - 0.3, peak, peak + 0.3], epsabs=0, epsrel=1e-12)[0]
    expected = math.log(probability) + special.gammaln(y + 1)
    assert log_integral(target, torch.tensor([[4.0]]), 12, 4001) == pytest.approx(expected, abs=1e-9)


def test_points_of_a_file_are_counted_in_cells(tmp_path: Path) -> None:
    """Numbers of rows in front, as R writes them, are no coordinates; the far edges belong to the last cells."""
    lines = ["0,0", "0.24,0.3", "0.25,0.3", "1,1", "0.99,1.0", "0.5,0.1"]
    plain = "\n".join(["x,y", *lines])
    with_numbers = "\n".join(['"","data_x","data_y"', *(f'"{i}",{line}' for i, line in enumerate(lines, 1))])
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 0] = expected[0, 1] = expected[1, 1] = expected[2, 0] = 1
    expected[3, 3] = 2
    for text in (plain, with_numbers):
        assert torch.equal(cox(4, written(tmp_path, text)).counts, expected.flatten())


def test_drawn_points_are_those_of_the_model() -> None:
    """The same seed, the same points; over many seeds as many as the model expects, with its spread."""
    assert torch.equal(cox(seed=3).counts, cox(seed=3).counts)
    assert not torch.equal(cox(seed=3).counts, cox(seed=4).counts)
    n, s2 = 2, 1.91
    target = LogGaussianCox(n, s2, 0.3, Points(None, ",", 0, None))
    factor = torch.linalg.cholesky(target.covariance)
    counts = torch.stack([Points(None, ",", seed, None).counts(n, target.mean, factor) for seed in range(2000)])
    assert bool((counts == counts.round()).all())
    # a log-normal intensity of mean 126 / n^2, and the Poisson variance on top
    mean = 126 / n**2
    error = math.sqrt((mean**2 * math.expm1(s2) + mean) / 2000)
    assert float((counts.mean(0) - mean).abs().max()) < 4 * error
    close(target.mean[0] + s2 / 2, math.log(126))


# -- a function of the user's --------------------------------------------------------------------------------------------


def test_a_users_function_is_asked_with_one_batch_axis_in_double_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_densities.py").write_text(
        "import torch\ndef f(x):\n    assert x.dim() == 2\n    assert x.dtype == torch.float64\n    return -(x**4).sum(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    target = UserDensity("my_densities.f", 3, 1.5)
    x = points(12, 3).view(2, 6, 3)
    close(target.log_density(x), -(x**4).sum(-1))
    close(target.score(x), -4 * x**3)
    assert target.log_density(x.float()).dtype == target.score(x.float()).dtype == torch.float32
    assert target.log_Z == 1.5
    assert target.remarks == []


FUNCTIONS = """
import torch
ONE = torch.ones(2, 1)
def whole(x): return -x.square().sum() / 2
def column(x): return -x.square().sum(1, keepdim=True)
def number(x): return -1.0
def missing(x): return (x[:, 0] - 1).log() - x.square().sum(1)
def infinite(x): return 1 / torch.zeros_like(x[:, 0])
def outside(x): return torch.full_like(x[:, 0], -torch.inf) + 0 * x[:, 0]
def complex_(x): return -torch.view_as_complex(x).abs() + 0j
def detached(x): return -x.detach().square().sum(1)
def constant(x): return torch.zeros(len(x), dtype=x.dtype).requires_grad_(True) + 0
def partly(x): return -x.detach().square().sum(1) - 1e-3 * x.sum(1)
def single(x): return -(x.float() @ ONE)[:, 0] ** 2
def of_the_batch(x): return -(x - x.mean(0)).square().sum(1)
def cusp(x): return -(x[:, 0] * 0).sqrt() - x.square().sum(1)
def energy(x): return x.square().sum(1) / 2
def density(x): return (-x.square().sum(1) / 2).exp()
def heavy(x): return 30 - 3 * x.square().sum(1).log1p()
def kinked(x): return -x.abs().sum(1)
def in_a_disc(x): return torch.where(x.norm(dim=1) < 1.5, -x.square().sum(1), -torch.inf)
NOT_CALLABLE = 3
"""
REFUSED = {
    "whole": r"returned the shape \[\] for a batch \[16, 2\] \(target.dim=2\): expected \[16\]",
    "column": r"returned the shape \[16, 1\] for a batch",
    "number": "returned float: expected a tensor",
    "missing": "is NaN or infinite at 1[0-9] of 16 points",
    "infinite": "is NaN or infinite at 16 of 16 points",
    "outside": "is -inf at 16 of 16 points",
    "complex_": "returned complex numbers",
    "detached": "has no gradient: expected operations of torch",
    "constant": "does not depend on the batch",
    "partly": "has a gradient by autograd that finite differences contradict",
    "single": r"returned torch.float32 for a batch in torch.float64",
    "of_the_batch": "gives a row another value alone than in a batch",
    "cusp": "has a gradient that is NaN or infinite",
    "NOT_CALLABLE": "there is no function NOT_CALLABLE in my_functions",
    "absent": "there is no function absent in my_functions",
}


@pytest.fixture
def my_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("my_functions")
@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"target.function=my_functions.{name}: {REFUSED[name]}"):
        UserDensity(f"my_functions.{name}", 2, None)


@pytest.mark.usefixtures("my_functions")
def test_functions_that_are_doubted_and_functions_that_are_not() -> None:
    """An energy grows outward, a density is never negative; heavy tails, kinks and bounded supports are no reason."""
    for name, said in (("energy", "if it is an energy, return minus it"), ("density", "if it is a density, return its log")):
        (remark,) = UserDensity(f"my_functions.{name}", 2, None).remarks
        assert remark.startswith(f"target.function=my_functions.{name}")
        assert said in remark
    for name in ("heavy", "kinked", "in_a_disc"):
        assert UserDensity(f"my_functions.{name}", 2, None).remarks == []


def test_names_that_are_no_functions() -> None:
    with pytest.raises(ConfigError, match=r"target.function=f: expected my_module.my_log_density"):
        UserDensity("f", 2, None)
    with pytest.raises(ConfigError, match=r"no module named not_a_module_of_mine; one of yours is found in the current folder"):
        UserDensity("not_a_module_of_mine.f", 2, None)


# -- what is refused -----------------------------------------------------------------------------------------------------

BAD_VALUES: list[tuple[Callable[[], object], str]] = [
    (lambda: Gaussian(0, 0.0, 1.0), r"target.dim=0: expected a whole number >= 1"),
    (lambda: Gaussian(2, [0.0, 0.0, 0.0], 1.0), r"target.mean=\[0.0, 0.0, 0.0\]: expected one number, or a list of target.dim=2"),
    (lambda: Gaussian(2, [0.0, math.inf], 1.0), r"target.mean=.*finite"),
    (lambda: Gaussian(2, 0.0, [1.0, 1.0, 1.0]), r"target.covariance=.*target.dim=2"),
    (lambda: Gaussian(2, 0.0, [[1.0, 0.0], [0.0]]), r"target.covariance=.*target.dim=2"),
    (lambda: Gaussian(2, 0.0, [[1.0, 2.0], [2.0, 1.0]]), r"target.covariance=.*not positive definite"),
    (lambda: Gaussian(2, 0.0, [[1.0, 0.5], [0.0, 1.0]]), r"target.covariance=.*not symmetric"),
    (lambda: Gaussian(2, 0.0, 0.0), r"target.covariance=0.0: not positive definite"),
    (lambda: Gaussian(2, 0.0, [1.0, -1.0]), r"target.covariance=.*not positive definite"),
    (lambda: GaussianMixture(3, "grid25", 0.3, None), r"target.dim=3: the layout target.means=grid25 lies in 2 dimensions"),
    (lambda: GaussianMixture(2, "grid10", 0.3, None), r"target.means=grid10: expected rows .* or one of circle8, grid9"),
    (lambda: GaussianMixture(2, [[0.0]], 0.3, None), r"target.means=\[\[0.0\]\]: expected rows of target.dim=2 numbers"),
    (lambda: GaussianMixture(2, [], 0.3, None), r"target.means=\[\]: expected rows of target.dim=2 numbers"),
    (lambda: GaussianMixture(2, MEANS, 0.0, None), r"target.covariance=0.0: expected variances > 0"),
    (lambda: GaussianMixture(2, MEANS, [1.0, 1.0], None), r"target.covariance=.*3 variances \(one for each component\)"),
    (lambda: GaussianMixture(2, MEANS, [[1.0, 2.0], [2.0, 1.0]], None), r"target.covariance=.*not positive definite"),
    (lambda: GaussianMixture(2, MEANS, 1.0, [0.0, 0.0]), r"target.log_weights=.*a list of 3 numbers"),
    (lambda: GaussianMixture(2, MEANS, 1.0, [0.0, 0.0, -math.inf]), r"target.log_weights=.*finite"),
    (lambda: Funnel(1, 3.0), r"target.dim=1: expected a whole number >= 2"),
    (lambda: Funnel(10, 0.0), r"target.s=0.0: expected a finite number > 0"),
    (lambda: ManyWell(5), r"target.dim=5: expected an even number"),
    (lambda: ManyWell(0), r"target.dim=0: expected a whole number >= 2"),
    (lambda: MultiWell(3, 4, 2.0), r"target.n_wells=4: expected at most target.dim=3"),
    (lambda: MultiWell(3, 0, 2.0), r"target.n_wells=0: expected a whole number >= 1"),
    (lambda: MultiWell(3, 2, -1.0), r"target.delta=-1.0: expected a finite number > 0"),
    (lambda: StudentMixture(2, 0, 2, 10.0, 0), r"target.n_components=0"),
    (lambda: StudentMixture(2, 10, 0, 10.0, 0), r"target.degrees_of_freedom=0"),
    (lambda: StudentMixture(2, 10, 2, 0.0, 0), r"target.half_width=0.0"),
    (lambda: StudentMixture(2, 10, 2, 10.0, -1), r"target.seed=-1"),
    (lambda: LogGaussianCox(0, 1.0, 1.0, Points(None, ",", 0, None)), r"target.n=0"),
    (lambda: LogGaussianCox(2, 0.0, 1.0, Points(None, ",", 0, None)), r"target.s2=0.0"),
    (lambda: LogGaussianCox(2, 1.0, math.inf, Points(None, ",", 0, None)), r"target.beta=inf"),
    (lambda: Points(None, ",", -1, None), r"target.data.seed=-1"),
    (lambda: Points(None, ",,", 0, None), r"target.data.separator=,,: expected one character"),
    (lambda: LogisticRegression(BinaryTable(None, None, [], ",", True, None), 0.0), r"target.prior_variance=0.0"),
    (lambda: LogisticRegression(BinaryTable(None, "y", [], ",", True, None), 1.0), r"target.data.label=y: expected null"),
    (lambda: LogisticRegression(BinaryTable(None, None, ["y"], ",", True, None), 1.0), r"target.data.leave_out=.*expected \[\]"),
    (lambda: UserDensity("gfn_vi.targets.densities.user_density.banana", 2, math.inf), r"target.log_Z=inf: expected a finite"),
    (lambda: UserDensity("gfn_vi.targets.densities.user_density.banana", 0, None), r"target.dim=0"),
]


@pytest.mark.parametrize(("make", "said"), BAD_VALUES, ids=[said for _, said in BAD_VALUES])
def test_values_that_make_no_density(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


# text -> what is said after the key
BAD_TABLES = {
    "a,y\n1,0\n2,1\n3,2\n": r"target.data.label=None: column y has 3 different values \(0, 1, 2\): expected two",
    "a,y\n1,0\n2,0\n3,0\n": r"target.data.label=None: column y has 1 different values \(0\): expected two",
    "a,b,y\n1,4,0\n2,4,1\n3,4,1\n": r"target.data.path=.*: column b is constant, 4 in the 3 rows: target.data.leave_out=\[b\]",
    "a,y\n1,0\nx,1\n": r"target.data.path=.*: column a is not numeric: 'x' in line 3",
    "a,y\n1,0\n2,\n3,1\n": r"target.data.path=.*: missing values: y in 1 of 3 rows \(the first in line 3\)",
    "a,y\n,0\n2,1\n": r"target.data.path=.*: missing values: a in 1 of 2 rows \(the first in line 2\)",
    "y\n0\n1\n": r"target.data.path=.*: a single column, y: a regression needs two",
    "intercept,y\n1,0\n2,1\n": r"target.data.path=.*: a column is called intercept",
    "": r"target.data.path=.*: the file is empty",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_tables_that_make_no_regression(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=BAD_TABLES[text]):
        regression(written(tmp_path, text))


def test_labels_that_are_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"target.data.label=die: no column of .*: they are age, dose, died"):
        regression(written(tmp_path, TABLE), label="die")


BAD_POINTS = {
    "x,y\n0.5,0.5\n0.5,1.5\n-1,0\n": r"2 of 3 points lie outside the unit square, the first of them \(0.5, 1.5\): scale",
    "x,y,z\n0.5,0.5,1\n0.1,0.2,3\n": r"target.data.path=.*: 3 columns, x, y, z: expected two",
    "x\n0.5\n": r"target.data.path=.*: a single column, x: a point needs two",
    "x,y\n0.5,low\n": r"target.data.path=.*: column y is not numeric",
}


@pytest.mark.parametrize("text", BAD_POINTS)
def test_points_that_are_none_of_the_unit_square(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=BAD_POINTS[text]):
        cox(4, written(tmp_path, text))


def test_a_file_that_changed_since_its_digest_was_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n0.5,0.5\n")
    for make in (lambda: cox_of(path), lambda: LogisticRegression(BinaryTable(path, None, [], ",", True, "0" * 16), 1.0)):
        with pytest.raises(ConfigError, match="the file has changed: its digest was 0000000000000000 and now is"):
            make()


def cox_of(path: str) -> LogGaussianCox:
    return LogGaussianCox(2, 1.0, 1.0, Points(path, ",", 0, "0" * 16))
