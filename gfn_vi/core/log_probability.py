"""Log-probabilities: masked normalization, inverse-CDF sampling, weighted means."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Stands for log 0 in logits: exp of it is exactly 0 in every float type, yet a row without any legal action stays finite
# (uniform, never used), so that its gradient is 0 and not NaN.
ILLEGAL = -1e30


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Return log-probabilities over the legal actions: logits, mask (bool) [..., A] -> [..., A]; about -1e30 where illegal."""
    return logits.masked_fill(~mask, ILLEGAL).log_softmax(-1)


def uniform_log_probs(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return log-probabilities that are uniform over the legal actions: mask [..., A] bool -> [..., A]; -1e30 where illegal."""
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(mask, -count.to(dtype).log(), torch.full((), ILLEGAL, dtype=dtype, device=mask.device))


def sampling_noise(uniform: Tensor) -> Tensor:
    """Return uniforms on [0, 1), capped in place, so that noise * total < total after rounding: [...] -> [...].

    An action of probability 0 is then never drawn.
    """
    return uniform.clamp_(max=1.0 - 4.0 * torch.finfo(uniform.dtype).eps)


def cumulative(log_probs: Tensor) -> Tensor:
    """Return unnormalized cumulative probabilities along the last axis: log-probabilities [..., A] -> [..., A]."""
    return log_probs.exp().cumsum(-1)


def inverse_cdf(cdf: Tensor, noise: Tensor) -> Tensor:
    """Return the index of the first entry above noise * total: cdf [..., A], noise [...] from sampling_noise -> [...] long.

    A row of NaN gives A - 1: the policy of a replica that diverged takes the stop action and stays inside the space.
    """
    last = cdf.shape[-1] - 1
    return last - (cdf[..., :last] > noise.unsqueeze(-1) * cdf[..., last:]).sum(-1)


def log_mean_exp(values: Tensor, dim: int = -1) -> Tensor:
    """Return the log of the mean of exp(values) along `dim`: [..., n, ...] -> the shape without that axis."""
    return torch.logsumexp(values, dim) - math.log(values.shape[dim])


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return Kish's effective sample size (sum w)^2 / sum w^2 as a fraction of the sample, in (0, 1]: log w [..., B] -> [...]."""
    log_ess = 2 * torch.logsumexp(log_weights, -1) - torch.logsumexp(2 * log_weights, -1)
    return log_ess.exp() / log_weights.shape[-1]


def effective_sample_size_error(log_weights: Tensor) -> Tensor:
    """Return the standard error of Kish's effective sample size, by its influence function: log w [..., B] -> fraction [...]."""
    n = log_weights.shape[-1]
    relative = log_weights.softmax(-1) * n  # w / mean(w)
    second = relative.square().mean(-1, keepdim=True)  # 1 / ess
    influence = 2 * (relative - 1) / second - (relative.square() - second) / second.square()
    error: Tensor = influence.std(-1) / n**0.5
    return error


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)): [...] -> [...]. It is exact in float64; torch's own returns x above a threshold of 20."""
    return torch.logaddexp(x, x.new_zeros(()))
