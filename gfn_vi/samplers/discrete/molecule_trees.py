"""Trees of blocks as lists of blocks, slots, free slots and pairs of slots, for networks that are computed on what is there.

A state has N rows with S slots each, most of which are empty. A compact list has as many rows as there is something to list (in
the replica that has most). One that is not has room for all there could be, for accelerators, where counting would wait. Row 0
of every list is nothing: what points to nothing points to it, what nothing sends goes there, and no result is taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gfn_vi.core.protocols import BlockTables


@dataclass(frozen=True)
class Vocabulary:
    """The tables of a block set as networks number it: 0 is nothing, and the empty molecule is one block with one slot.

    slot_class: [K + 2, S] class of a slot, of n_classes = Q + 2; slot_pair: [(K + 2) S, S] orbit of a slot and another one of the
    same block under the block's symmetries, of n_pairs; n_kinds = K + 2.
    """

    slot_class: Tensor
    slot_pair: Tensor
    n_kinds: int
    n_classes: int
    n_pairs: int


def vocabulary(blocks: BlockTables) -> Vocabulary:
    """Return the numbers of a block set's kinds, slots and pairs of slots."""
    n_kinds, n_slots = blocks.slot_class.shape
    device = blocks.slot_class.device
    to = blocks.permutations  # [K, G, S]
    images = (to[..., None] * n_slots + to[..., None, :]).masked_fill(~blocks.permutation_mask[..., None, None], n_slots**2)
    # the lowest pair of an orbit stands for it
    orbit = images.amin(1) + n_slots**2 * torch.arange(n_kinds, device=device)[:, None, None]
    there = blocks.slot_class >= 0
    pairs = there[:, None] & there[:, :, None] & ~torch.eye(n_slots, dtype=torch.bool, device=device)  # [K, S, S]
    orbits, number = orbit[pairs].unique(return_inverse=True)
    slot_pair = functional.pad(torch.zeros_like(orbit).masked_scatter(pairs, number + 1), (0, 0, 0, 0, 1, 1))
    slot_class = functional.pad(blocks.slot_class + 1, (0, 0, 1, 1))
    n_classes = int(slot_class.max()) + 2
    slot_class[-1, 0] = n_classes - 1
    return Vocabulary(slot_class, slot_pair.view(-1, n_slots), n_kinds + 2, n_classes, len(orbits) + 1)


