"""The integral of |p - q| on a line. The absolute value has kinks: there a sum over nodes is off by the square of the spacing.

Between kinks it is the change of D, the antiderivative of p - q, which the nodes determine: p - q vanishes at both ends of the
line and nothing in it is narrower than the nodes resolve, so its Fourier series is that of a periodic function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Points between two nodes, of which those around a kink are joined by a straight line.
FINER = 512


def absolute_difference(p: Tensor, q: Tensor) -> Tensor:
    """Return the integral of |p - q| of probabilities of nodes p, q [M, R], M odd: [R]."""
    difference = p - q
    m = len(difference)
    spectrum = torch.fft.rfft(difference, dim=0)
    frequency = torch.arange(len(spectrum), device=p.device, dtype=p.dtype)[:, None] * (2 * math.pi / m)
    summed = spectrum / (1j * frequency.where(frequency > 0, 1.0))
    summed[0] = 0  # p and q have the same mass
    density, below = (torch.fft.irfft(part, n=m * FINER, dim=0) * FINER for part in (spectrum, summed))
    following = density.roll(-1, 0)
    kink = density * following < 0
    sizes = (density.abs() + following.abs()).where(kink, 1.0)
    around = (density.square() + following.square()) / sizes / (2 * FINER)
    return around.where(kink, (below.roll(-1, 0) - below).abs()).sum(0)
