"""Expectations under another distribution than the one that drew the batch: importance weights W [R, B], about summing to 1.

log_weights is log P_F(tau) - log pi(tau) for expectations under P_F, and log R(x) + log P_B(tau | x) - log Z - log pi(tau)
under P_B; the learned log Z stands in for the true one, which only `plain` cares about.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from gfn_vi.core.errors import require


class Weighting(ABC):
    """A rule for importance weights; needs_density: whether log pi(tau) has to be known."""

    needs_density: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return weights W so that sum(W f) estimates the expectation of f: log_weights [R, B] -> [R, B]."""


class Plain(Weighting):
    """Plain importance weights, W = w / B: unbiased where Z is known, of large variance.

    Weights are cut at e^max_log_weight to stay finite.
    """

    def __init__(self, max_log_weight: float) -> None:
        require(0 < max_log_weight <= 40, "objective.weighting.max_log_weight", max_log_weight, "expected a number in (0, 40]")
        self.max_log_weight = max_log_weight

    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return w / B with weights w cut at e^max_log_weight: log_weights [R, B] -> [R, B]."""
        return log_weights.clamp(max=self.max_log_weight).exp() / log_weights.shape[-1]


class SelfNormalized(Weighting):
    """Self-normalized weights, W = w / sum w: consistent, biased by O(1/B), and no Z is needed."""

    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return w / sum w, from log-weights with the maximum subtracted: log_weights [R, B] -> [R, B]."""
        return log_weights.softmax(-1)


class Truncated(Weighting):
    """Self-normalized weights, each at most B^exponent times their mean 1 / B, normalized again (Ionides 2008: exponent 1/2)."""

    def __init__(self, exponent: float) -> None:
        """exponent: in [0, 1]; 0 cuts at the mean weight, 1 cuts nothing."""
        require(0 <= exponent <= 1, "objective.weighting.exponent", exponent, "expected a number in [0, 1]")
        self.exponent = exponent

    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return the truncated and again normalized weights: log_weights [R, B] -> [R, B]."""
        weights = log_weights.softmax(-1).clamp(max=log_weights.shape[-1] ** (self.exponent - 1.0))
        return weights / weights.sum(-1, keepdim=True)


class Unweighted(Weighting):
    """Equal weights W = 1 / B: the trajectories are taken as if the wanted distribution had drawn them."""

    needs_density = False

    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return the weight 1 / B of every trajectory: log_weights [R, B] -> [R, B]."""
        return log_weights.new_full(log_weights.shape, 1 / log_weights.shape[-1])