@dataclass(frozen=True)
class Trees:
    """The blocks, slots, free slots and pairs of slots of the states [R, n], as lists with as many rows in each replica.

    Everything is numbered through all replicas, one after the other; states and the grid of slots have one place more, nothing.
    kind, state: of each block. block, slot_class, other, other_class, bonded: of each slot its block, its class, and where it is
    bonded the block and the class beyond; bonded [slots, 1] is 1.0 or 0.0. target, source, pair: of each slot and each bonded
    slot of the same block, the two rows and the number of the pair. stem, stem_cell: of each free slot its row and its place in
    the grid [R, n N S + 1]. rows: block of each place of the grid [R, n, N]. links: as the target gives them, [R, n, N, S].
    """

    kind: Tensor
    state: Tensor
    block: Tensor
    slot_class: Tensor
    other: Tensor
    other_class: Tensor
    bonded: Tensor
    target: Tensor
    source: Tensor
    pair: Tensor
    stem: Tensor
    stem_cell: Tensor
    rows: Tensor
    links: Tensor
    compact: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the numbers of replicas, of states in each, of rows in each state and of slots in each row."""
        n_replicas, n_states, max_blocks, n_slots = self.links.shape
        return n_replicas, n_states, max_blocks, n_slots


def _listed(present: Tensor, nothing: int, most: int, compact: bool) -> tuple[Tensor, Tensor]:
    """Return the places in use [R, M + 1], `nothing` first and where a replica has fewer, and the row of each place [R, X].

    most: how many there can be.
    """
    n_replicas, n_places = present.shape
    rows = present.cumsum(1)
    n_rows = int(rows[:, -1].max()) if compact else most
    rows *= present
    places = rows.new_full((n_replicas, n_rows + 1), nothing)
    places.scatter_(1, rows, torch.arange(n_places, device=present.device).expand(n_replicas, -1))
    places[:, 0] = nothing
    return places, rows


def _flat(rows: Tensor, n_rows: int) -> Tensor:
    """Return rows of each replica [R, ...] as rows of all replicas, n_rows in each: flat."""
    if rows.shape[0] == 1:
        return rows.reshape(-1)
    first = torch.arange(0, rows.shape[0] * n_rows, n_rows, device=rows.device)
    return (rows.flatten(1) + first[:, None]).view(-1)


def list_trees(kinds: Tensor, links: Tensor, words: Vocabulary, dtype: torch.dtype, compact: bool) -> Trees:
    """Return the lists, compact or not, of states: kinds [R, n, N] and links [R, n, N, S] as the target gives them."""
    n_replicas, n_states, max_blocks, n_slots = links.shape
    n_blocks = n_states * max_blocks
    kind = kinds + 1
    unfinished = kinds[..., -1] < 0  # a molecule of N blocks stops
    empty = kinds[..., 0] < 0
    kind[..., 0] += empty * (words.n_kinds - 1)
    kind = functional.pad(kind.view(n_replicas, -1), (0, 1))  # the last place is nothing
    block_place, block_row = _listed(kind > 0, n_blocks, n_blocks, compact)
    # slots of all places, and the place of the slot beyond
    slot_class = words.slot_class.index_select(0, kind.view(-1)).view(n_replicas, -1)
    bonded = links >= 0
    here = torch.arange(0, n_blocks * n_slots, max_blocks * n_slots, device=links.device)[:, None, None]
    beyond = (links + here).where(bonded, n_blocks * n_slots).view(n_replicas, -1)
    beyond = functional.pad(beyond, (0, n_slots), value=n_blocks * n_slots)
    there = slot_class[:, : n_blocks * n_slots] > 0
    place, slot_row = _listed(there, n_blocks * n_slots, n_blocks * n_slots, compact)
    of_block = place // n_slots
    beyond = beyond.gather(1, place)
    bonded_slot = beyond < n_blocks * n_slots
    # every slot hears the bonded slots of its block: [R, slots, S]
    heard = (slot_row * bonded.view(n_replicas, -1)).view(n_replicas, n_blocks, n_slots)
    heard = functional.pad(heard, (0, 0, 0, 1)).view(-1, n_slots).index_select(0, _flat(of_block, n_blocks + 1))
    slot_kind = kind.gather(1, of_block)
    pair = words.slot_pair.index_select(0, (slot_kind * n_slots + place % n_slots).view(-1))
    pair = (pair * (heard > 0)).view(n_replicas, -1)
    n_bonded = 2 * (max_blocks - 1)  # slots of a tree
    meeting, _ = _listed(pair > 0, 0, n_states * n_bonded * (n_slots - 1), compact)
    # free slots of molecules that can grow
    free = (there.view(links.shape) & ~bonded).logical_and_(unfinished[..., None, None])
    stem, _ = _listed(free.view(n_replicas, -1), n_blocks * n_slots, n_blocks * n_slots, compact)
    n_rows, n_slot_rows = block_place.shape[1], place.shape[1]
    return Trees(
        kind=_flat(kind.gather(1, block_place), words.n_kinds),
        state=_flat(block_place // max_blocks, n_states + 1),
        block=_flat(block_row.gather(1, of_block), n_rows),
        slot_class=_flat(slot_class.gather(1, place), words.n_classes),
        other=_flat(block_row.gather(1, beyond // n_slots), n_rows),
        other_class=_flat(slot_class.gather(1, beyond), words.n_classes),
        bonded=bonded_slot.view(-1, 1).to(dtype),
        target=_flat(meeting // n_slots, n_slot_rows),
        source=_flat(heard.view(n_replicas, -1).gather(1, meeting), n_slot_rows),
        pair=_flat(pair.gather(1, meeting), words.n_pairs),
        stem=_flat(functional.pad(slot_row, (0, 1)).gather(1, stem), n_slot_rows),
        stem_cell=_flat(stem, n_blocks * n_slots + 1),
        rows=_flat(block_row[:, :-1], n_rows).view(n_replicas, n_states, max_blocks),
        links=links,
        compact=compact,
    )
