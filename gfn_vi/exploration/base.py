"""What every exploration is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from gfn_vi.core.protocols import Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories


class BaseExploration(ABC):
    """has_density: whether `collect` records log_behavior; is_on_policy: whether it draws from P_F itself.

    tilts: the kinds of tilt that it asks a sampler for ("discrete", "gaussian"), all of which must be the sampler's; none of an
    exploration that leaves P_F as it is. Without memory and statistics unless a subclass says otherwise.
    """

    has_density: bool = True
    is_on_policy: bool = False
    tilts: frozenset[str] = frozenset()

    @abstractmethod
    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """`batch` trajectories per replica, after `seen` of them."""

    @abstractmethod
    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """log-density [R, B] with which `collect` would now draw them; None if unknown."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values that are worth recording, each [R]."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that `collect` depends on besides its arguments."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
