"""A number that changes with the trajectories seen so far: constant, linear or cosine from `start` to `end`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gfn_vi.core.errors import require

SHAPES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A number that starts at `start` and ends at `end` after `duration` trajectories; "constant" keeps `start`.

    shape "cosine" is half a cosine wave: end + (start - end) (1 + cos(pi n / duration)) / 2.
    """

    start: float
    end: float = 0.0
    duration: float = 1.0
    shape: str = "constant"

    def __post_init__(self) -> None:
        require(self.shape in SHAPES, "schedule.shape", self.shape, f"expected one of {', '.join(SHAPES)}")
        require(self.duration > 0, "schedule.duration", self.duration, "expected a positive number of trajectories")

    def value(self, n_trajectories: float) -> float:
        """Return the number after `n_trajectories` trajectories of one replica."""
        if self.shape == "constant":
            return self.start
        progress = min(n_trajectories / self.duration, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * progress


def as_schedule(value: float | Schedule) -> Schedule:
    """Return a schedule as it is, and a plain number as a constant schedule."""
    return value if isinstance(value, Schedule) else Schedule(start=float(value))
