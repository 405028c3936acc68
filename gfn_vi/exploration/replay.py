"""Batches that are partly fresh and partly from memory: replayed trajectories, or new paths to remembered objects.

What fills the memory has no known density under the current policy, so these explorations declare that they have none:
importance-weighted objectives refuse them unless they say weighting=unweighted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Exploration, Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories, concatenate
from gfn_vi.exploration.base import BaseExploration
from gfn_vi.exploration.memory import Memory


class Replay(BaseExploration):
    """An exploration that takes a share `fraction` of each batch from the last `capacity` trajectories of `source`."""

    has_density = False

    def __init__(self, source: Exploration, fraction: float, capacity: int, priority: str, exponent: float) -> None:
        """source: where fresh trajectories come from; priority, exponent: see Memory. The first batch is all fresh."""
        require(0 < fraction < 1, "exploration.fraction", fraction, "expected a number strictly between 0 and 1")
        self.source, self.fraction = source, fraction
        self.memory = Memory(capacity, priority, exponent)
        self._seen, self._n_replicas = 0, 1
        self._pending: dict[str, Any] | None = None

    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return fresh trajectories, then remembered ones: [R, batch]; the fresh ones are stored afterwards."""
        if self._pending is not None:
            self.memory.load_state_dict(self._pending, rng.device)
            self._pending = None
        self._seen, self._n_replicas = seen, len(rng)
        n_old = round(batch * self.fraction)
        require(n_old < batch, "exploration.fraction", self.fraction, f"leaves no fresh trajectory in a batch of {batch}")
        n_old = n_old if self.memory.size > 0 else 0
        fresh = self.source.collect(sampler, batch - n_old, rng, seen)
        parts = [fresh] + ([self.recall(sampler, n_old, rng)] if n_old > 0 else [])
        self.memory.add(fresh, seen)
        together = concatenate(parts)
        return Trajectories(together.states, together.actions, together.mask, together.log_reward, None)

    def recall(self, sampler: Sampler, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return remembered trajectories as they were: [R, batch]."""
        return self.memory.draw(batch, rng)

    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return None: the density of remembered trajectories is unknown."""
        return None

    def statistics(self) -> dict[str, Tensor]:
        """Return replay_age, the mean number of trajectories since those in memory were drawn, and replay_size: each [R]."""
        age, size = self.memory.mean_age(self._seen), float(self.memory.size)
        return {
            "replay_age": torch.full((self._n_replicas,), age),
            "replay_size": torch.full((self._n_replicas,), size),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the memory and of the source."""
        memory = self.memory.state_dict() if self._pending is None else self._pending
        return {"memory": memory, "source": self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; the tensors move to the device at the next collect."""
        self._pending = state["memory"]
        self.source.load_state_dict(state["source"])


class BackwardRollout(Replay):
    """Replay in which remembered objects are reached by new paths, drawn by P_B(. | x)."""

    def recall(self, sampler: Sampler, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return trajectories drawn from P_B(. | x), with objects x from the memory: [R, batch]."""
        return sampler.backward_rollout(self.memory.draw(batch, rng).terminal_states(), rng)
