"""Which blocks can be attached to a molecule, and which removed: one action for each child, one for each parent.

Two attachments can give one molecule in two ways. Stems that a symmetry of the molecule exchanges have one view (canonical.py),
which is cheap to see. And the new leaf can take the part of an old one: with directed blocks a-b, the chain (a-b)(a-b) grows to
(a-b)(a-b)(a-b) at either end. Then the old leaf could have been attached as the new block is, to a stem of the same class, and
both new bonds join the same two classes of slots; only such attachments are built and compared. Where there is one block, its
part is taken if it and the new block exchange their classes. Removals are alike: of leaves with one view of the rest the first
stays, and of others whose bonds join the same two classes what they leave is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gfn_vi.core.distinct import distinct
from gfn_vi.targets.molecules.block_set import BlockSet
from gfn_vi.targets.molecules.canonical import CanonicalTrees, mix

# A second factor for pairs (number of a tree, hash), so that hashes of different trees differ.
ODD = -0x61C8864680B583EB


class Twins(NamedTuple):
    """Attachments with the same child as an earlier one: tree, stem, block [P] long, and first_stem, first_block of that one."""

    tree: Tensor
    stem: Tensor
    block: Tensor
    first_stem: Tensor
    first_block: Tensor


@dataclass(frozen=True)
class Leaves:
    """The leaves of trees, by row: block [M, N] as which each could have been attached; -1: there is none, or it is no leaf.

    partner [M, N]: slot j S + t that it is bonded to; facing [M, N]: the class of that slot, -1 where block is.
    """

    block: Tensor
    partner: Tensor
    facing: Tensor


class Moves:
    """Attachments and removals in canonical states [M, N, 2 + 2 S] with at most `n_rows` = N blocks; see CanonicalTrees."""

    def __init__(self, blocks: BlockSet, n_rows: int) -> None:
        self.n_rows, self.n_slots, self.n_blocks = n_rows, blocks.n_slots, blocks.n_blocks
        self.n_classes = blocks.n_classes
        self.trees = CanonicalTrees(blocks, n_rows)
        above = torch.nn.functional.pad  # tables by kind + 1
        self.kind, self.way_slot, self.way_class = blocks.kind + 1, blocks.way_slot, blocks.way_class
        self.slot_class = above(blocks.slot_class, (0, 0, 1, 0), value=-1)  # [K + 1, S]
        self.class_block = above(blocks.class_block, (0, 1), value=-1)  # [Q + 1], -1 at -1
        self.first_block = above(blocks.first_block, (1, 0))  # [K + 1]
        self.exchanges = _exchanges(blocks)
        self.is_first = torch.zeros(blocks.n_blocks, dtype=torch.bool)
        self.is_first[blocks.first_block] = True

    def to(self, device: torch.device | str) -> Moves:
        """Return a copy with its tables on `device`."""
        copy = object.__new__(Moves)
        vars(copy).update({k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()})
        copy.trees = self.trees.to(device)
        return copy

    # -- trees --------------------------------------------------------------------------------------------------------

    def split(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return kinds + 1 [M, N], links [M, N, S] (0: none) and views through slots [M, N, S]."""
        return states[..., 0], states[..., 2 : 2 + self.n_slots], states[..., 2 + self.n_slots :]

    def attached(self, kinds: Tensor, links: Tensor, stem: Tensor, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return kinds and links with a block bonded to stem i S + s [M], or put into an empty tree, and its row [M]."""
        n = (kinds > 0).sum(1)
        row = n.clamp(max=self.n_rows - 1)
        kinds = kinds.scatter(1, row[:, None], self.kind[block][:, None])
        ends = torch.stack([stem, torch.add(self.way_slot[block], row, alpha=self.n_slots)], 1)
        bonds = (ends.flip(1) + 1) * (n > 0)[:, None]
        return kinds, links.flatten(1).scatter(1, ends, bonds).view(links.shape), row

    def detached(self, kinds: Tensor, links: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return kinds and links without a leaf's row [M], and the slot (j S + t) [M] that it was bonded to (0: none)."""
        at = torch.arange(len(kinds), device=kinds.device)
        partner = (links[at, row].amax(1) - 1).clamp(min=0)
        kinds, links = kinds.clone(), links.clone(memory_format=torch.contiguous_format)
        kinds[at, row] = 0
        links[at, row] = 0
        links.flatten(1).scatter_(1, partner[:, None], 0)
        return kinds, links, partner

    def leaves(self, kinds: Tensor, links: Tensor) -> Leaves:
        """Return what is known of the blocks with one bond."""
        bonded = links > 0
        classes = self.slot_class[kinds]
        own = classes.gather(2, bonded.byte().argmax(2, keepdim=True))[..., 0]
        block = self.class_block[own].where(bonded.sum(2) == 1, -1)
        partner = (links.amax(2) - 1).clamp_(min=0)
        facing = classes.flatten(1).gather(1, partner).where(block >= 0, -1)
        return Leaves(block, partner, facing)

    def _bond(self, block: Tensor, facing: Tensor) -> Tensor:
        """Return a number for the two classes of slots that are joined, whichever is the block's: [...] -> [...]."""
        own = self.way_class[block]
        return torch.minimum(own, facing) * self.n_classes + torch.maximum(own, facing)

    def _first_alike(self, tree: Tensor, kinds: Tensor, links: Tensor) -> Tensor:
        """Return for each of P trees the first that is the same molecule and has the same number `tree` [P]: [P] long."""
        own = mix(tree * ODD)
        first = torch.arange(len(tree), device=tree.device)
        close = _several(own + self.trees.surroundings(kinds, links)).nonzero()[:, 0]
        if len(close) > 0:
            earliest, number = distinct(own[close] + self.trees.codes(kinds[close], links[close]))
            first[close] = close[earliest[number]]
        return first

    # -- attaching ----------------------------------------------------------------------------------------------------

    def first_stems(self, states: Tensor) -> Tensor:
        """Return for each slot of the first N - 1 rows the first free stem with its view: [M, (N - 1) S].

        It is -1 where the slot is not free, or the molecule has N blocks and does not grow.
        """
        kinds, links, view = self.split(states)
        n_stems = (self.n_rows - 1) * self.n_slots
        free = (self.slot_class[kinds].flatten(1) >= 0) & (links.flatten(1) == 0) & (kinds[:, -1:] == 0)
        free, view = free[:, :n_stems], view.flatten(1)[:, :n_stems]
        same = (view[:, :, None] == view[:, None, :]) & free[:, None, :]
        return same.max(2).indices.where(free, -1)

    def twins(self, states: Tensor, first_stem: Tensor) -> Twins:
        """Return which of the attachments to first stems repeat the child of an earlier one."""
        kinds, links, _ = self.split(states)
        alone = kinds[:, 0].where(kinds[:, 1] == 0, -1)
        tree, entry = (alone[:, None] == self.exchanges[0]).nonzero(as_tuple=True)
        of_one = Twins(tree, *self.exchanges[1:, entry])
        leaves = self.leaves(kinds, links)
        stems = torch.arange(first_stem.shape[1], device=states.device)
        stem_class = self.slot_class[kinds].flatten(1)[:, : len(stems)]
        same_bond = stem_class[:, :, None] == leaves.facing[:, None, :]
        tree, stem, leaf = ((first_stem == stems)[:, :, None] & same_bond).nonzero(as_tuple=True)
        if len(tree) == 0:
            return of_one
        # leaves that were attached alike name one attachment more than once
        named = torch.unique((tree * len(stems) + stem) * self.n_blocks + leaves.block[tree, leaf])
        tree, stem, block = named // (len(stems) * self.n_blocks), named // self.n_blocks % len(stems), named % self.n_blocks
        alike = _several(tree * self.n_classes**2 + self._bond(block, stem_class[tree, stem]))
        tree, stem, block = tree[alike], stem[alike], block[alike]
        if len(tree) == 0:
            return of_one
        child_kinds, child_links, _ = self.attached(kinds[tree], links[tree], stem, block)
        first = self._first_alike(tree, child_kinds, child_links)
        again = first != torch.arange(len(first), device=first.device)
        first = first[again]
        found = (tree[again], stem[again], block[again], stem[first], block[first])
        return Twins(*(torch.cat(pair) for pair in zip(found, of_one, strict=True)))

    def attachable(self, states: Tensor) -> Tensor:
        """Return which attachments of blocks to stems are the first that lead to their child: [M, (N - 1) S, B] bool."""
        first_stem = self.first_stems(states)
        own = torch.arange(first_stem.shape[1], device=states.device)
        mask = (first_stem == own)[:, :, None].repeat(1, 1, self.n_blocks)
        twins = self.twins(states, first_stem)
        if len(twins.tree) > 0:
            mask[twins.tree, twins.stem, twins.block] = False
        mask[:, 0] |= (states[:, 0, :1] == 0) & self.is_first
        return mask

    def first_attachment(self, states: Tensor, stem: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return stem and block [M] of the first attachment with the same child as that of `block` [M] to `stem` [M]."""
        first_stem = self.first_stems(states)
        stem = first_stem.gather(1, stem[:, None])[:, 0]
        twins = self.twins(states, first_stem)
        hit = (stem[twins.tree] == twins.stem) & (block[twins.tree] == twins.block)
        tree = twins.tree[hit]
        stem[tree], block = twins.first_stem[hit], block.clone()
        block[tree] = twins.first_block[hit]
        return stem, block

    # -- removing -----------------------------------------------------------------------------------------------------

    def first_removals(self, states: Tensor) -> Tensor:
        """Return for each row that can be removed the first whose removal has the same parent, -1 for other rows: [M, N]."""
        kinds, links, view = self.split(states)
        leaves = self.leaves(kinds, links)
        leaf = leaves.block >= 0
        sees = view.flatten(1).gather(1, leaves.partner)  # a hash of the rest, which tells how the leaf is bonded to it, too
        first = ((sees[:, :, None] == sees[:, None, :]) & leaf[:, None, :]).max(2).indices.where(leaf, -1)
        rows = torch.arange(self.n_rows, device=states.device)
        candidate = first == rows
        bond = self._bond(leaves.block, leaves.facing) * (self.n_blocks + 1) + kinds  # there are no more kinds than blocks
        alike = (bond[:, :, None] == bond[:, None, :]) & candidate[:, None, :]
        tree, row = (candidate & (alike.sum(2) > 1)).nonzero(as_tuple=True)
        if len(tree) > 0:
            parent_kinds, parent_links, _ = self.detached(kinds[tree], links[tree], row)
            representative = rows.expand_as(first).clone()
            representative[tree, row] = row[self._first_alike(tree, parent_kinds, parent_links)]
            first = representative.gather(1, first.clamp(min=0)).where(leaf, -1)
        first[:, 0].masked_fill_((kinds[:, 0] > 0) & (kinds[:, 1] == 0), 0)
        return first


def _exchanges(blocks: BlockSet) -> Tensor:
    """Return what can be attached to a single block in two ways: kind + 1, stem, block, and the first stem and block: [5, P].

    Of two classes of one kind with a way each, one way is bonded to the other class: the molecule is the same either way round.
    """
    classes = torch.arange(blocks.n_classes)
    stem = (blocks.slot_class[blocks.class_kind] == classes[:, None]).byte().argmax(1)  # the first slot of the class
    kind, block = blocks.class_kind, blocks.class_block
    both = (kind[:, None] == kind) & (block[:, None] >= 0) & (block >= 0)
    of_stem, of_block = (both & (stem[:, None] > stem)).nonzero(as_tuple=True)
    return torch.stack([kind[of_stem] + 1, stem[of_stem], block[of_block], stem[of_block], block[of_stem]])


def _several(keys: Tensor) -> Tensor:
    """Return which keys [P] occur more than once: [P] bool."""
    _, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse] > 1
