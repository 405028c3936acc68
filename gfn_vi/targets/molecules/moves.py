"""Which blocks can be attached to a molecule, and which removed: one action for each child, one for each parent.

Two attachments can give one molecule in two ways. Stems that a symmetry of the molecule exchanges have one view (canonical.py),
which is cheap to see. And the new leaf can take the part of an old one: with directed blocks a-b, the chain (a-b)(a-b) grows to
(a-b)(a-b)(a-b) at either end. Then the old leaf has the new block's kind and is attached as some block attaches, and both new
bonds join the same two classes of slots; only such pairs are built and compared. Removals are alike: of leaves with one view of
the rest the first stays, and of others of one kind what they leave is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.targets.molecules.block_set import BlockSet
from gfn_vi.targets.molecules.canonical import CanonicalTrees, mix

# A second factor for pairs (number of a tree, hash), so that hashes of different trees differ.
ODD = -0x61C8864680B583EB


@dataclass(frozen=True)
class Twins:
    """Attachments with the same child as an earlier one: tree, stem, block [P] long, and first_stem, first_block of that one."""

    tree: Tensor
    stem: Tensor
    block: Tensor
    first_stem: Tensor
    first_block: Tensor


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
        of_kind = [(blocks.kind == kind).nonzero()[:, 0] for kind in range(blocks.n_kinds)]
        self.ways = above(torch.nn.utils.rnn.pad_sequence(of_kind, True, -1), (0, 0, 1, 0), value=-1)  # [K + 1, ways]
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
        at = torch.arange(len(kinds), device=kinds.device)
        row = n.clamp(max=self.n_rows - 1)
        kinds, links = kinds.clone(), links.clone(memory_format=torch.contiguous_format)
        kinds[at, row] = self.kind[block]
        flat = links.flatten(1)
        end = row * self.n_slots + self.way_slot[block]
        grown = n > 0
        flat.scatter_(1, stem[:, None], torch.where(grown, end + 1, 0)[:, None])
        flat.scatter_(1, end[:, None], torch.where(grown, stem + 1, 0)[:, None])
        return kinds, links, row

    def detached(self, kinds: Tensor, links: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return kinds and links without a leaf's row [M], and the slot (j S + t) [M] that it was bonded to (0: none)."""
        at = torch.arange(len(kinds), device=kinds.device)
        partner = (links[at, row].amax(1) - 1).clamp(min=0)
        kinds, links = kinds.clone(), links.clone(memory_format=torch.contiguous_format)
        kinds[at, row] = 0
        links[at, row] = 0
        links.flatten(1).scatter_(1, partner[:, None], 0)
        return kinds, links, partner

    # -- attaching ----------------------------------------------------------------------------------------------------

    def first_stems(self, states: Tensor) -> Tensor:
        """Return for each slot of the first N - 1 rows the first free stem with its view, -1 if it is not free: [M, (N-1) S]."""
        kinds, links, view = self.split(states)
        free = ((self.slot_class[kinds] >= 0) & (links == 0))[:, :-1].flatten(1)
        view = view[:, :-1].flatten(1)
        same = (view[:, :, None] == view[:, None, :]) & free[:, None, :]
        return same.byte().argmax(2).where(free, -1)

    def twins(self, states: Tensor, first_stem: Tensor) -> Twins:
        """Return which of the attachments to first stems repeat the child of an earlier one."""
        kinds, links, _ = self.split(states)
        stems = torch.arange(first_stem.shape[1], device=states.device)
        blocks = self._repeatable(kinds, links)  # [M, C]
        tree, stem, choice = ((first_stem == stems)[:, :, None] & (blocks >= 0)[:, None, :]).nonzero(as_tuple=True)
        block = blocks[tree, choice]
        own, other = self.slot_class[kinds].flatten(1)[tree, stem], self.way_class[block]
        bond = torch.minimum(own, other) * self.n_classes + torch.maximum(own, other)
        alike = _several(tree * self.n_classes**2 + bond)
        tree, stem, block = tree[alike], stem[alike], block[alike]
        if len(tree) == 0:
            return Twins(tree, stem, block, stem, block)
        child_kinds, child_links, _ = self.attached(kinds[tree], links[tree], stem, block)
        first = _first_of_equal(mix(tree * ODD) + self.trees.codes(child_kinds, child_links))
        again = first != torch.arange(len(first), device=first.device)
        first = first[again]
        return Twins(tree[again], stem[again], block[again], stem[first], block[first])

    def _repeatable(self, kinds: Tensor, links: Tensor) -> Tensor:
        """Return the blocks [M, C] as which leaves are attached, each once: an old leaf's part can only be taken by one of them.

        Of a single block, all ways of its kind. -1: none.
        """
        attached_as = self._attached_as(kinds, links)
        earlier = (attached_as[:, :, None] == attached_as[:, None, :]).tril(-1).any(2)
        ways = self.ways[kinds[:, 0]]
        width = max(ways.shape[1], attached_as.shape[1])
        leaves = torch.nn.functional.pad(attached_as.masked_fill(earlier, -1), (0, width - attached_as.shape[1]), value=-1)
        single = ((kinds > 0).sum(1) == 1)[:, None]
        return torch.nn.functional.pad(ways, (0, width - ways.shape[1]), value=-1).where(single, leaves)

    def _attached_as(self, kinds: Tensor, links: Tensor) -> Tensor:
        """Return as which block each leaf could have been attached, -1 where there is none and for other rows: [M, N]."""
        bonded = links > 0
        at = self.slot_class[kinds].gather(2, bonded.byte().argmax(2)[..., None])[..., 0]
        return self.class_block[at].where(bonded.sum(2) == 1, -1)

    def attachable(self, states: Tensor) -> Tensor:
        """Return which attachments of blocks to stems are the first that lead to their child: [M, (N - 1) S, B] bool."""
        first_stem = self.first_stems(states)
        own = torch.arange(first_stem.shape[1], device=states.device)
        mask = (first_stem == own)[:, :, None].expand(-1, -1, self.n_blocks).clone()
        twins = self.twins(states, first_stem)
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
        n = (kinds > 0).sum(1, keepdim=True)
        leaf = self._attached_as(kinds, links) >= 0
        partner = (links.amax(2) - 1).clamp(min=0)
        rest = view.flatten(1).gather(1, partner)  # what the leaf sees
        at = self.slot_class[kinds].gather(2, (links > 0).byte().argmax(2)[..., None])[..., 0]
        alike = (rest[:, :, None] == rest[:, None, :]) & (at[:, :, None] == at[:, None, :]) & leaf[:, None, :]
        first = alike.byte().argmax(2).where(leaf, -1)
        rows = torch.arange(self.n_rows, device=states.device)
        candidate = first == rows
        same_kind = (kinds[:, :, None] == kinds[:, None, :]) & candidate[:, None, :]
        tree, row = (candidate & (same_kind.sum(2) > 1)).nonzero(as_tuple=True)
        if len(tree) > 0:
            parent_kinds, parent_links, _ = self.detached(kinds[tree], links[tree], row)
            earliest = _first_of_equal(mix(tree * ODD) + self.trees.codes(parent_kinds, parent_links))
            representative = rows.expand_as(first).clone()
            representative[tree, row] = row[earliest]
            first = representative.gather(1, first.clamp(min=0)).where(leaf, -1)
        return first.where(n != 1, torch.where(rows == 0, 0, -1))


def _several(keys: Tensor) -> Tensor:
    """Return which keys [P] occur more than once: [P] bool."""
    if len(keys) == 0:
        return keys.bool()
    _, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def _first_of_equal(keys: Tensor) -> Tensor:
    """Return for each key [P] the index of the first equal one: [P] long."""
    names, inverse = torch.unique(keys, return_inverse=True)
    own = torch.arange(len(keys), device=keys.device)
    return own.new_full(names.shape, len(keys)).scatter_reduce_(0, inverse, own, "amin")[inverse]
