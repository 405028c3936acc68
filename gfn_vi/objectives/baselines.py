"""Control variates of score-function terms: the term sum_i W_i (c_i - b_i) d log P(tau_i), where d log P has mean zero.

Unbiased: none, leave_one_out, optimal (without the sample itself), global_log_z and running_mean (made of earlier batches).
leave_one_out and optimal suppose independent trajectories: where a mixture divides the batch in fixed shares they are biased by
O(1 / B), because the others of a sample are not distributed alike in every share.
batch_mean contains the sample itself and shrinks the expected gradient by (B - 1) / B (paper, section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.types import Need


def sum_of_others(x: Tensor) -> Tensor:
    """Sum over j != i, from the sums before and after i, so that nothing cancels: [R, B] -> [R, B]."""
    pad = torch.nn.functional.pad
    return pad(x.cumsum(-1)[..., :-1], (1, 0)) + pad(x.flip(-1).cumsum(-1)[..., :-1], (1, 0)).flip(-1)


def leave_one_out_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the others: values, weights >= 0 [R, B] -> [R, B]. Entry i does not depend on sample i.

    Where all other weights have underflowed to 0 it is their plain mean.
    """
    total = sum_of_others(weights)
    plain = sum_of_others(values) / (values.shape[-1] - 1)
    return (sum_of_others(weights * values) / total.where(total > 0, 1.0)).where(total > 0, plain)


class Baseline(ABC):
    """One object serves all terms of an objective that take a baseline; `side` names the term, memory is kept apart by it."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    removes_nothing: ClassVar[bool] = False
    needs_log_ratio: ClassVar[bool] = False
    smallest_batch: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """b for coefficient c [R, B] with weights W [R, B]: [R, B] or [R, 1].

        global_value [R]: what c has for a mean where P_F = P_B and log Z is right; norm [R, B]: |d log P(tau)|^2.
        """

    def update(self, side: str, coefficient: Tensor, weights: Tensor) -> None:
        """Learn from a batch after it was used."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the baseline remembers between batches."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


class NoBaseline(Baseline):
    """b = 0."""

    removes_nothing = True

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """0."""
        return torch.zeros_like(coefficient)


class BatchMean(Baseline):
    """b = weighted batch mean of c, the sample itself included: the paper's local baseline."""

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """[R, 1]; 0 where all weights have underflowed."""
        total = weights.sum(-1, keepdim=True)
        return (weights * coefficient).sum(-1, keepdim=True) / total.where(total > 0, 1.0)


class LeaveOneOut(Baseline):
    """b_i = weighted mean of the others."""

    smallest_batch = 2

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """[R, B]."""
        return leave_one_out_mean(coefficient, weights)


class GlobalLogZ(Baseline):
    """b = -log Z for the coefficient l (log Z for -l): the learned log Z is the paper's global baseline (eq. 12)."""

    needs_log_ratio = True

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """[R, 1]."""
        return global_value[:, None]


class RunningMean(Baseline):
    """b <- (1 - rate) b + rate * batch mean, after each use; b starts at 0."""

    def __init__(self, rate: float) -> None:
        """rate: share of the newest batch, in (0, 1]."""
        require(0 < rate <= 1, "objective.baseline.rate", rate, "expected a number in (0, 1]")
        self.rate = rate
        self.mean: dict[str, Tensor] = {}

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """[R, 1]."""
        return self._mean(side, coefficient)[:, None]

    def _mean(self, side: str, like: Tensor) -> Tensor:
        # on the device of the coefficients: a checkpoint is loaded on the CPU
        return self.mean[side].to(like.device) if side in self.mean else like.new_zeros(like.shape[0])

    def update(self, side: str, coefficient: Tensor, weights: Tensor) -> None:
        """Move towards the weighted batch mean; a replica whose batch is not finite keeps its mean."""
        new = (weights * coefficient).sum(-1) / weights.sum(-1)
        old = self._mean(side, new)
        self.mean[side] = torch.where(new.isfinite(), (1 - self.rate) * old + self.rate * new, old)

    def state_dict(self) -> dict[str, Any]:
        """{"mean": {side: [R]}}."""
        return {"mean": dict(self.mean)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.mean = dict(state["mean"])


class Optimal(Baseline):
    """b* = E[W^2 c |d log P|^2] / E[W^2 |d log P|^2], estimated from the other trajectories: least total variance.

    The exact norms of all scores cost one backward pass per trajectory.
    """

    needs = frozenset({Need.SCORE_NORMS})
    smallest_batch = 2

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """[R, B]."""
        assert norm is not None
        scale = weights.amax(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        importance = (weights / scale).square() * norm
        nothing = importance.sum(-1, keepdim=True) <= 0
        return leave_one_out_mean(coefficient, importance.where(~nothing, 1.0))
