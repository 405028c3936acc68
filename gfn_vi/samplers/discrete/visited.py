"""The states that a batch visits, each once: what a network has to be evaluated on.

On the CPU repeated states of a replica are merged (in small spaces most repeat) and padding is dropped; replicas are
padded to the one with the most states. On an accelerator finding out how many there are would stall the queue, so the
whole table of states is used where it is smaller than the padded batch, and the padded batch as it is where not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget, EnumerableTarget
from gfn_vi.core.types import Trajectories

# Merging marks a table of R x S booleans; beyond this many states sorting out repeats costs more than it saves.
LARGEST_MERGED_SPACE = 2_000_000


@dataclass(frozen=True)
class Visited:
    """The states that a batch visits, states [R, N, *state], and where the steps find theirs.

    slot [R, B, T] long: row of the state that step t starts from (any row at padding).
    counts: how many of the N states each replica visits; None: all may be.
    listed [R, N] long: their places in the list of all states; None where they were not looked up there.
    """

    states: Tensor
    slot: Tensor
    counts: list[int] | None = None
    listed: Tensor | None = None


def as_enumerable(target: DiscreteTarget) -> EnumerableTarget | None:
    """Return the target if its states can be listed, None otherwise.

    Asking is slow: it is done once per sampler, not once per batch.
    """
    return target if isinstance(target, EnumerableTarget) and target.enumerable else None


def visited_states(trajectories: Trajectories, enumerable: EnumerableTarget | None) -> Visited:
    """Return the states that the steps of the batch start from (the stop step starts from x)."""
    mask = trajectories.mask
    n_replicas, batch, steps = mask.shape
    starts = trajectories.states[:, :, :-1]
    if mask.device.type != "cpu":
        if enumerable is not None and enumerable.state_graph().n_states <= batch * steps:
            states = enumerable.state_graph().states
            listed = torch.arange(len(states), device=states.device).expand(n_replicas, -1)
            return Visited(states.expand(n_replicas, *states.shape), enumerable.state_index(starts), listed=listed)
        slot = torch.arange(batch * steps, device=mask.device).view(1, batch, steps).expand(n_replicas, -1, -1)
        return Visited(starts.reshape(n_replicas, batch * steps, *starts.shape[3:]), slot)
    merged = enumerable if enumerable and enumerable.state_graph().n_states <= LARGEST_MERGED_SPACE else None
    if merged:
        universe = merged.state_graph().n_states
        key = merged.state_index(starts)
        present = torch.zeros(n_replicas, universe + 1, dtype=torch.bool)
        present.scatter_(1, key.where(mask, universe).view(n_replicas, -1), True)
        present = present[:, :universe]
    else:
        universe = batch * steps
        key = torch.arange(universe).view(1, batch, steps).expand(n_replicas, -1, -1)
        present = mask.reshape(n_replicas, universe)
    rank = present.cumsum(1) - 1
    counts = (rank[:, -1] + 1).tolist()
    n_slots = max(counts)
    replica, element = present.nonzero(as_tuple=True)
    chosen = torch.zeros(n_replicas, n_slots, dtype=torch.long)
    chosen[replica, rank[replica, element]] = element
    slot = rank.gather(1, key.reshape(n_replicas, -1)).clamp_(min=0).view(n_replicas, batch, steps)
    if merged:
        return Visited(merged.state_graph().states[chosen], slot, counts, chosen)
    flat = starts.reshape(n_replicas, universe, *starts.shape[3:])
    return Visited(flat[torch.arange(n_replicas)[:, None], chosen], slot, counts)


def take_rows(values: Tensor, slot: Tensor) -> Tensor:
    """Return values [R, N, ...] at the rows slot [R, ...k] of each replica: [R, ...k, ...]."""
    n_replicas, n_rows = values.shape[:2]
    offset = (torch.arange(n_replicas, device=slot.device) * n_rows).view(-1, *[1] * (slot.dim() - 1))
    flat = values.reshape(n_replicas * n_rows, *values.shape[2:])
    return flat.index_select(0, (slot + offset).reshape(-1)).view(*slot.shape, *values.shape[2:])


def take_entries(values: Tensor, slot: Tensor, column: Tensor) -> Tensor:
    """Return values [R, N, A] at the rows slot [R, B, T] and columns column [R, B, T] of each replica: [R, B, T]."""
    n_replicas, n_rows, width = values.shape
    offset = (torch.arange(n_replicas, device=slot.device) * n_rows).view(-1, 1, 1)
    index = (slot + offset) * width + column
    return values.reshape(-1).index_select(0, index.reshape(-1)).view(slot.shape)
