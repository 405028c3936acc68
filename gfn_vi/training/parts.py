"""The parts that training is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from gfn_vi.core.headline import Headline
from gfn_vi.core.protocols import Exploration, Metric, Moment, Objective, References, Sampler, Target
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories
from gfn_vi.training.optimizers import ReplicaOptimizer


class Observer(Protocol):
    """An object that watches the training trajectories and has numbers to record."""

    def observe(self, trajectories: Trajectories) -> None:
        """Take in the trajectories of an update; every batch is shown."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values to record by name, each [R]."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the observer remembers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


@dataclass(frozen=True)
class Parts:
    """The parts that training is made of.

    moment: from a metric's generators to a measurement of the sampler as it is then; headline: what the run is judged by;
    references: what stands for exact samples of the target in measurements, None where nothing does.
    """

    target: Target
    sampler: Sampler
    exploration: Exploration
    objective: Objective
    optimizer: ReplicaOptimizer
    metrics: Sequence[Metric]
    observers: Sequence[Observer]
    moment: Callable[[ReplicaGenerators], Moment]
    headline: Headline | None
    references: References | None = None
