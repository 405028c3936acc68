"""How two numbers of each object go together, under weights of the objects: every resample of a bootstrap is a set of weights.

Of an exact sampler P_T = R / Z on all of M objects: both correlations and the slope are 1, and log P_T - log R does not vary.
"""

from __future__ import annotations

import torch
from torch import Tensor

STATISTICS = ("correlation", "rank_correlation", "slope", "mean", "residual", "residual_std")
# Nats. Log-probabilities this close are the same: the rounding of a float32 policy neither breaks a tie nor makes a correlation.
SAME = 1e-6


def weighted_statistics(log_p: Tensor, log_target: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Return each of STATISTICS for B sets of weights [B, M], how often an object counts: name -> [B] float64.

    log_p, log_target [M]: log P_T and log R - log Z. Pearson's and Spearman's correlation (0 where one of the two is the same
    everywhere, up to SAME), the slope of log P_T on log R by least squares, the mean of log P_T, and the mean and standard
    deviation of log P_T - log R + log Z. NaN where log P_T is not finite.
    """
    var_p, var_target, covariance = _moments(log_p, log_target, weights)
    rank_moments = _moments(midranks(log_p, weights), midranks(log_target, weights), weights)
    residual = log_p - log_target
    size = weights.sum(-1)
    mean = (weights * residual).sum(-1) / size
    squares = (weights * (residual - mean[:, None]).square()).sum(-1)
    found = {
        "correlation": _normalized(covariance, (var_p * var_target).sqrt(), var_p, var_target),
        "rank_correlation": _normalized(rank_moments[2], (rank_moments[0] * rank_moments[1]).sqrt(), *rank_moments[:2]),
        "slope": _normalized(covariance, var_target, var_p, var_target),
        "mean": (weights * log_p).sum(-1) / size,
        "residual": mean,
        "residual_std": (squares / (size - 1)).sqrt(),
    }
    sound = log_p.isfinite().all()
    return {name: value.where(sound, torch.nan) for name, value in found.items()}


def midranks(values: Tensor, weights: Tensor) -> Tensor:
    """Return the rank of each value among all of them, 1 for the smallest: values [M], weights [B, M] -> [B, M].

    An object of weight w stands w times. Ties share the mean of their ranks; neighbors within SAME of each other are tied.
    """
    order = values.argsort()
    group = torch.empty_like(order)
    group[order] = torch.nn.functional.pad((values[order].diff() > SAME).cumsum(0), (1, 0))
    members = torch.zeros_like(weights).index_add_(1, group, weights)
    return (members.cumsum(1) - (members - 1) / 2)[:, group]


def _moments(a: Tensor, b: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the variances of a and of b, and their covariance, under weights [B, M]: [B] each."""
    share = weights / weights.sum(-1, keepdim=True)
    a = a - (share * a).sum(-1, keepdim=True)
    b = b - (share * b).sum(-1, keepdim=True)
    return (share * a * a).sum(-1), (share * b * b).sum(-1), (share * a * b).sum(-1)


def _normalized(covariance: Tensor, scale: Tensor, var_a: Tensor, var_b: Tensor) -> Tensor:
    """Return covariance / scale, and 0 where either variance is that of a constant."""
    constant = (var_a <= SAME**2) | (var_b <= SAME**2)
    return (covariance / scale.masked_fill(constant, 1.0)).masked_fill(constant, 0.0)
