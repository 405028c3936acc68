"""Rewards on the hypergrid, above the floor r0 that the grid adds: coordinates [..., D] in 0..side-1 -> R - r0 >= 0 [...].

With z_d = |s_d / (side - 1) - 1/2|, the distance of a coordinate from the middle in units of the side.
Comparisons of z are made in integers, so no cell changes sides by rounding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require


def _band(twice: Tensor, side: int) -> Tensor:
    """Return whether 0.3 < z_d < 0.4 in every dimension, given twice = 2 (side - 1) z: [..., D] -> [...] bool."""
    return ((10 * twice > 6 * (side - 1)) & (10 * twice < 8 * (side - 1))).all(-1)


# Modes are remembered as one boolean each: beyond this many they are not counted.
MOST_MODES = 2**20


def _n_bands(n_dims: int, side: int) -> int | None:
    """Return the number of bands 0.3 < z_d < 0.4 without listing the grid; None where a side has none, or they are too many."""
    coordinate = torch.arange(side)[:, None]
    has_band = bool(_band((2 * coordinate - (side - 1)).abs(), side).any())
    return 2**n_dims if has_band and 2**n_dims <= MOST_MODES else None


def _band_mode(states: Tensor, side: int) -> Tensor:
    """Return which of the 2^D bands a state lies in, -1 for none: [..., D] -> [...] long."""
    centered = 2 * states.long() - (side - 1)
    power = 2 ** torch.arange(states.shape[-1], device=states.device)
    return ((centered > 0) * power).sum(-1).where(_band(centered.abs(), side), -1)


class CornersReward:
    """R = r0 + r1 prod 1[0.25 < z_d <= 0.5] + r2 prod 1[0.3 < z_d < 0.4], with 2^D modes.

    This is the reward of arXiv 2210.00580, section 4.1, where r1 = 0.5 and r2 = 2.
    """

    def __init__(self, r1: float, r2: float) -> None:
        """r1: reward of the corners; r2: what is added on a band inside them; both in units of R."""
        require(0 <= r1 < math.inf, "target.reward.r1", r1, "expected a finite number >= 0")
        require(0 <= r2 < math.inf, "target.reward.r2", r2, "expected a finite number >= 0")
        self.r1, self.r2 = r1, r2

    def __call__(self, states: Tensor, side: int) -> Tensor:
        """Return R - r0: [..., D] -> [...] float64."""
        twice = (2 * states.long() - (side - 1)).abs()  # 2 (side - 1) z
        corner = (4 * twice > 2 * (side - 1)).all(-1)
        band = _band(twice, side)
        return self.r1 * corner.double() + self.r2 * band.double()

    def n_modes(self, n_dims: int, side: int) -> int | None:
        """Return the number of modes without listing the grid; None where the band is empty, or no higher than the rest."""
        return _n_bands(n_dims, side) if self.r2 > 0 else None

    def mode_index(self, states: Tensor, side: int) -> Tensor:
        """Return which mode a state lies in without listing the grid, -1 for none: [..., D] -> [...] long."""
        return _band_mode(states, side)


class CosineReward:
    """R = r0 + r1 prod_d (cos(50 z_d) + 1) exp(-(5 z_d)^2 / 2) / sqrt(2 pi): many hills of different height.

    This is the cosine reward of Malkin et al. (2022), "Trajectory balance", as gflownet and torchgfn have it.
    """

    def __init__(self, r1: float) -> None:
        """r1: height of the hills, in units of R."""
        require(0 <= r1 < math.inf, "target.reward.r1", r1, "expected a finite number >= 0")
        self.r1 = r1

    def __call__(self, states: Tensor, side: int) -> Tensor:
        """Return R - r0: [..., D] -> [...] float64."""
        z = (states.double() / (side - 1) - 0.5).abs()
        hills = ((50 * z).cos() + 1) * (-((5 * z) ** 2) / 2).exp() / math.sqrt(2 * math.pi)
        return self.r1 * hills.prod(-1)


class DeceptiveReward:
    """R = r0 + r1 - r1 prod 1[z_d > 0.1] + r2 prod 1[0.3 < z_d < 0.4]: the way to the modes lowers the reward.

    This is torchgfn's deceptive reward. A plateau r0 + r1 around the middle axes cancels outside them, so that the modes lie
    beyond a moat of reward r0.
    """

    def __init__(self, r1: float, r2: float) -> None:
        """r1: height of the plateau above the moat, whose reward is r0; r2: height of the modes above it; both in units of R."""
        require(0 <= r1 < math.inf, "target.reward.r1", r1, "expected a finite number >= 0")
        expected = f"expected a finite number above r1={r1}: otherwise the plateau is the mode"
        require(r1 < r2 < math.inf, "target.reward.r2", r2, expected)
        self.r1, self.r2 = r1, r2

    def __call__(self, states: Tensor, side: int) -> Tensor:
        """Return R - r0: [..., D] -> [...] float64."""
        twice = (2 * states.long() - (side - 1)).abs()
        outside = (10 * twice > 2 * (side - 1)).all(-1)
        band = _band(twice, side)
        return self.r1 * (~outside).double() + self.r2 * band.double()

    def n_modes(self, n_dims: int, side: int) -> int | None:
        """Return the number of modes without listing the grid; None where the band is empty, or no higher than the rest."""
        return _n_bands(n_dims, side) if self.r2 > 0 else None

    def mode_index(self, states: Tensor, side: int) -> Tensor:
        """Return which mode a state lies in without listing the grid, -1 for none: [..., D] -> [...] long."""
        return _band_mode(states, side)
