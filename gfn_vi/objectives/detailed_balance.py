"""Detailed balance (Bengio et al. 2021b): F(s) P_F(s' | s) = F(s') P_B(s | s') on every edge, with learned F.

F(s_0) = Z and F after the stop step is R(x), so the last residual is log F(x) + log P_F(stop | x) - log R(x).
"""

from __future__ import annotations

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.penalties import Penalty


def edge_residuals(evaluation: Evaluation) -> Tensor:
    """Return log F(s_t) + log P_F - log F(s_{t+1}) - log P_B for every step: [R, B, T], 0 at padding."""
    log_flow = evaluation.log_flow
    assert log_flow is not None
    return (log_flow[..., :-1] + evaluation.log_pf - log_flow[..., 1:] - evaluation.log_pb).where(evaluation.mask, 0.0)


class DetailedBalance(BaseObjective):
    """The detailed balance loss: batch mean of the sum over steps of penalty(residual)."""

    needs = frozenset({Need.FLOW})

    def __init__(self, penalty: Penalty) -> None:
        """penalty: how a residual is punished."""
        self.penalty = penalty

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of the sum over steps of penalty(residual): [R]."""
        return self.penalty(edge_residuals(evaluation)).sum(-1).mean(-1)

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """Return E[sum over steps of penalty(residual)] for every role: each [R]."""
        return dict.fromkeys(Role, exact.steps(self.penalty))
