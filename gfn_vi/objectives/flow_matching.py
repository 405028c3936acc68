"""Flow matching (Bengio et al. 2021): the flow into a state is the flow that it holds, and the flow that stops there is R.

With edge flows F(s) P_F(. | s): at every visited state but s_0, log sum_p F(p) P_F(s | p) - log F(s); where a trajectory
stops, log F(x) + log P_F(stop | x) - log R(x). F(s_0) = Z. P_B takes no part. All parents of every visited state are needed.
"""

from __future__ import annotations

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.penalties import Penalty


class FlowMatching(BaseObjective):
    """The flow matching loss: batch mean of the sum over visited states of penalty(inflow residual) + penalty(stop residual)."""

    needs = frozenset({Need.FLOW, Need.INFLOW})

    def __init__(self, penalty: Penalty) -> None:
        """penalty: how a residual is punished."""
        self.penalty = penalty

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of the sum over visited states of the penalties of inflow and stop residuals: [R]."""
        log_flow, inflow, mask = evaluation.log_flow, evaluation.log_inflow, evaluation.mask
        assert log_flow is not None and inflow is not None
        held = log_flow[..., :-1]
        matching = (inflow - held).where(mask, 0.0)[..., 1:]
        last = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
        stop = (held + evaluation.log_pf).gather(2, last)[..., 0] - evaluation.log_reward
        return (self.penalty(matching).sum(-1) + self.penalty(stop)).mean(-1)

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """Return E[sum over visited states of the penalties] for every role: each [R]."""
        return dict.fromkeys(Role, exact.inflows(self.penalty))
