"""A ring buffer of trajectories per replica, shared by replay and backward rollouts.

Everything is a tensor with the replica axis first, so storing, drawing and checkpointing need no loop.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories, pad_steps

PRIORITIES = ("uniform", "reward")


class Memory:
    """The newest `capacity` trajectories of each replica; the density they were drawn with is not kept."""

    def __init__(self, capacity: int, priority: str, exponent: float) -> None:
        """priority: "reward" draws with probability proportional to R^exponent, "uniform" with equal probabilities."""
        require(capacity >= 1, "exploration.capacity", capacity, "expected a whole number >= 1")
        require(priority in PRIORITIES, "exploration.priority", priority, f"expected one of {', '.join(PRIORITIES)}")
        self.capacity, self.priority, self.exponent = capacity, priority, exponent
        self.stored: Trajectories | None = None
        self.age: Tensor | None = None  # [capacity]: trajectories seen when each place was filled
        self.n_added = 0

    @property
    def size(self) -> int:
        """Return the number of trajectories held per replica."""
        return min(self.n_added, self.capacity)

    def add(self, new: Trajectories, seen: int) -> None:
        """Store trajectories [R, B] that were drawn after `seen` per replica; they overwrite the oldest."""
        if new.batch > self.capacity:
            newest = torch.arange(new.batch - self.capacity, new.batch, device=new.mask.device)
            new = new.select(newest.expand(new.mask.shape[0], -1))
        if self.stored is None:
            self.stored, self.age = self._empty_like(new), torch.zeros(self.capacity, dtype=torch.long, device=new.mask.device)
        steps = max(new.mask.shape[2], self.stored.mask.shape[2])
        self.stored, new = pad_steps(self.stored, steps), pad_steps(new, steps)
        place = (self.n_added + torch.arange(new.batch, device=new.mask.device)) % self.capacity
        for name in ("states", "actions", "mask", "log_reward"):
            getattr(self.stored, name)[:, place] = getattr(new, name)
        assert self.age is not None
        self.age[place] = seen
        self.n_added += new.batch

    def _empty_like(self, new: Trajectories) -> Trajectories:
        empty = new.map(lambda x: x.new_zeros(x.shape[0], self.capacity, *x.shape[2:]))
        return replace(empty, log_behavior=None)

    def draw(self, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return `batch` trajectories per replica, drawn with replacement: [R, batch], without a density."""
        assert self.stored is not None and self.size > 0
        if self.priority == "uniform":
            index = rng.integers(self.size, batch)
        else:
            weights = (self.exponent * self.stored.log_reward[:, : self.size]).softmax(-1)
            cdf = weights.double().cumsum(-1)
            noise = rng.uniform(batch).double() * cdf[:, -1:]
            index = torch.searchsorted(cdf, noise, right=True).clamp(max=self.size - 1)
        drawn = self.stored.select(index)
        if drawn.mask.device.type != "cpu":
            return drawn
        steps = int(drawn.mask.any(0).any(0).sum())
        return Trajectories(
            drawn.states[:, :, : steps + 1], drawn.actions[:, :, :steps], drawn.mask[..., :steps], drawn.log_reward, None
        )

    def mean_age(self, seen: int) -> float:
        """Return the mean number of trajectories (per replica) that were seen since the held ones were drawn."""
        return 0.0 if self.age is None else float(seen - self.age[: self.size].double().mean())

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return the whole content of the buffer, with unused places."""
        if self.stored is None or self.age is None:
            return {"n_added": 0}
        s = self.stored
        return {
            "n_added": self.n_added,
            "age": self.age,
            "states": s.states,
            "actions": s.actions,
            "mask": s.mask,
            "log_reward": s.log_reward,
        }

    def load_state_dict(self, state: dict[str, Tensor | int], device: torch.device) -> None:
        """Continue where `state` was taken, with tensors on `device`."""
        self.n_added = int(state["n_added"])
        if self.n_added == 0:
            self.stored = self.age = None
            return
        tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)}
        self.age = tensors.pop("age").to(device)
        self.stored = Trajectories(**{k: v.to(device) for k, v in tensors.items()}, log_behavior=None)
