"""Means of Gaussian mixtures that have a name: [K, d] float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def circle8(dim: int) -> Tensor:
    """Return eight points on a circle of radius 4 / 1.414, the usual toy; in a plane."""
    angle = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    return 4 / 1.414 * torch.stack([angle.cos(), angle.sin()], 1)


def grid9(dim: int) -> Tensor:
    """Return {-5, 0, 5}^2."""
    side = torch.tensor([-5.0, 0.0, 5.0], dtype=torch.float64)
    return torch.cartesian_prod(side, side)


def grid25(dim: int) -> Tensor:
    """Return {-10, -5, 0, 5, 10}^2."""
    side = torch.tensor([-10.0, -5.0, 0.0, 5.0, 10.0], dtype=torch.float64)
    return torch.cartesian_prod(side, side)


def uniform40(dim: int) -> Tensor:
    """Return forty points of [-40, 40]^d: (u - 1/2) 80 with torch's uniform numbers of seed 0, in float32 as first published.

    Midgley et al. (2023), "Flow annealed importance sampling bootstrap". Another forty of the literature come from a JAX key.
    """
    uniform = torch.rand(40, dim, generator=torch.Generator().manual_seed(0))
    return ((uniform - 0.5) * 80).double()


LAYOUTS: dict[str, Callable[[int], Tensor]] = {layout.__name__: layout for layout in (circle8, grid9, grid25, uniform40)}
