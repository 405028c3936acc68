"""The interval that holds the mass of a density of one dimension, found by looking at more and more distant points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import DensityTarget

# Distances from 0 that are looked at, each on so many points, and the share of the mass that is left out on either side.
REACHES, POINTS, LEFT_OUT = tuple(8.0 * 2**k for k in range(15)), 4001, 1e-17


def support(target: DensityTarget, low: float | None, high: float | None, device: torch.device) -> tuple[float, float]:
    """Return the ends of the interval; those that are given stay.

    Raises ConfigError for a target whose mass is not within reach, or whose log R is NaN.
    """
    if low is not None and high is not None:
        return low, high
    lines = [torch.linspace(-reach, reach, POINTS, dtype=torch.float64, device=device) for reach in REACHES]
    points = torch.cat(lines).unique()
    for _ in range(2):  # far from 0 points are rare: once more on points of this interval alone
        first, last = _ends(target, points)
        points = torch.linspace(float(points[first]), float(points[last]), POINTS, dtype=torch.float64, device=device)
    return float(points[0]) if low is None else low, float(points[-1]) if high is None else high


def _ends(target: DensityTarget, points: Tensor) -> tuple[int, int]:
    """Return the indices of the points between which the mass lies."""
    name = type(target).__name__
    log_density = target.log_reward(points[:, None])
    if bool(log_density.isnan().any()):
        where = float(points[log_density.isnan().nonzero()[0]])
        raise ConfigError("target", name, f"log R is nan at {where:.4g}; expected a number, or -inf where R is 0")
    log_mass = log_density + torch.gradient(points)[0].log()
    bound = log_mass.logsumexp(0) + math.log(LEFT_OUT)
    inside = (log_mass.logcumsumexp(0) >= bound) & (log_mass.flip(0).logcumsumexp(0).flip(0) >= bound)
    rows = inside.nonzero()[:, 0]
    reached = len(rows) > 0 and int(rows[0]) > 0 and int(rows[-1]) < len(points) - 1
    if not reached and len(points) > POINTS:
        found = f"its mass is not within {REACHES[-1]:.0f} of 0, or its tails are too heavy for a sum on a line"
        raise ConfigError("target", name, f"{found}; use evaluation=sampled")
    return max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 1, len(points) - 1)
