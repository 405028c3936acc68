"""Logistic regression and the log-Gaussian Cox process, of tables and points, against formulas written a second time."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from known_densities import TABLE, assert_equal_to, cox, log_integral, points, regression, shipped, written
from scipy import integrate, special, stats

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.densities.cox import LogGaussianCox
from gfn_vi.targets.densities.points import Points

ROWS = np.array([[50, 1.5], [60, 0.5], [45, 2.5], [70, 1.0], [30, 0.0], [52, 2.0], [41, 1.0]])
DIED = np.array([1, 0, 1, 0, 0, 0, 1])


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
    assert_equal_to(target.log_density(w), prior + likelihood.sum(1))


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
    assert_equal_to(target.rows[:, :-1].square().mean(0), np.ones(30))


def test_cox_by_its_formula() -> None:
    """A Gaussian prior and Poisson counts; log y! is not in the density."""
    n, s2, beta = 4, 1.91, 0.3
    target = cox(n)
    cells = list(product(range(n), repeat=2))
    covariance = [[s2 * math.exp(-math.dist(a, b) / (n * beta)) for b in cells] for a in cells]
    x, y = points(10, n * n), target.counts.numpy()
    prior = stats.multivariate_normal(np.full(n * n, math.log(126) - s2 / 2), covariance).logpdf(x.numpy())
    poisson = stats.poisson(np.exp(x.numpy()) / n**2).logpmf(y) + special.gammaln(y + 1)
    assert_equal_to(target.log_density(x), prior + poisson.sum(1) + y.sum() * math.log(n**2))


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


def test_more_or_fewer_points_than_the_prior_expects_are_told(tmp_path: Path) -> None:
    """126 of them, which is a constant of the model."""

    def remarks(n: int) -> list[str]:
        return cox(2, written(tmp_path, "\n".join(["x,y", *(f"{i / 300},0.5" for i in range(n))]))).remarks

    (many,), (few,) = remarks(253), remarks(62)
    assert many.endswith("has 253 points: the prior expects 126, whatever the file has, and draws intensities towards that")
    assert "has 62 points" in few
    assert remarks(252) == remarks(63) == cox(2).remarks == []


def test_points_of_two_columns_among_others(tmp_path: Path) -> None:
    path = written(tmp_path, "species;y;x\nfir;0,1;0,9\noak;0,6;0,2\n")
    points = Points(path, ";", 0, None, ["x", "y"], ",", None, [])
    assert LogGaussianCox(2, 1.0, 1.0, points).counts.tolist() == [0, 1, 1, 0]


def test_drawn_points_are_those_of_the_model() -> None:
    """The same seed, the same points; over many seeds as many as the model expects, with its spread."""
    assert torch.equal(cox(seed=3).counts, cox(seed=3).counts)
    assert not torch.equal(cox(seed=3).counts, cox(seed=4).counts)
    n, s2 = 2, 1.91
    target = LogGaussianCox(n, s2, 0.3, Points(None, ",", 0, None, None, ".", None, []))
    factor = torch.linalg.cholesky(target.covariance)
    counts = torch.stack(
        [Points(None, ",", seed, None, None, ".", None, []).counts(n, target.mean, factor) for seed in range(2000)]
    )
    assert bool((counts == counts.round()).all())
    # a log-normal intensity of mean 126 / n^2, and the Poisson variance on top
    mean = 126 / n**2
    error = math.sqrt((mean**2 * math.expm1(s2) + mean) / 2000)
    assert float((counts.mean(0) - mean).abs().max()) < 4 * error
    assert_equal_to(target.mean[0] + s2 / 2, math.log(126))
