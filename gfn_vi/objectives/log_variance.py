"""Log-variance loss (Richter et al. 2020; VarGrad): the batch variance of l, so that log Z is eliminated.

On-policy its expected gradient for P_F is 2 d KL(P_F, P_B), as that of trajectory balance.
"""

from __future__ import annotations

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.variational import log_Z_regression


class LogVariance(BaseObjective):
    """The log-variance loss: the unbiased batch variance (1 / (B - 1)) of l(tau).

    log Z follows the batch mean of -l, only so that it can be recorded.
    """

    smallest_batch = 2

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch variance of l, whose gradient for log Z is that of its regression to -l: [R]."""
        log_ratio = evaluation.log_ratio()
        weights = log_ratio.new_full(log_ratio.shape, 1 / log_ratio.shape[1])
        return log_ratio.var(-1) + log_Z_regression(evaluation, weights)

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """Return Var[l] for every role but log Z, which follows the mean of -l of what is drawn: each [R]."""
        record = (exact.log_Z + exact.log_ratio().detach()).square()
        return dict.fromkeys(Role, exact.log_ratio_variance()) | {Role.LOG_Z: record}
