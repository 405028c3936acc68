"""Control variates of score-function terms: the term sum_i W_i (c_i - b_i) d log P(tau_i), where d log P has mean zero.

Unbiased: none, leave_one_out, optimal (without the sample itself), global_log_z and running_mean (made of earlier batches).
leave_one_out and optimal suppose independent trajectories: where a mixture divides the batch in fixed shares they are biased by
O(1 / B), because the others of a sample are not distributed alike in every share.
batch_mean, the local baseline of arXiv 2210.00580 (section 4.1), contains the sample itself; with equal weights it shrinks the
expected gradient by (B - 1) / B. global_log_z and running_mean are the global one: b <- (1 - eta) b + eta * batch mean (eq. 12).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.types import Need


def sum_of_others(x: Tensor) -> Tensor:
    """Return the sum over j != i for each i, from the sums before and after i, so that nothing cancels: [R, B] -> [R, B]."""
    pad = torch.nn.functional.pad
    return pad(x.cumsum(-1)[..., :-1], (1, 0)) + pad(x.flip(-1).cumsum(-1)[..., :-1], (1, 0)).flip(-1)


def leave_one_out_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the others for each sample: values, weights >= 0 [R, B] -> [R, B].

    Entry i does not depend on sample i. Where all other weights have underflowed to 0 it is the plain mean of the others.
    """
    total = sum_of_others(weights)
    plain = sum_of_others(values) / (values.shape[-1] - 1)
    return (sum_of_others(weights * values) / total.where(total > 0, 1.0)).where(total > 0, plain)


class Baseline(ABC):
    """A control variate for all terms of an objective that take one; `side` names the term, and memory is kept apart by it.

    needs: what sampler and exploration must give; removes_nothing: b is always 0; needs_log_ratio: only for coefficients l or -l;
    smallest_batch: trajectories that it needs.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    removes_nothing: ClassVar[bool] = False
    needs_log_ratio: ClassVar[bool] = False
    smallest_batch: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return b for the coefficient c [R, B] with weights W [R, B]: [R, B] or [R, 1].

        global_value [R]: mean of c where P_F = P_B and log Z is right; norm [R, B]: |d log P(tau)|^2.
        """

    def update(self, side: str, coefficient: Tensor, weights: Tensor) -> None:
        """Learn from a batch after it was used: coefficient, weights [R, B]."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the baseline remembers between batches."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


class NoBaseline(Baseline):
    """No control variate: b = 0."""

    removes_nothing = True

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return zeros for all trajectories: [R, B]."""
        return torch.zeros_like(coefficient)


class BatchMean(Baseline):
    """The local baseline: b = weighted batch mean of c, the sample itself included."""

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return the weighted batch mean of c: [R, 1]; 0 where all weights have underflowed."""
        total = weights.sum(-1, keepdim=True)
        return (weights * coefficient).sum(-1, keepdim=True) / total.where(total > 0, 1.0)


class LeaveOneOut(Baseline):
    """The leave-one-out baseline: b_i is the weighted mean of c over the other trajectories."""

    smallest_batch = 2

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return the weighted mean of c over the other trajectories: [R, B]."""
        return leave_one_out_mean(coefficient, weights)


class GlobalLogZ(Baseline):
    """The global baseline: b = -log Z for the coefficient l, and log Z for -l; the learned log Z regresses to -l (eq. 12)."""

    needs_log_ratio = True

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return -log Z or log Z, as the coefficient asks: [R, 1]."""
        return global_value[:, None]


class RunningMean(Baseline):
    """A running mean: b <- (1 - rate) b + rate * batch mean after each use; b starts at 0."""

    def __init__(self, rate: float) -> None:
        """rate: share of the newest batch in the mean, in (0, 1]."""
        require(0 < rate <= 1, "objective.baseline.rate", rate, "expected a number in (0, 1]")
        self.rate = rate
        self.mean: dict[str, Tensor] = {}

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return the running mean of c over earlier batches: [R, 1]."""
        return self._mean(side, coefficient)[:, None]

    def _mean(self, side: str, like: Tensor) -> Tensor:
        # on the device of the coefficients: a checkpoint is loaded on the CPU
        return self.mean[side].to(like.device) if side in self.mean else like.new_zeros(like.shape[0])

    def update(self, side: str, coefficient: Tensor, weights: Tensor) -> None:
        """Move b towards the weighted mean of c [R, B], weights [R, B]; a replica whose batch is not finite keeps its b."""
        new = (weights * coefficient).sum(-1) / weights.sum(-1)
        old = self._mean(side, new)
        self.mean[side] = torch.where(new.isfinite(), (1 - self.rate) * old + self.rate * new, old)

    def state_dict(self) -> dict[str, Any]:
        """Return the means under their term's name: {"mean": {side: [R]}}."""
        return {"mean": dict(self.mean)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.mean = dict(state["mean"])


class Optimal(Baseline):
    """The control variate of least total variance: b* = E[W^2 c |d log P|^2] / E[W^2 |d log P|^2], without the sample itself.

    The exact norms of all scores cost one backward pass per trajectory.
    """

    needs = frozenset({Need.SCORE_NORMS})
    smallest_batch = 2

    def __call__(self, side: str, coefficient: Tensor, weights: Tensor, global_value: Tensor, norm: Tensor | None) -> Tensor:
        """Return b*, estimated from the other trajectories: [R, B]."""
        assert norm is not None
        scale = weights.amax(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        importance = (weights / scale).square() * norm
        nothing = importance.sum(-1, keepdim=True) <= 0
        return leave_one_out_mean(coefficient, importance.where(~nothing, 1.0))
