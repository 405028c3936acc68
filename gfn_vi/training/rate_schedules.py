"""Factors on the learning rates, one per replica; clocks count trajectories per replica.

A schedule is asked for its factor [R] before every update and told what was measured. All of it is tensor arithmetic on
the device, so an accelerator is never asked for a number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require


class RateSchedule(ABC):
    """A factor on every learning rate, per replica.

    watches: the metric that it has to be told of ("loss" after every update, a metric's name after every evaluation), or None.
    """

    watches: str | None = None

    @abstractmethod
    def factor(self, seen: int) -> float | Tensor:
        """Return the multiplier of every base rate after `seen` trajectories: a number or [R]."""

    def observe(self, values: Tensor, seen: int) -> None:
        """Take in the watched metric [R] after `seen` trajectories."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedule remembers."""
        return {}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue where `state` was taken."""


class Constant(RateSchedule):
    """A factor that is always 1."""

    def factor(self, seen: int) -> float:
        """Return 1, whatever was seen."""
        return 1.0


class Cosine(RateSchedule):
    """A factor that falls from 1 to `end_factor` in half a cosine wave over `duration` trajectories."""

    def __init__(self, duration: float, end_factor: float) -> None:
        require(duration > 0, "optimizer.schedule.duration", duration, "expected a positive number of trajectories")
        require(0 <= end_factor < math.inf, "optimizer.schedule.end_factor", end_factor, "expected a finite number >= 0")
        self.duration, self.end_factor = duration, end_factor

    def factor(self, seen: int) -> float:
        """Return end + (1 - end) (1 + cos(pi progress)) / 2."""
        progress = min(seen / self.duration, 1.0)
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * progress)) / 2


class MultiStep(RateSchedule):
    """A factor that is multiplied by `gamma` at each of the `milestones` (in trajectories)."""

    def __init__(self, milestones: Sequence[float], gamma: float) -> None:
        require(
            list(milestones) == sorted(milestones),
            "optimizer.schedule.milestones",
            list(milestones),
            "expected rising numbers",
        )
        require(0 < gamma < math.inf, "optimizer.schedule.gamma", gamma, "expected a finite number > 0")
        self.milestones, self.gamma = list(milestones), gamma

    def factor(self, seen: int) -> float:
        """Return gamma to the power of the number of milestones passed."""
        return self.gamma ** sum(seen >= m for m in self.milestones)


class _Plateau(RateSchedule):
    """A factor that is multiplied by `gamma` when the watched metric has not improved for `patience` trajectories.

    threshold: the smallest relative improvement that counts.
    """

    def __init__(self, gamma: float, patience: float, threshold: float) -> None:
        require(0 < gamma <= 1, "optimizer.schedule.gamma", gamma, "expected a number > 0 and <= 1 (1: the rates stay)")
        require(patience > 0, "optimizer.schedule.patience", patience, "expected a positive number of trajectories")
        self.gamma, self.patience, self.threshold = gamma, patience, threshold
        self.memory: dict[str, Tensor] = {}

    def factor(self, seen: int) -> float | Tensor:
        """Return the factor of each replica: [R]; 1 before anything was observed."""
        return self.memory.get("factor", 1.0)

    def observe(self, values: Tensor, seen: int) -> None:
        """Take in the watched metric [R]; a value that is not finite is no improvement."""
        values = values.double()
        if not self.memory:
            self.memory = {
                "best": torch.full_like(values, math.inf),
                "since": torch.full_like(values, float(seen)),
                "factor": torch.ones_like(values),
            }
        best, since, factor = self.memory["best"], self.memory["since"], self.memory["factor"]
        better = values < best - self.threshold * best.abs().where(best.isfinite(), 0.0)
        best = torch.where(better, values, best)
        since = torch.where(better, float(seen), since)
        stuck = seen - since >= self.patience
        self.memory = {
            "best": best,
            "since": torch.where(stuck, float(seen), since),
            "factor": torch.where(stuck, factor * self.gamma, factor),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return best, since and factor, each [R], and for the plateau on the loss its mean."""
        return dict(self.memory)

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue where `state` was taken."""
        self.memory = {k: v.to(device) for k, v in state.items()}


class PlateauOnLoss(_Plateau):
    """A plateau schedule that watches an exponential mean of the training loss over about `smoothing` updates."""

    watches = "loss"

    def __init__(self, gamma: float, patience: float, threshold: float, smoothing: float) -> None:
        super().__init__(gamma, patience, threshold)
        require(smoothing >= 1, "optimizer.schedule.smoothing", smoothing, "expected a number of updates >= 1")
        self.smoothing = smoothing

    def observe(self, values: Tensor, seen: int) -> None:
        """Take in the loss [R], and watch its smoothed value."""
        values = values.double()
        mean = self.memory.get("mean", values)
        mean = torch.where(values.isfinite(), mean + (values - mean) / self.smoothing, mean)
        memory = {k: v for k, v in self.memory.items() if k != "mean"}
        self.memory = memory
        super().observe(mean, seen)
        self.memory["mean"] = mean


class PlateauOnExactJsd(_Plateau):
    """The schedule of arXiv 2210.00580: it watches the exact JSD. An oracle, since the target leaks into training.

    With gamma = 1 the rates stay whatever the JSD is, so nothing is watched: targets that have no exact JSD can be trained.
    """

    def __init__(self, gamma: float, patience: float, threshold: float) -> None:
        super().__init__(gamma, patience, threshold)
        self.watches = None if gamma == 1 else "jsd"
