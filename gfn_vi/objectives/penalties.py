"""Penalties of a balance residual. All are even, 0 at 0 and finite for |x| up to 1e4 in float32.

Each has second derivative 2 at 0, so that near the solution every penalty has the gradient of the square.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional

from gfn_vi.core.errors import require
from gfn_vi.core.log_probability import softplus


class Penalty(ABC):
    """A function that punishes a residual [...] elementwise by a number >= 0: [...]."""

    @abstractmethod
    def __call__(self, residual: Tensor) -> Tensor:
        """Return the penalty of each residual: [...] -> [...]."""


class Square(Penalty):
    """The square of the residual, x^2."""

    def __call__(self, residual: Tensor) -> Tensor:
        """Return x^2 of each residual: [...] -> [...]."""
        return residual.square()


class Huber(Penalty):
    """Twice the Huber loss: x^2 for |x| <= delta, then linear, 2 delta |x| - delta^2."""

    def __init__(self, delta: float) -> None:
        """delta: where the linear part begins, in nats."""
        require(delta > 0, "objective.penalty.delta", delta, "expected a positive number of nats")
        self.delta = delta

    def __call__(self, residual: Tensor) -> Tensor:
        """Return twice the usual Huber loss, which meets x^2 near 0: [...] -> [...]."""
        return 2 * functional.huber_loss(residual, residual.new_zeros(()).expand_as(residual), "none", self.delta)


class LogCosh(Penalty):
    """Twice log cosh x = |x| + log(1 + exp(-2 |x|)) - log 2: linear far from 0, without overflow."""

    def __call__(self, residual: Tensor) -> Tensor:
        """Return twice log cosh, which meets x^2 near 0: [...] -> [...]."""
        # softplus(-2x) + x is even in x; written this way its gradient is tanh, also at 0 where |x| has none
        return 2 * (residual + softplus(-2 * residual) - math.log(2))
