"""A density on the line, by quadrature: its integral, its distribution function and the inverse of that.

The trapezoidal rule converges exponentially for a smooth function that vanishes at both ends (Trefethen & Weideman 2014), so
the integral is exact to rounding. Between grid points the distribution function is taken as linear: an error of the density
of (range / points)^2, here about 1e-8.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# An even number, so that the middle of the range is a grid point.
N_INTERVALS = 2**16


def integrate(log_density: Callable[[Tensor], Tensor], half_width: float) -> tuple[Tensor, Tensor, float]:
    """Return (grid [n], distribution function there [n], log of the integral) of a density on [-half_width, half_width]."""
    grid = torch.linspace(-half_width, half_width, N_INTERVALS + 1, dtype=torch.float64)
    values = log_density(grid)
    top = values.max()
    weights = (values - top).exp()
    between = (weights[1:] + weights[:-1]) / 2
    total = between.sum()
    below = torch.cat([weights.new_zeros(1), between.cumsum(0)]) / total
    return grid, below, float(top + total.log()) + math.log(2 * half_width / N_INTERVALS)


def quantile(grid: Tensor, below: Tensor, uniform: Tensor) -> Tensor:
    """Return the inverse of the distribution function `below` at uniform numbers in [0, 1), in their type: [...] -> [...].

    A uniform number stands for the middle of its interval of rounding: the ends of the grid are never drawn.
    """
    share = uniform.double() + torch.finfo(uniform.dtype).eps / 4
    right = torch.searchsorted(below, share).clamp(1, len(grid) - 1)
    low, high = below[right - 1], below[right]
    inside = (share - low) / (high - low)
    return (grid[right - 1] + inside * (grid[right] - grid[right - 1])).to(uniform.dtype)
