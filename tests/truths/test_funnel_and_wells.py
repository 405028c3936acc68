"""Student mixtures, funnels and double wells against scipy, quadrature and formulas written a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from building import density_targets, generators
from known_densities import LEVEL, assert_drawn_by, assert_equal_to, log_integral, points, shipped
from scipy import integrate, special, stats
from torch import Tensor

from gfn_vi.targets.densities.double_well import quantile
from gfn_vi.targets.densities.funnel import Funnel
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.multi_well import MultiWell
from gfn_vi.targets.densities.student_mixture import StudentMixture


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_student_mixture_is_scipys(degrees: int) -> None:
    target = StudentMixture(3, 4, degrees, 10.0, 0)
    x = points(30, 3, scale=8)
    parts = stats.t(degrees).logpdf(x.numpy()[:, None] - target.locations.numpy()).sum(-1)
    assert_equal_to(target.log_density(x), special.logsumexp(parts, axis=1) - math.log(4))
    assert_equal_to(target.responsibilities(x), special.softmax(parts, axis=1))
    assert target.mode_index(target.locations).tolist() == [0, 1, 2, 3]


def test_student_mixture_integrates_to_1() -> None:
    target = StudentMixture(1, 10, 2, 10.0, 0)
    total = integrate.quad(lambda x: math.exp(target.log_reward(torch.tensor([x]).double())), -math.inf, math.inf, limit=500)[0]
    assert math.log(total) == pytest.approx(target.log_Z, abs=1e-7)


def test_student_locations_fill_the_box_and_depend_on_the_seed() -> None:
    locations = StudentMixture(2, 2000, 2, 10.0, 0).locations
    assert_drawn_by(locations, stats.uniform(-10, 20).cdf)
    assert not torch.equal(locations, StudentMixture(2, 2000, 2, 10.0, 1).locations)


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_student_samples(degrees: int) -> None:
    target = StudentMixture(2, 3, degrees, 10.0, 0)
    sample = target.sample(5000, generators(3, 1))[0]
    for i in range(2):
        centers = target.locations[:, i].numpy()
        assert_drawn_by(sample[:, i], lambda x, c=centers: stats.t(degrees).cdf(x[:, None] - c).mean(1))
    share = target.responsibilities(sample)
    error = share.std(0) / math.sqrt(len(share))
    assert float(((share.mean(0) - target.mode_mass) / error).abs().max()) < 4


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_funnel_is_scipys(s: float) -> None:
    x = points(30, 10)
    first, others = x[:, 0].numpy(), x[:, 1:].numpy()
    expected = stats.norm(0, s).logpdf(first) + stats.norm(0, np.exp(first / 2)[:, None]).logpdf(others).sum(1)
    assert_equal_to(Funnel(10, s).log_density(x), expected)


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
    assert_drawn_by(sample[:, 0], stats.norm(0, s).cdf)
    assert_drawn_by(sample[:, 1:] / (sample[:, :1] / 2).exp(), stats.norm.cdf)


def double_well(x: float) -> float:
    return math.exp(-(x**4) + 6 * x**2 + x / 2)


def test_many_well_by_its_formula() -> None:
    x = points(20, 6)
    expected = sum(-(x[:, i] ** 4) + 6 * x[:, i] ** 2 + x[:, i] / 2 - x[:, i + 1] ** 2 / 2 for i in (0, 2, 4))
    assert_equal_to(ManyWell(6).log_density(x), expected)


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
    assert_drawn_by(sample[:, 0::2], lambda x: np.interp(x, grid, cdf / cdf[-1]))
    assert_drawn_by(sample[:, 1::2], stats.norm.cdf)
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
    assert_equal_to(target.log_density(x), -((x[:, 0] ** 2 - delta) ** 2) - (x[:, 1] ** 2 - delta) ** 2 - x[:, 2] ** 2 / 2)
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
    assert_drawn_by(sample[:, :2], lambda x: np.interp(x, grid, cdf / cdf[-1]))
    assert_drawn_by(sample[:, 2], stats.norm.cdf)
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
