"""Bootstrap intervals over objects: bias-corrected and accelerated (BCa; Efron 1987, "Better bootstrap confidence intervals").

Objects are drawn with replacement. A correlation near 1 has a skewed error, which percentiles alone do not follow. BCa shifts
them by the bias of the draws and by the skewness of the jackknife; the scale of a statistic does not matter to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gfn_vi.core.replicas import derived_seed

LEVEL = 0.95
# Numbers (resamples times objects) that are held at once.
LARGEST_CHUNK = 2**21

Statistics = Callable[[Tensor], Mapping[str, Tensor]]
"""weights [B, M] float64, how often each of M objects counts -> name -> [B]."""


class Estimate(NamedTuple):
    """A statistic of all objects, its standard error and the bounds of its interval of level LEVEL: scalars."""

    value: Tensor
    error: Tensor
    low: Tensor
    high: Tensor


def bootstrap(statistics: Statistics, n_objects: int, n_resamples: int, seed: int, device: torch.device) -> dict[str, Estimate]:
    """Return the estimate of each statistic by name; the same resamples at every call with the same seed."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "bootstrap"))
    every = torch.arange(n_objects, device=device)
    rows = max(1, LARGEST_CHUNK // n_objects)

    def counted(n: int) -> Tensor:
        drawn = torch.randint(n_objects, (n, n_objects), generator=generator).to(device)
        counts = torch.zeros(n, n_objects, dtype=torch.float64, device=device)
        return counts.scatter_add_(1, drawn, torch.ones_like(counts))

    def without(some: Tensor) -> Tensor:
        return (every != some[:, None]).double()

    sizes = [min(rows, n_resamples - start) for start in range(0, n_resamples, rows)]
    drawn = _joined([statistics(counted(size)) for size in sizes])
    left_out = _joined([statistics(without(some)) for some in every.split(rows)])
    whole = statistics(torch.ones(1, n_objects, dtype=torch.float64, device=device))
    return {name: _estimate(whole[name][0], drawn[name], left_out[name]) for name in whole}


def _joined(parts: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _estimate(value: Tensor, drawn: Tensor, left_out: Tensor) -> Estimate:
    if not bool(value.isfinite()):  # of a replica that diverged nothing is known
        return Estimate(*[torch.full_like(value, torch.nan)] * 4)
    return Estimate(value, drawn.std(), *bca_interval(value, drawn, left_out))


def bca_interval(value: Tensor, drawn: Tensor, left_out: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of a statistic from its value, a scalar, its resamples [B], and its values without each object [M].

    Equations 14.10, 14.14 and 14.15 of Efron & Tibshirani, "An introduction to the bootstrap" (1993).
    """
    below = ((drawn < value).double().mean() + (drawn <= value).double().mean()) / 2
    half = 0.5 / len(drawn)  # of one draw: a value beyond all of them would have an infinite bias
    bias = torch.special.ndtri(below.clamp(half, 1 - half))
    influence = left_out.mean() - left_out
    spread = influence.square().sum() ** 1.5
    acceleration = (influence**3).sum() / 6 / spread.where(spread > 0, 1.0)
    normal = torch.special.ndtri(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=drawn.dtype, device=drawn.device))
    shifted = torch.special.ndtr(bias + (bias + normal) / (1 - acceleration * (bias + normal)))
    low, high = torch.quantile(drawn, shifted)
    return low, high
