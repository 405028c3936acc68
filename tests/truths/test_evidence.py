"""log Z of densities beyond two dimensions, by nested sampling (dynesty): within four of its own standard errors.

Nested sampling integrates over the unit cube; each target comes with a map from there that reaches all of its mass, and the
map's Jacobian. That the errors are small enough to tell a wrong log Z is asserted, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dynesty import NestedSampler
from known_densities import TABLE, cox, regression, written
from scipy import special

from gfn_vi.targets.densities.funnel import Funnel
from gfn_vi.targets.densities.gaussian import Gaussian
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.mixtures import GaussianMixture
from gfn_vi.targets.densities.multi_well import MultiWell
from gfn_vi.targets.densities.student_mixture import StudentMixture

Map = Callable[[np.ndarray], tuple[np.ndarray, float]]
"""u [d] in the unit cube -> x [d], log of |dx / du|."""

LARGEST_ERROR = 0.25
HALF_LOG_2_PI = math.log(2 * math.pi) / 2


def box(half_width: float) -> Map:
    return lambda u: ((2 * u - 1) * half_width, len(u) * math.log(2 * half_width))


def normal(mean: Any, std: float) -> Map:
    def draw(u: np.ndarray) -> tuple[np.ndarray, float]:
        z = special.ndtri(u)
        return mean + std * z, len(u) * (math.log(std) + HALF_LOG_2_PI) + float(z @ z) / 2

    return draw


def heavy(scale: float) -> Map:
    """Cauchy distributed coordinates."""

    def draw(u: np.ndarray) -> tuple[np.ndarray, float]:
        t = np.tan(np.pi * (u - 0.5))
        return scale * t, len(u) * math.log(math.pi * scale) + float(np.log1p(t * t).sum())

    return draw


def funnel(s: float) -> Map:
    """As wide as the funnel is where x_0 is, half as wide again in every coordinate."""

    def draw(u: np.ndarray) -> tuple[np.ndarray, float]:
        x, jacobian = normal(0.0, 1.5)(u)
        x[0] *= s
        x[1:] *= math.exp(x[0] / 2)
        return x, jacobian + math.log(s) + (len(u) - 1) * x[0] / 2

    return draw


def nested(target: Any, draw: Map) -> tuple[float, float]:
    """Return log Z and its standard error."""

    def log_likelihood(u: np.ndarray) -> float:
        x, jacobian = draw(u)
        return float(target.log_reward(torch.from_numpy(x))) + jacobian

    method = "unif" if target.dim <= 3 else "rwalk"
    sampler = NestedSampler(log_likelihood, lambda u: u, target.dim, nlive=250, sample=method, rstate=np.random.default_rng(0))
    sampler.run_nested(dlogz=0.1, print_progress=False)
    return float(sampler.results.logz[-1]), float(sampler.results.logzerr[-1])


MATRIX = (0.5 * np.eye(5) + 0.4).tolist()
KNOWN: dict[str, tuple[Any, Map]] = {
    "gaussian": (Gaussian(5, [1.0, 0.0, -1.0, 2.0, 0.5], MATRIX), normal(0.5, 2.0)),
    "gaussian_mixture": (GaussianMixture(4, [[-2.0] * 4, [1.0, 2.0, -1.0, 0.0]], 0.3, [0.4, -0.6]), normal(0.0, 2.5)),
    "student_mixture": (StudentMixture(3, 3, 2, 3.0, 0), heavy(2.0)),
    "funnel": (Funnel(10, 3.0), funnel(3.0)),
    "many_well": (ManyWell(4), normal(0.0, 2.0)),
    "multi_well": (MultiWell(4, 3, 2.0), normal(0.0, 1.5)),
}


def assert_agrees(found: tuple[float, float], expected: float) -> None:
    log_Z, error = found
    assert error < LARGEST_ERROR
    assert abs(log_Z - expected) < 4 * error, (log_Z, error, expected)


@pytest.mark.parametrize("name", KNOWN)
def test_log_Z_by_nested_sampling(name: str) -> None:
    target, draw = KNOWN[name]
    assert_agrees(nested(target, draw), target.log_Z)


def gauss_hermite(n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes [n^d, d] and weights [n^d] of the standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    grid = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), -1).reshape(-1, dim)
    product = np.stack(np.meshgrid(*[weights / math.sqrt(2 * math.pi)] * dim, indexing="ij"), -1).reshape(-1, dim).prod(-1)
    return grid, product


def test_log_Z_of_logistic_regression(tmp_path: Path) -> None:
    """Three coefficients: nested sampling of R against Gauss and Hermite's rule, the mean likelihood under the prior."""
    target = regression(written(tmp_path, TABLE), variance=2.0)
    nodes, weights = gauss_hermite(60, 3)
    likelihood = special.expit(math.sqrt(2) * nodes @ target.rows.numpy().T).prod(-1)
    assert_agrees(nested(target, normal(0.0, math.sqrt(2))), math.log(weights @ likelihood))


def test_log_Z_of_the_cox_process() -> None:
    """Four cells: nested sampling of R against Gauss and Hermite's rule, the mean of the counts' probability under the prior."""
    target = cox(2)
    nodes, weights = gauss_hermite(40, 4)
    x = target.mean.numpy() + nodes @ np.linalg.cholesky(target.covariance.numpy()).T
    counts = target.counts.numpy()
    log_probability = (x * counts - np.exp(x) / 4).sum(-1)
    expected = special.logsumexp(log_probability, b=weights)
    center = np.log(4 * counts + 1)
    assert_agrees(nested(target, normal(center, 1.0)), float(expected))
