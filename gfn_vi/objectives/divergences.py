"""f-divergences D_f(P_F, P_B) = E_{P_B}[f(P_F / P_B)] between trajectory distributions, as coefficients of scores.

With t = P_F / P_B = e^u (u = l + log Z, log Z standing in for the true one), an expectation

    under P_F:  d/dtheta = E[f'(t) d log P_F]        d/dphi = E[(f(t)/t - f'(t)) d log P_B]
    under P_B:  d/dtheta = E[t f'(t) d log P_F]      d/dphi = E[(f(t) - t f'(t)) d log P_B]

Constants times a score of mean zero are dropped (d log P_F under P_F, d log P_B under P_B, hence also 1/t d log P_B under
P_F): that changes no expected gradient, and keeps coefficients finite. Sources: arXiv 2210.00580 (section 2 and Table 1), and
da Silva et al., "On divergence measures for training GFlowNets" (NeurIPS 2024) for the alpha family.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.log_probability import softplus
from gfn_vi.core.protocols import Expectations

FORWARD, BACKWARD = "P_F", "P_B"
# Coefficients of order alpha are a power that is 1 + (alpha - 1) l to first order, over alpha - 1. In float32 the power is off by
# about eps log B = 1e-6 for a batch of B = 1000 trajectories: at this distance from 1 by 0.01 nats of l, and closer it is noise.
# The divergence itself differs from its limit, the reverse KL, by (alpha - 1) Var(l) / 2.
SMALLEST_DISTANCE = 1e-4


class Divergence(ABC):
    """An f-divergence as coefficients of the scores d log P_F and d log P_B.

    measure: the distribution of the expectation ("P_F" or "P_B"); log_ratio_sign: s where the coefficient on the side of
    `measure` is s * l exactly (both KLs), so that log Z can be its control variate; None elsewhere.
    """

    measure: ClassVar[str]
    log_ratio_sign: ClassVar[int | None] = None

    @abstractmethod
    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return the multiplier of d log P_F: l [R, B], u [R, B] -> [R, B]; no gradient flows through it.

        weights [R, B]: W of `measure`, which sums to about 1, for coefficients that need a mean over the batch.
        """

    @abstractmethod
    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return the multiplier of d log P_B: l [R, B], u [R, B], W [R, B] -> [R, B]; no gradient flows through it."""

    @abstractmethod
    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return the integrand: u [R, B], W [R, B] -> [R, B]; its mean under `measure` estimates the divergence."""

    def expected(self, exact: Expectations) -> Tensor | None:
        """Return the divergence with log Z (held fixed) in place of the true one: [R]; None where it is no sum over a graph."""
        return None


class ReverseKL(Divergence):
    """KL(P_F, P_B): f = t log t, averaged under P_F. The coefficients are l and -1; no Z is needed."""

    measure, log_ratio_sign = FORWARD, 1

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return l as the multiplier of d log P_F: [R, B]."""
        return log_ratio

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -1 as the multiplier of d log P_B: [R, B]."""
        return -torch.ones_like(log_ratio)

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return u, whose mean under P_F is the divergence: [R, B]."""
        return residual

    def expected(self, exact: Expectations) -> Tensor:
        """Return the exact KL(P_F, P_B): [R]."""
        return exact.kl_forward_backward()


class ForwardKL(Divergence):
    """KL(P_B, P_F): f = -log t, averaged under P_B. The coefficients are -1 and -l; no Z is needed."""

    measure, log_ratio_sign = BACKWARD, -1

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -1 as the multiplier of d log P_F: [R, B]."""
        return -torch.ones_like(log_ratio)

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -l as the multiplier of d log P_B: [R, B]."""
        return -log_ratio

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -u, whose mean under P_B is the divergence: [R, B]."""
        return -residual

    def expected(self, exact: Expectations) -> Tensor:
        """Return the exact KL(P_B, P_F): [R]."""
        return exact.kl_backward_forward()


