"""Sub-trajectory balance (Madan et al. 2022): every pair i < j of a trajectory balances, weighted by lambda^(j - i).

residual(i, j) = log F(s_i) + sum of (log P_F - log P_B) between them - log F(s_j), with F(s_0) = Z and F = R at the end.
lambda -> 0 leaves the edges (detailed balance), lambda -> infinity the whole trajectory (trajectory balance).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.penalties import Penalty, Square


class SubtrajectoryBalance(BaseObjective):
    """The sub-trajectory balance loss: batch mean of the weighted mean over pairs of penalty(residual). Memory grows with T^2."""

    needs = frozenset({Need.FLOW})

    def __init__(self, lamda: float, penalty: Penalty) -> None:
        """lamda: factor on the weight for every step of length; penalty: how a residual is punished."""
        require(lamda > 0, "objective.lamda", lamda, "expected a positive number; 0.9 is common")
        self.lamda, self.penalty = lamda, penalty

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of the weighted mean over pairs of penalty(residual): [R]."""
        log_flow, mask = evaluation.log_flow, evaluation.mask
        assert log_flow is not None
        steps = mask.shape[2]
        gain = torch.nn.functional.pad((evaluation.log_pf - evaluation.log_pb).cumsum(-1), (1, 0))
        level = log_flow - gain  # residual(i, j) = level_i - level_j
        position = torch.arange(steps + 1, device=mask.device)
        lag = position[None, :] - position[:, None]
        length = mask.sum(-1, keepdim=True)  # [R, B, 1]: the position of the end
        inside = (position <= length).unsqueeze(2) & (lag > 0)
        # for lamda > 1 relative to the longest pair, so that no weight overflows
        reach = lag.clamp(min=0) if self.lamda <= 1 else lag - length.unsqueeze(-1)
        weight = (self.lamda ** reach.to(level.dtype)).where(inside, 0.0)
        residual = (level.unsqueeze(3) - level.unsqueeze(2)).where(inside, 0.0)
        return ((weight * self.penalty(residual)).sum((2, 3)) / weight.sum((2, 3))).mean(-1)

    def descends(self, exact: Expectations) -> dict[Role, Tensor] | None:
        """Return E[weighted mean over pairs of the squared residual] for every role: each [R].

        None for other penalties, which are no sum over the graph.
        """
        return dict.fromkeys(Role, exact.subtrajectories(self.lamda)) if isinstance(self.penalty, Square) else None
