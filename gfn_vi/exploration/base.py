"""The base class of explorations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from gfn_vi.core.protocols import Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories


class BaseExploration(ABC):
    """An exploration draws training trajectories; it has no memory and no statistics unless a subclass says otherwise.

    has_density: whether `collect` records log_behavior; is_on_policy: whether it draws from P_F itself. tilts: the kinds of tilt
    that it asks a sampler for ("discrete", "gaussian"), all of which must be the sampler's; none where P_F stays as it is.
    replays_trajectories: whether it may return trajectories that were drawn for an earlier batch, step by step as they were.
    needs_score: whether it asks for the gradient of log R, which samplers of densities have (DensitySampler). needs_moves: how
    many moves a trajectory of the target must be able to have.
    """

    has_density: bool = True
    is_on_policy: bool = False
    tilts: frozenset[str] = frozenset()
    replays_trajectories: bool = False
    needs_score: bool = False
    needs_moves: int = 0

    @property
    def only_rolls_out(self) -> bool:
        """Return whether `collect` is one rollout of the sampler and nothing else: the loss may share what it computes."""
        return False

    @abstractmethod
    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return `batch` trajectories per replica, drawn after `seen` of them: [R, batch]."""

    @abstractmethod
    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return the log-density with which `collect` would now draw these trajectories: [R, B]; None if unknown."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values that are worth recording, each [R]."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `collect` depends on besides its arguments."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
