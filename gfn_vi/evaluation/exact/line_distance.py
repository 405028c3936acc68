"""Distances on a line whose integrands vary faster than the densities p and q do: |p - q|, and p log(p + q).

The nodes determine the densities everywhere: they vanish at both ends of the line and nothing in them is narrower than the nodes
resolve, so their Fourier series are those of periodic functions. The absolute value has kinks, where a sum over nodes is off by
the square of the spacing: between them the integral is the change of D, the antiderivative of p - q. log(p + q) is singular close
to the real line where p and q cross far from both: it is summed over points between the nodes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Points between two nodes, of which those around a kink are joined by a straight line; and where there are no kinks.
FINER, SMOOTH = 512, 16


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of densities whose probabilities of nodes are p, q [M, R], M odd: [R]."""
    m = len(p)
    both = torch.stack([p.expand_as(q), q])
    finer = torch.fft.irfft(torch.fft.rfft(both, dim=1), n=m * SMOOTH, dim=1).clamp(min=0.0)
    mean = finer.mean(0).clamp(min=torch.finfo(p.dtype).tiny)
    return (torch.special.xlogy(finer, finer / mean)).sum((0, 1)) / 2


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
