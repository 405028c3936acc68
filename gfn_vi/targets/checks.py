"""Numbers of the configuration as float64 tensors; what makes no density is refused by key."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.seeds import is_whole


def check_whole(value: object, least: int, key: str) -> None:
    """Raises ConfigError for what is no whole number >= least."""
    require(is_whole(value) and value >= least, key, value, f"expected a whole number >= {least}")  # type: ignore[operator]


def check_positive(value: float, key: str) -> None:
    """Raises ConfigError for what is no finite number above 0."""
    require(0 < value < math.inf, key, value, "expected a finite number > 0")


def finite_tensor(value: object, key: str, expected: str) -> Tensor:
    """Return a number or nested lists of numbers in float64. Raises ConfigError, which says `expected`, for anything else."""
    try:
        tensor = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError) as error:  # texts, or rows of different lengths
        raise ConfigError(key, value, expected) from error
    require(bool(tensor.isfinite().all()), key, value, f"{expected}, all of them finite")
    return tensor


def cholesky_factor(covariance: Tensor, key: str, found: object) -> Tensor:
    """Return the lower triangular L with L L' = covariance: [..., d, d]. Raises ConfigError where there is none."""
    symmetric = torch.allclose(covariance, covariance.mT, rtol=1e-9, atol=0)
    require(symmetric, key, found, "not symmetric: no covariance")
    factor, failed = torch.linalg.cholesky_ex(covariance)
    require(not bool(failed.any()), key, found, "not positive definite: no covariance")
    return factor
