"""P_F with wider steps, for samplers of densities. The density of what was drawn is that of the wider steps."""

from __future__ import annotations

import math

from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import GaussianTilt
from gfn_vi.core.schedules import Schedule, as_schedule
from gfn_vi.exploration.tilted import OnPolicy


class WidenedSteps(OnPolicy):
    """Every Gaussian step has its standard deviation s widened to sqrt(s^2 + extra^2), as if noise were added to it."""

    is_on_policy, tilts = False, frozenset({"gaussian"})

    def __init__(self, extra_std: float | Schedule) -> None:
        """extra_std: standard deviation of the noise added in each dimension of each step, in the units of the objects."""
        self.extra_std = as_schedule(extra_std)
        for end in (self.extra_std.start, self.extra_std.end):
            require(0 <= end < math.inf, "exploration.extra_std", end, "expected a finite number >= 0")

    def tilt(self, n_trajectories: int) -> GaussianTilt | None:
        """Means stay; variances grow by extra_std^2."""
        variance = self.extra_std.value(n_trajectories) ** 2
        if variance == 0:
            return None

        def widen(steps: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
            return mean, (std.square() + variance).sqrt()

        return widen
