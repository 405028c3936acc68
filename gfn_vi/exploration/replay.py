"""Batches that are partly fresh and partly from memory: replayed trajectories, or new paths to remembered objects.

What fills the memory has no known density under the current policy, so these explorations declare that they have none:
importance-weighted objectives refuse them unless they say weighting=unweighted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Exploration, Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories, concatenate
from gfn_vi.exploration.base import BaseExploration
from gfn_vi.exploration.memory import ObjectMemory, Ring, TrajectoryMemory


class Remembering(BaseExploration):
    """An exploration that takes a share `fraction` of each batch from a memory of the last `capacity` items of `source`."""

    has_density = False
    memory: Ring

    def __init__(self, source: Exploration, fraction: float) -> None:
        """source: where fresh trajectories come from; a subclass sets `memory`. The first batch is all fresh."""
        require(0 < fraction < 1, "exploration.fraction", fraction, "expected a number strictly between 0 and 1")
        self.source, self.fraction = source, fraction
        # a source of a user's own may say nothing of these
        self.tilts = getattr(source, "tilts", frozenset())
        self.needs_moves = getattr(source, "needs_moves", 0)
        self.replays_trajectories = self.replays_trajectories or getattr(source, "replays_trajectories", False)
        self.needs_score = self.needs_score or getattr(source, "needs_score", False)
        self._seen, self._n_replicas = 0, 1
        self._pending: Mapping[str, Tensor] | None = None

    @abstractmethod
    def remember(self, sampler: Sampler, fresh: Trajectories, rng: ReplicaGenerators, seen: int) -> None:
        """Store fresh trajectories [R, B]."""

    @abstractmethod
    def recall(self, sampler: Sampler, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return trajectories made of what is in memory: [R, batch]."""

    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return fresh trajectories, then remembered ones: [R, batch]; the fresh ones are stored afterwards."""
        if self._pending is not None:
            self.memory.load_state_dict(self._pending, rng.device)
            self._pending = None
        self._seen, self._n_replicas = seen, len(rng)
        n_old = round(batch * self.fraction)
        require(n_old < batch, "exploration.fraction", self.fraction, f"leaves no fresh trajectory in a batch of {batch}")
        n_old = 0 if self.memory.stored is None else n_old
        fresh = self.source.collect(sampler, batch - n_old, rng, seen)
        parts = [fresh] + ([self.recall(sampler, n_old, rng)] if n_old > 0 else [])
        self.remember(sampler, fresh, rng, seen)
        together = concatenate(parts)
        return Trajectories(together.states, together.actions, together.mask, together.log_reward, None)

    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return None: the density of remembered trajectories is unknown."""
        return None

    def statistics(self) -> dict[str, Tensor]:
        """Return replay_age, the mean number of trajectories since the items in memory were drawn, and replay_size: each [R]."""
        if self.memory.stored is None:
            nothing = torch.zeros(self._n_replicas, dtype=torch.float64)
            return {"replay_age": nothing, "replay_size": nothing}
        return {"replay_age": self.memory.mean_age(self._seen).float(), "replay_size": self.memory.size.double()}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the memory and of the source."""
        memory = self.memory.state_dict() if self._pending is None else self._pending
        return {"memory": memory, "source": self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; the tensors move to the device at the next collect."""
        self._pending = state["memory"]
        self.source.load_state_dict(state["source"])


class Replay(Remembering):
    """An exploration that replays trajectories as they were."""

    replays_trajectories = True
    memory: TrajectoryMemory

    def __init__(
        self, source: Exploration, fraction: float, capacity: int, priority: str, exponent: float, rank_weight: float = 0.01
    ) -> None:
        """source: where fresh trajectories come from; capacity: in trajectories; the others: see Ring."""
        super().__init__(source, fraction)
        self.memory = TrajectoryMemory(capacity, priority, exponent, rank_weight)

    def remember(self, sampler: Sampler, fresh: Trajectories, rng: ReplicaGenerators, seen: int) -> None:
        """Store the trajectories as they are."""
        self.memory.add(fresh, seen)

    def recall(self, sampler: Sampler, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return remembered trajectories as they were: [R, batch]."""
        return self.memory.draw(batch, rng)


class BackwardRollout(Remembering):
    """An exploration that reaches remembered objects by new paths, drawn by P_B(. | x); their rewards are remembered too."""

    memory: ObjectMemory

    def __init__(
        self, source: Exploration, fraction: float, capacity: int, priority: str, exponent: float, rank_weight: float = 0.01
    ) -> None:
        """source: where fresh trajectories come from; capacity: in objects; the others: see Ring."""
        super().__init__(source, fraction)
        self.memory = ObjectMemory(capacity, priority, exponent, rank_weight)

    def remember(self, sampler: Sampler, fresh: Trajectories, rng: ReplicaGenerators, seen: int) -> None:
        """Store the objects that the trajectories end in, with their rewards."""
        self.memory.add(fresh.terminal_states(), fresh.log_reward, seen)

    def recall(self, sampler: Sampler, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return trajectories drawn from P_B(. | x), with objects x from the memory: [R, batch]."""
        objects, log_reward = self.memory.draw(batch, rng)
        return sampler.backward_rollout(objects, rng, log_reward)
