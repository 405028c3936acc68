"""Parts of the tests of density targets: targets as shipped, points, comparisons and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from building import composed
from hydra.utils import instantiate
from scipy import stats
from torch import Tensor

from gfn_vi.targets.densities.base import BaseDensity
from gfn_vi.targets.densities.binary_table import BinaryTable
from gfn_vi.targets.densities.cox import LogGaussianCox
from gfn_vi.targets.densities.logistic_regression import LogisticRegression
from gfn_vi.targets.densities.points import Points

EXACT = {"rtol": 1e-11, "atol": 1e-11}
# Draws are fixed by their seeds, so these tests pass or fail for good; a correct sampler would fail one in a thousand of them.
LEVEL = 1e-3
MEANS = [[-3.0, 0.5], [2.0, 1.0], [0.0, -4.0]]
MATRIX = [[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.7]]


def shipped(name: str, *overrides: str) -> Any:
    return instantiate(composed(f"target={name}", *overrides).target, _convert_="all")


def points(n: int, dim: int, scale: float = 2.0, seed: int = 1) -> Tensor:
    return scale * torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_equal_to(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **EXACT)


def assert_drawn_by(sample: Tensor, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
    """A Kolmogorov-Smirnov test of the sample against a distribution function."""
    assert stats.kstest(sample.flatten().numpy(), cdf).pvalue > LEVEL


def log_integral(target: BaseDensity, centers: Tensor, half_width: float, n: int) -> float:
    """log of the integral over a box around all centers, by the trapezoidal rule with n points a side: d = 1 or 2."""
    low, high = centers.amin(0) - half_width, centers.amax(0) + half_width
    axes = [torch.linspace(float(a), float(b), n, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    grid = torch.cartesian_prod(*axes).view(-1, len(axes))
    return float(target.log_reward(grid).logsumexp(0)) + math.log(cell)


TABLE = "age,dose,died\n50,1.5,yes\n60,0.5,no\n45,2.5,yes\n70,1.0,no\n30,0.0,no\n52,2.0,no\n41,1.0,yes\n"


def written(folder: Path, text: str) -> str:
    path = folder / "table.csv"
    path.write_text(text)
    return str(path)


def regression(
    path: str, label: str | None = None, standardize: bool = True, variance: float = 1.0, leave_out: Sequence[str] = ()
) -> LogisticRegression:
    return LogisticRegression(BinaryTable(path, label, list(leave_out), ",", standardize, None, ".", None, []), variance)


def cox(n: int = 4, path: str | None = None, seed: int = 0) -> LogGaussianCox:
    return LogGaussianCox(n, 1.91, 1 / 33 if n > 10 else 0.3, Points(path, ",", seed, None, None, ".", None, []))