class JensenShannon(Divergence):
    """The Jensen-Shannon divergence: f = (t log t - (t + 1) log((t + 1) / 2)) / 2, averaged under P_F.

    Both coefficients are bounded on one side. f' = (log 2 - softplus(-u)) / 2, without the constant -softplus(-u) / 2;
    f/t - f' = -softplus(u) / (2 t) + log 2 / (2 t), of which the second term has mean zero.
    """

    measure = FORWARD

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -softplus(-u) / 2 as the multiplier of d log P_F: [R, B]."""
        return -softplus(-residual) / 2

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -softplus(u) exp(-u) / 2, a number in (-1/2, 0), as the multiplier of d log P_B: [R, B]."""
        # below that log(1 + t) / t is 1 to rounding in float64 too, and exp(-u) would overflow
        safe = residual.clamp(min=-35.0)
        return -(softplus(safe) * (-safe).exp()) / 2

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return f(t) / t: [R, B]; u is cut at -30, since it grows as exp(-u)."""
        u = residual.clamp(min=-30.0)
        log_mean = softplus(u) - math.log(2)  # log((t + 1) / 2)
        return (u - (1 + (-u).exp()) * log_mean) / 2


class _Power(Divergence):
    """A divergence whose coefficients are powers of t: exponents are cut at `max_exponent` so that float32 holds them."""

    measure = FORWARD

    def __init__(self, max_exponent: float) -> None:
        require(0 < max_exponent <= 40, "objective.forward.0.max_exponent", max_exponent, "expected a number in (0, 40]")
        self.max_exponent = max_exponent

    def power(self, exponent: float, residual: Tensor) -> Tensor:
        """Return t^exponent, at most e^max_exponent: u [R, B] -> [R, B]."""
        return (exponent * residual).clamp(max=self.max_exponent).exp()


def _check_order(alpha: float) -> None:
    """Check the order of a divergence. Raises ConfigError, also where it is so close to 1 that its gradient would be rounding."""
    expected = f"expected a positive number, more than {SMALLEST_DISTANCE:g} from 1: closer use the limit, objective=reverse_kl"
    require(alpha > 0 and abs(alpha - 1) > SMALLEST_DISTANCE, "objective.forward.0.alpha", alpha, expected)


class ChiSquare(_Power):
    """The chi-square divergence: f = (t - 1)^2, averaged under P_F.

    f' without its constant is 2 t; f/t - f' without 1/t, which has mean zero, is -t.
    """

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return 2 t as the multiplier of d log P_F: [R, B]."""
        return 2 * self.power(1.0, residual)

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -t as the multiplier of d log P_B: [R, B]."""
        return -self.power(1.0, residual)

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return t - 1, whose mean under P_F is E_{P_B}[(t - 1)^2]: [R, B]."""
        return self.power(1.0, residual) - 1

    def expected(self, exact: Expectations) -> Tensor:
        """Return the exact divergence, without the cut of powers: [R]."""
        return (exact.log_power(2.0) + exact.log_Z.detach()).exp() - 1


class TsallisAlpha(_Power):
    """Tsallis' divergence (E_{P_F}[t^(alpha - 1)] - 1) / (alpha - 1).

    alpha -> 1 gives KL(P_F, P_B), alpha = 2 the chi-square divergence.
    """

    def __init__(self, alpha: float, max_exponent: float) -> None:
        """alpha: order, positive and not within 1e-4 of 1; max_exponent: powers of t are cut at its exponential."""
        super().__init__(max_exponent)
        _check_order(alpha)
        self.alpha = alpha

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return alpha / (alpha - 1) t^(alpha - 1) as the multiplier of d log P_F: [R, B]."""
        return self.alpha / (self.alpha - 1) * self.power(self.alpha - 1, residual)

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -t^(alpha - 1) as the multiplier of d log P_B: [R, B]."""
        return -self.power(self.alpha - 1, residual)

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return (t^(alpha - 1) - 1) / (alpha - 1), whose mean under P_F is the divergence: [R, B]."""
        return (self.power(self.alpha - 1, residual) - 1) / (self.alpha - 1)

    def expected(self, exact: Expectations) -> Tensor:
        """Return the exact divergence, without the cut of powers: [R]."""
        log_mean = exact.log_power(self.alpha) + (self.alpha - 1) * exact.log_Z.detach()
        return (log_mean.exp() - 1) / (self.alpha - 1)


class RenyiAlpha(Divergence):
    """Renyi's divergence log E_{P_F}[t^(alpha - 1)] / (alpha - 1).

    The coefficients are Tsallis' divided by their weighted mean, so no Z is needed. A ratio of two means is consistent but not
    unbiased, as every estimator of this divergence from one batch.
    """

    measure = FORWARD

    def __init__(self, alpha: float) -> None:
        """alpha: order of the divergence, positive and not within 1e-4 of 1."""
        _check_order(alpha)
        self.alpha = alpha

    def _log_mean(self, log_ratio: Tensor, weights: Tensor) -> Tensor:
        log_weights = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
        return torch.logsumexp((self.alpha - 1) * log_ratio + log_weights, -1, keepdim=True)

    def _share(self, log_ratio: Tensor, weights: Tensor) -> Tensor:
        # W times this is at most 1; alone it is huge where W is tiny, and cut so that float32 holds it
        return ((self.alpha - 1) * log_ratio - self._log_mean(log_ratio, weights)).clamp(max=40.0).exp()

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return alpha / (alpha - 1) t^(alpha - 1) / mean, the mean being W's, as the multiplier of d log P_F: [R, B]."""
        return self.alpha / (self.alpha - 1) * self._share(log_ratio, weights)

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -t^(alpha - 1) / mean, the mean being W's, as the multiplier of d log P_B: [R, B]."""
        return -self._share(log_ratio, weights)

    def value(self, residual: Tensor, weights: Tensor) -> Tensor:
        """Return the batch estimate of the divergence, the same for every trajectory: [R, B]."""
        return (self._log_mean(residual, weights) / (self.alpha - 1)).expand_as(residual)

    def expected(self, exact: Expectations) -> Tensor:
        """Return the exact divergence, whose estimate from one batch is a ratio of means: [R]."""
        return exact.log_power(self.alpha) / (self.alpha - 1) + exact.log_Z.detach()
