"""Pareto k of importance weights, which says how heavy their upper tail is.

A generalized Pareto distribution is fitted to the largest weights (Zhang & Stephens, "A new and efficient estimation method
for the generalized Pareto distribution", 2009) with the weak prior of Vehtari et al., "Pareto smoothed importance sampling".
Weights have about 1 / k finite moments: averages are trustworthy below 0.5, hopeless above 1, and 0.7 is the usual limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The prior is worth ten observations at k = 1/2 (Vehtari et al., appendix C); 3 and 30 are Zhang & Stephens' constants.
PRIOR_COUNT, PRIOR_K = 10, 0.5
GRID_START, QUARTILE_SCALE = 30, 3


def pareto_k(log_weights: Tensor) -> Tensor:
    """Return k of the largest min(S / 5, 3 sqrt(S)) weights: log_weights [..., S] -> [...] float64.

    The tail is what lies strictly above the largest weight left out: in small spaces many trajectories are alike. -inf where
    nothing does (constant weights have no tail), inf where it spans more than float64 can hold (some 700 nats), NaN where a
    weight is NaN.
    """
    n = log_weights.shape[-1]
    n_tail = min(math.ceil(min(n / 5, 3 * math.sqrt(n))), n - 1)
    if n_tail < 1:
        return torch.full(log_weights.shape[:-1], -torch.inf, dtype=torch.float64, device=log_weights.device)
    largest = log_weights.double().topk(n_tail + 1, -1).values.flip(-1)
    weights = (largest - largest[..., -1:]).exp()
    found = fitted_k(weights[..., 1:] - weights[..., :1]).where(~log_weights.isnan().any(-1), torch.nan)
    return found.masked_fill(((weights == 0) & (largest > largest[..., :1])).any(-1), torch.inf)


def fitted_k(exceedances: Tensor) -> Tensor:
    """Return k of a generalized Pareto distribution: exceedances [..., N] ascending -> [...].

    Zeros are ignored; -inf where all are 0.
    """
    x = exceedances
    above = x > 0
    count = above.sum(-1)
    n = count.clamp(min=1).to(x.dtype)
    n_grid = GRID_START + math.isqrt(x.shape[-1])
    # the zeros come first, so the first quartile of the others is this many places further
    quartile = (x.shape[-1] - n + (n / 4 + 0.5).floor() - 1).clamp(min=0, max=x.shape[-1] - 1).long()
    low, high = x.gather(-1, quartile[..., None]), x[..., -1:]
    low, high = low.where(low > 0, high).where(high > 0, 1.0), high.where(high > 0, 1.0)
    step = torch.arange(n_grid, dtype=x.dtype, device=x.device) + 0.5
    theta = 1 / high + (1 - (n_grid / step).sqrt()) / QUARTILE_SCALE / low  # [..., n_grid]
    k = _mean_log1p(theta, x, above, n)
    # at theta = 0 the exponential distribution, where -theta / k is 1 / mean
    flat = (theta * high).abs() < 1e-12
    mean = (x.sum(-1) / n)[..., None]
    rate = torch.where(flat, 1 / mean.where(mean > 0, 1.0), -theta / k.where(~flat, 1.0))
    log_likelihood = n[..., None] * (rate.log() - k - 1)
    best = (log_likelihood.softmax(-1) * theta).sum(-1, keepdim=True)
    found = _mean_log1p(best, x, above, n)[..., 0]
    found = (n * found + PRIOR_COUNT * PRIOR_K) / (n + PRIOR_COUNT)
    return found.where(count > 0, -torch.inf)


def _mean_log1p(theta: Tensor, x: Tensor, above: Tensor, n: Tensor) -> Tensor:
    """Return the mean over x > 0 of log(1 - theta x): theta [..., G], x [..., N] -> [..., G]."""
    terms = torch.log1p(-theta[..., :, None] * x[..., None, :]).masked_fill(~above[..., None, :], 0.0)
    return terms.sum(-1) / n[..., None]
