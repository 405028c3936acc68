"""Modified detailed balance (Deleu et al. 2022): every state can stop, so F(s) = R(s) / P_F(stop | s) and no flow is learned.

The residual of the edge s -> s' is
log R(s) + log P_F(s' | s) + log P_F(stop | s') - log R(s') - log P_B(s | s') - log P_F(stop | s); the stop step has none.
"""

from __future__ import annotations

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.detailed_balance import edge_residuals
from gfn_vi.objectives.penalties import Penalty


class ModifiedDetailedBalance(BaseObjective):
    """The modified detailed balance loss: batch mean of the sum over steps of penalty(residual).

    log Z follows log F(s_0), only so that it can be recorded.
    """

    needs = frozenset({Need.STOP_FLOW})

    def __init__(self, penalty: Penalty) -> None:
        """penalty: how a residual is punished."""
        self.penalty = penalty

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of the sum over steps of penalty(residual): [R]."""
        assert evaluation.log_flow is not None
        record = (evaluation.log_Z - evaluation.log_flow[:, 0, 0].detach()).square()
        return self.penalty(edge_residuals(evaluation)).sum(-1).mean(-1) + record - record.detach()

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """Return E[sum over steps of penalty(residual)], and for log Z its squared distance to log F(s_0): each [R]."""
        record = (exact.log_Z - exact.log_source_flow().detach()).square()
        return dict.fromkeys(Role, exact.steps_between_stops(self.penalty)) | {Role.LOG_Z: record}
