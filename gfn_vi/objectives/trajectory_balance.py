"""Trajectory balance (Malkin et al. 2022): the squared residual u = log Z + log P_F(tau) - log P_B(tau | x) - log R(x).

On-policy its expected gradient for P_F is twice that of KL(P_F, P_B), whatever log Z is (arXiv 2210.00580, Proposition 1, eq. 8).
Off-policy it needs no importance weights.
"""

from __future__ import annotations

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.penalties import Penalty, Square


class TrajectoryBalance(BaseObjective):
    """The trajectory balance loss: batch mean of penalty(u)."""

    def __init__(self, penalty: Penalty) -> None:
        """penalty: how u is punished; arXiv 2210.00580 has the square."""
        self.penalty = penalty

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of penalty(u): [R]."""
        return self.penalty(evaluation.residual()).mean(-1)

    def descends(self, exact: Expectations) -> dict[Role, Tensor] | None:
        """Return E[u^2] for every role: each [R]; None for other penalties, which are no sum over the graph."""
        return dict.fromkeys(Role, exact.residual_square()) if isinstance(self.penalty, Square) else None
