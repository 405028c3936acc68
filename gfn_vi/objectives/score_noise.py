"""Estimators that estimate nothing: what they score is what a measurement makes of pure noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role


class ScoreNoise:
    """The batch mean of log P_F(tau): on-policy its gradient is the mean of scores, which have mean zero. P_B has none."""

    needs = frozenset({Need.ON_POLICY})

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """[R]."""
        return evaluation.trajectory_log_pf.mean(-1)

    def statistics(self, evaluation: Evaluation) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """A function of the parameters that is 0 everywhere."""
        return {Role.FORWARD: 0 * exact.log_ratio()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
