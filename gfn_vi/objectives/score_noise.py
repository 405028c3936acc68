"""An estimator that estimates nothing: its score in a measurement is what the measurement makes of pure noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role


class ScoreNoise:
    """The batch mean of log P_F(tau): on-policy its gradient is the mean of scores, which have mean zero. P_B has no gradient."""

    needs = frozenset({Need.ON_POLICY})

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the batch mean of log P_F(tau): [R]."""
        return evaluation.trajectory_log_pf.mean(-1)

    def statistics(self, evaluation: Evaluation) -> dict[str, Tensor]:
        """Return no statistics of the batch."""
        return {}

    def descends(self, exact: Expectations) -> dict[Role, Tensor]:
        """Return a function of the parameters that is 0 everywhere, for P_F: [R]."""
        return {Role.FORWARD: 0 * exact.log_ratio()}

    def state_dict(self) -> dict[str, Any]:
        """Return no state, since nothing is remembered."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, since nothing is remembered."""
