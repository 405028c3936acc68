"""Moments of gradients that arrive a few at a time: bias, variance, signal-to-noise and cosine against a reference.

With M independent batch gradients g_m and d_m = g_m - g*, three numbers per batch are kept (|g_m|^2, <g_m, g*>, |d_m|^2) and the
sums of d_m over 8 groups of batches; no gradient is. An independently sampled reference has a noise of its own, of known size: it
is taken out of the bias. With S the sum and Q the sum of squares of the d_m,

    variance: (Q - |S|^2 / M) / (M - 1), the trace of the covariance       |E g - g*|^2: (|S|^2 - Q) / (M (M - 1)), unbiased

Errors of what is no mean over batches are delete-one-group jackknives, from the inner products of the group sums: valid whatever
the bias, and known to about a quarter (7 degrees of freedom). That of a bias of 0 is about sqrt(2) too large: what is left of its
variance then is a product of two means, which a jackknife sees twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUPS = 8


def total_variance(n: Tensor | int, squares: Tensor, square_of_sum: Tensor) -> Tensor:
    """Return the unbiased trace of the covariance from n, Q and |S|^2: [...] -> [...]."""
    return (squares - square_of_sum / n) / (n - 1)


def squared_bias(n: Tensor | int, squares: Tensor, square_of_sum: Tensor) -> Tensor:
    """Return the unbiased |E d|^2, the mean of <d_i, d_j> over i != j: [...] -> [...]; it may be negative."""
    return (square_of_sum - squares) / (n * (n - 1))


STATISTICS = (
    *("variance", "variance_se", "bias", "bias_se", "bias_along", "bias_along_se", "snr", "snr_se"),
    *("cosine", "cosine_se", "cosine_floor", "reference_norm"),
)


def jackknife_error(without: Tensor) -> Tensor:
    """Return the standard error of a statistic from its values without one of G equal groups: [..., G] -> [...]."""
    n_groups = without.shape[-1]
    return ((n_groups - 1) * without.var(-1, correction=0)).sqrt()


def mean_error(values: Tensor) -> Tensor:
    """Return the standard error of the mean over the last axis: [..., M] -> [...]."""
    return values.std(-1) / values.shape[-1] ** 0.5


class GradientMoments:
    """Moments of the gradients of M batches, for one estimator and one role."""

    def __init__(
        self, reference: Tensor, n_batches: int, dtype: torch.dtype, share: float = 0.0, contained: bool = False
    ) -> None:
        """reference: g* [R, P]; n_batches: M, a multiple of GROUPS; dtype: of the sums of differences that are kept.

        share: b / n_reference of a sampled reference, whose own noise has this share of a batch's variance; 0: exact.
        contained: the reference is made of these very batches (nested), so that differences to it say nothing.
        """
        if n_batches % GROUPS:
            raise ValueError(f"{n_batches} batches are not {GROUPS} groups of the same size")
        self.reference, self.n_batches, self.share, self.contained = reference.double(), n_batches, share, contained
        self.size = reference.double().square().sum(-1)  # |g*|^2
        self.squares, self.along, self.distances = (self.size.new_zeros(len(reference), n_batches) for _ in range(3))
        self.sums = torch.zeros(len(reference), GROUPS, reference.shape[1], dtype=dtype, device=reference.device)

    def add(self, start: int, gradients: Tensor) -> None:
        """Take in the gradients [R, K, P] of batches start, start + 1, ... ."""
        places = torch.arange(start, start + gradients.shape[1], device=gradients.device)
        # in place, since these are the largest tensors of a measurement; a copy even where the gradients are float64
        found = gradients.to(torch.float64, copy=True)
        self.squares[:, places] = torch.einsum("rkp,rkp->rk", found, found)
        self.along[:, places] = torch.einsum("rkp,rp->rk", found, self.reference)
        difference = found.sub_(self.reference[:, None])
        self.distances[:, places] = torch.einsum("rkp,rkp->rk", difference, difference)
        self.sums.index_add_(1, places * GROUPS // self.n_batches, difference.to(self.sums.dtype))

    def statistics(self) -> dict[str, Tensor]:
        """Return name -> [R] float64; what is relative to g* is NaN where g* is exactly zero. Definitions: docs/metrics.md."""
        n, n_others = self.n_batches, self.n_batches - self.n_batches // GROUPS
        squares, inner = self._by_group()
        total, square = squares.sum(-1), inner.sum((-1, -2))
        others = total[:, None] - squares
        square_of_others = square[:, None] - 2 * inner.sum(-1) + inner.diagonal(dim1=-2, dim2=-1)
        variance = total_variance(n, total, square).clamp(min=0)
        variance_without = total_variance(n_others, others, square_of_others)
        size = self.size.where(self.size > 0, torch.nan)
        shares = self.along / size[:, None]
        cosines = self.along / (self.squares * size[:, None]).sqrt()
        cosines = cosines.where((self.squares != 0) | size.isnan()[:, None], 0.0)  # no direction at all
        bias, bias_without = squared_bias(n, total, square), squared_bias(n_others, others, square_of_others)
        along = self.along.unflatten(1, (GROUPS, -1)).sum(-1)
        along_without = (along.sum(-1, keepdim=True) - along) / n_others
        power = _power(self.size, along.sum(-1) / n, bias, variance)
        power_without = _power(self.size[:, None], along_without, bias_without, variance_without)
        noise = variance * self.share / size  # of the reference, relative to it
        found = {
            "variance": variance,
            "variance_se": jackknife_error(variance_without),
            "bias": bias / size - noise,
            "bias_se": jackknife_error(bias_without) / size,
            "bias_along": shares.mean(-1) - 1 + noise,
            "bias_along_se": mean_error(shares),
            "snr": power.sqrt(),
            "snr_se": jackknife_error(power_without.sqrt()),
            "cosine": cosines.mean(-1),
            "cosine_se": mean_error(cosines),
            "cosine_floor": (self.along.var(-1) / size / variance / n).sqrt(),
            "reference_norm": self.size.sqrt(),
        }
        if self.contained:
            unknown = torch.full_like(variance, torch.nan)
            found |= dict.fromkeys(("bias", "bias_se", "bias_along", "bias_along_se"), unknown)
            found["cosine_floor"] = torch.full_like(variance, self.share**0.5)
        return found

    def _by_group(self) -> tuple[Tensor, Tensor]:
        """Return the sums of |d_m|^2 [R, G], and the inner products of the sums of d_m [R, G, G]."""
        squares = self.distances.unflatten(1, (GROUPS, -1)).sum(-1)
        # replica by replica: all sums in float64 at once would be the largest tensor of the measurement
        inner = torch.stack([sums.double() @ sums.double().T for sums in self.sums])
        return squares, inner


def _power(size: Tensor, along: Tensor, bias: Tensor, variance: Tensor) -> Tensor:
    """Return |E g|^2 / variance, cut at 0, from |g*|^2, <E g, g*> and |E d|^2: |E g|^2 = 2 <E g, g*> - |g*|^2 + |E d|^2."""
    return (2 * along - size + bias).clamp(min=0) / variance
