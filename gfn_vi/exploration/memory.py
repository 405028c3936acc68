"""Ring buffers per replica: of whole trajectories (replay), and of objects with their rewards (backward rollouts, local search).

Everything is a tensor with the replica axis first, so storing, drawing and checkpointing need no loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories, pad_steps

PRIORITIES = ("uniform", "reward", "rank")


class Ring:
    """The newest `capacity` items of each replica, among whose fields is log_reward [R, capacity]."""

    def __init__(self, capacity: int, priority: str, exponent: float, rank_weight: float) -> None:
        """priority: "uniform" draws with equal probabilities, "reward" with probabilities proportional to R^exponent.

        "rank" draws with probabilities proportional to 1 / (k n + rank), where k is rank_weight, n the number of items held, and
        the rank is 0 for the largest reward (Tripp et al., "Sample-efficient optimization in the latent space", 2020).
        """
        require(capacity >= 1, "exploration.capacity", capacity, "expected a whole number >= 1")
        require(priority in PRIORITIES, "exploration.priority", priority, f"expected one of {', '.join(PRIORITIES)}")
        require(rank_weight > 0, "exploration.rank_weight", rank_weight, "expected a positive number")
        self.capacity, self.priority, self.exponent, self.rank_weight = capacity, priority, exponent, rank_weight
        # Field -> [R, capacity + 1, ...]: what is not to be kept is written to the last place, which nothing reads.
        self.stored: dict[str, Tensor] | None = None
        self.age = self.n_added = torch.empty(0, dtype=torch.long)
        self.common_size: int | None = 0  # items held by every replica; None once replicas keep different items

    @property
    def size(self) -> Tensor:
        """Return the number of items held by each replica: [R] long."""
        return self.n_added.clamp(max=self.capacity)

    def put(self, new: Mapping[str, Tensor], seen: int, keep: Tensor | None) -> None:
        """Store items whose fields are [R, N, ...], drawn after `seen` trajectories per replica; they overwrite the oldest.

        keep [R, N] bool: which of them are stored; None for all.
        """
        log_reward = new["log_reward"]
        if self.stored is None:
            self.stored = {name: x.new_zeros(x.shape[0], self.capacity + 1, *x.shape[2:]) for name, x in new.items()}
            self.n_added = torch.zeros(len(log_reward), dtype=torch.long, device=log_reward.device)
            self.age = torch.zeros_like(self.stored["log_reward"], dtype=torch.long)
        if keep is not None:
            self.common_size = None
        elif self.common_size is not None:
            self.common_size = min(self.common_size + log_reward.shape[1], self.capacity)
        if keep is None:
            keep = torch.ones_like(log_reward, dtype=torch.bool)
        number = keep.cumsum(1)
        keep = keep & (number > number[:, -1:] - self.capacity)
        place = ((self.n_added[:, None] + number - 1) % self.capacity).where(keep, self.capacity)
        row = torch.arange(len(place), device=place.device)[:, None]
        for name, x in new.items():
            self.stored[name][row, place] = x
        self.age[row, place] = seen
        self.n_added = self.n_added + number[:, -1]

    def weights(self) -> Tensor:
        """Return what the probabilities of the places are proportional to: [R, capacity] float64, 0 where nothing is held."""
        assert self.stored is not None
        log_reward, size = self.stored["log_reward"][:, :-1].double(), self.size[:, None]
        held = torch.arange(self.capacity, device=size.device) < size
        if self.priority == "uniform":
            return held.double()
        if self.priority == "reward" and self.common_size is not None:
            weights = (self.exponent * self.stored["log_reward"][:, : self.common_size]).softmax(-1).double()
            return torch.nn.functional.pad(weights, (0, self.capacity - self.common_size))
        if self.priority == "reward":
            return (self.exponent * log_reward).masked_fill(~held, -torch.inf).softmax(-1)
        rank = log_reward.masked_fill(~held, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return held / (self.rank_weight * size + rank)

    def take(self, batch: int, rng: ReplicaGenerators) -> dict[str, Tensor]:
        """Return `batch` items per replica, drawn with replacement: field -> [R, batch, ...]."""
        assert self.stored is not None
        if self.common_size is not None and self.priority == "uniform":
            index = rng.integers(self.common_size, batch)
        else:
            cdf = self.weights().cumsum(-1)
            noise = rng.uniform(batch).double() * cdf[:, -1:]
            index = torch.searchsorted(cdf, noise, right=True).minimum(self.size[:, None] - 1)
        row = torch.arange(len(index), device=index.device)[:, None]
        return {name: x[row, index] for name, x in self.stored.items()}

    def mean_age(self, seen: int) -> Tensor:
        """Return the mean number of trajectories that were seen since the held items were drawn: [R] float64."""
        held = torch.arange(self.capacity, device=self.age.device) < self.size[:, None]
        return ((seen - self.age[:, :-1]) * held).sum(-1) / self.size.double()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the whole content of the buffer, with unused places; nothing where nothing was ever stored."""
        if self.stored is None:
            return {}
        common = torch.tensor(-1 if self.common_size is None else self.common_size)
        return {
            "common_size": common,
            "n_added": self.n_added,
            "age": self.age[:, :-1],
            **{name: x[:, :-1] for name, x in self.stored.items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Continue where `state` was taken, with tensors on `device`."""
        tensors = {name: x.to(device) for name, x in state.items()}
        if not tensors:
            self.stored, self.common_size = None, 0
            return
        common = int(tensors.pop("common_size"))
        self.common_size = None if common < 0 else common
        self.n_added = tensors.pop("n_added")
        with_spare = {name: torch.cat([x, torch.zeros_like(x[:, :1])], 1) for name, x in tensors.items()}
        self.age = with_spare.pop("age")
        self.stored = with_spare


class TrajectoryMemory(Ring):
    """The newest trajectories of each replica; the density they were drawn with is not kept."""

    def add(self, new: Trajectories, seen: int) -> None:
        """Store trajectories [R, B] that were drawn after `seen` per replica."""
        stored = self.stored
        if stored is not None:
            steps = max(new.mask.shape[2], stored["mask"].shape[2])
            self.stored = _fields(pad_steps(_trajectories(stored), steps))
            new = pad_steps(new, steps)
        self.put(_fields(new), seen, None)

    def draw(self, batch: int, rng: ReplicaGenerators) -> Trajectories:
        """Return `batch` trajectories per replica: [R, batch], without a density."""
        drawn = _trajectories(self.take(batch, rng))
        if drawn.mask.device.type != "cpu":
            return drawn
        steps = int(drawn.mask.any(0).any(0).sum())
        return Trajectories(
            drawn.states[:, :, : steps + 1], drawn.actions[:, :, :steps], drawn.mask[..., :steps], drawn.log_reward, None
        )


def _fields(trajectories: Trajectories) -> dict[str, Tensor]:
    return {name: getattr(trajectories, name) for name in ("states", "actions", "mask", "log_reward")}


def _trajectories(fields: Mapping[str, Tensor]) -> Trajectories:
    return Trajectories(**fields, log_behavior=None)


class ObjectMemory(Ring):
    """The newest objects of each replica with their rewards: nobody has to ask for a reward again."""

    def add(self, objects: Tensor, log_reward: Tensor, seen: int, keep: Tensor | None = None) -> None:
        """Store objects [R, B, *state] with log R [R, B], drawn after `seen` trajectories per replica, all or those of `keep`."""
        self.put({"objects": objects, "log_reward": log_reward}, seen, keep)

    def draw(self, batch: int, rng: ReplicaGenerators) -> tuple[Tensor, Tensor]:
        """Return objects [R, batch, *state] and their log R [R, batch]."""
        drawn = self.take(batch, rng)
        return drawn["objects"], drawn["log_reward"]
