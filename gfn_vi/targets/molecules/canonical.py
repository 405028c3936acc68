"""The canonical form of a tree of blocks: equal molecules become equal tensors, many at once.

A tree has N rows of blocks, each with a kind and S slots (block_set.py); a bond joins two slots. Two descriptions are one
molecule if a renumbering of rows, and in each block an automorphism of its kind, turns one into the other.

What is seen through a slot is hashed to 64 bits, by messages from block to block. With in(t) the hash of what hangs on slot t
(a constant where it is free), pi over the automorphisms of the block's kind, and random odd weights w, v:

    out(s) = mix( kind + sum over pi of mix( v[pi(s)] + sum over t != s of w[pi(t)] in(t) ) )

The inner sum knows which branch is at which place, the outer one forgets by which automorphism; so two slots have one hash
exactly if what is seen through them is the same, up to a chance of about 2^-60 for a pair. The row whose view of the whole is
smallest is the root, and each block is turned by the automorphism whose inner sum is smallest. Rows are then numbered level by
level, from the root.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.targets.molecules.block_set import BlockSet

# Odd multipliers of the hash; any will do (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014).
MIX_1, MIX_2 = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
SEED = 2210_00580
LARGEST = 2**63 - 1


def mix(x: Tensor) -> Tensor:
    """Return a hash of each integer; x is overwritten: [...] int64 -> [...] int64."""
    x.bitwise_xor_(x >> 32).mul_(MIX_1)
    x.bitwise_xor_(x >> 29).mul_(MIX_2)
    return x.bitwise_xor_(x >> 32)


@dataclass(frozen=True)
class Views:
    """What is seen in every tree: node [M, N] of the whole from each row, slot [M, N, S] through each slot from outside.

    turned [M, N, G, S], whole [M, N, G]: the inner sums of the same, by automorphism; LARGEST where there is no such
    automorphism.
    """

    node: Tensor
    slot: Tensor
    turned: Tensor
    whole: Tensor


class CanonicalTrees:
    """Trees of at most `n_rows` blocks of a block set: [M, N] kinds (0: empty row, else kind + 1) and [M, N, S] links.

    A link is 0 where a slot is free or absent, else 1 + (j S + t): bonded to slot t of row j. Empty rows may lie anywhere.
    """

    def __init__(self, blocks: BlockSet, n_rows: int) -> None:
        self.n_rows, self.n_slots = n_rows, blocks.n_slots
        generator = torch.Generator().manual_seed(SEED)

        def draw(*shape: int) -> Tensor:
            return torch.randint(-(2**62), 2**62, shape, generator=generator) * 2 + 1

        place, mark = draw(self.n_slots), draw(self.n_slots)
        moved = blocks.permutations  # [K, G, S]
        present = (blocks.slot_class >= 0)[:, None, :]
        # Row 0 of every table is that of an empty row.
        empty = torch.nn.functional.pad
        self.place = empty(place[moved] * present, (0, 0, 0, 0, 1, 0))  # [K + 1, G, S]
        self.mark = empty(mark[moved] * present, (0, 0, 0, 0, 1, 0))
        self.is_turn = empty(blocks.permutation_mask, (0, 0, 1, 0))  # [K + 1, G]
        self.moved = torch.cat([torch.arange(self.n_slots).expand(1, *moved.shape[1:]), moved])
        self.kind_hash, self.whole_hash = (empty(draw(blocks.n_kinds), (1, 0)) for _ in range(2))
        self.free = empty(present[:, 0] * draw(1), (0, 0, 1, 0))  # [K + 1, S]: the hash of nothing, 0 where there is no slot

    def to(self, device: torch.device | str) -> CanonicalTrees:
        """Return a copy with its tables on `device`."""
        copy = object.__new__(CanonicalTrees)
        vars(copy).update({k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()})
        return copy

    def rounds(self, kinds: Tensor) -> int:
        """Return how many rounds of messages reach every block; on an accelerator as many as there are rows, to ask nothing."""
        return int((kinds > 0).sum(1).max()) if kinds.device.type == "cpu" and len(kinds) > 0 else self.n_rows

    def views(self, kinds: Tensor, links: Tensor) -> Views:
        """Return the hashes of what is seen from every row and through every slot: kinds [M, N], links [M, N, S]."""
        place, mark, is_turn, free = self.place[kinds], self.mark[kinds], self.is_turn[kinds], self.free[kinds]
        partner, bonded = (links - 1).clamp(min=0).flatten(1), links > 0
        present, kind_hash = free != 0, self.kind_hash[kinds]
        slot = torch.zeros_like(links)
        for _ in range(max(self.rounds(kinds), 1)):
            incoming = slot.flatten(1).gather(1, partner).view_as(links).where(bonded, free)
            here = place * incoming[:, :, None, :]  # [M, N, G, S]
            whole = here.sum(-1)
            turned = mix(whole[..., None] + (mark - here))
            slot = mix((turned * is_turn[..., None]).sum(2) + kind_hash[..., None]) * present
        whole = mix(whole)
        node = mix((whole * is_turn).sum(-1) + self.whole_hash[kinds])
        return Views(
            node.masked_fill(kinds == 0, 0),
            slot,
            turned.masked_fill(~is_turn[..., None], LARGEST),
            whole.masked_fill(~is_turn, LARGEST),
        )

    def codes(self, kinds: Tensor, links: Tensor) -> Tensor:
        """Return one number for each tree, equal exactly for equal molecules; 0 for the empty one: [M] int64."""
        seen = self.views(kinds, links).node
        return seen.masked_fill(kinds == 0, LARGEST).amin(1).masked_fill((kinds == 0).all(1), 0)

    def canonical(self, kinds: Tensor, links: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return canonical states [M, N, 2 + 2 S], and where rows [M, N] and slots [M, N, S] of the given trees are in them.

        Columns of a state: kind + 1, view of the whole, links, views through slots; see Molecules.
        """
        seen = self.views(kinds, links)
        row, turn = self._numbered(kinds, links, seen)
        n_trees, n_rows, n_slots = links.shape
        slot = self.moved[kinds, turn]  # [M, N, S]: new slot of each
        place = (row[..., None] * n_slots + slot).flatten(1)  # [M, N S]
        ends = place.gather(1, (links - 1).clamp(min=0).flatten(1)) + 1
        states = kinds.new_zeros(n_trees, n_rows, 2 + 2 * n_slots)
        states[..., :2].scatter_(1, row[..., None].expand(-1, -1, 2), torch.stack([kinds, seen.node], -1))
        states[..., 2 : 2 + n_slots] = self._scattered(place, ends.where(links.flatten(1) > 0, 0)).view_as(links)
        states[..., 2 + n_slots :] = self._scattered(place, seen.slot.flatten(1)).view_as(links)
        return states, row, slot

    @staticmethod
    def _scattered(place: Tensor, values: Tensor) -> Tensor:
        return torch.zeros_like(values).scatter_(1, place, values)

    def _numbered(self, kinds: Tensor, links: Tensor, seen: Views) -> tuple[Tensor, Tensor]:
        """Return the canonical number of each row, empty ones last, and by which automorphism it is turned: [M, N] long both."""
        _, n_rows, n_slots = links.shape
        occupied = kinds > 0
        root = seen.node.masked_fill(~occupied, LARGEST).argmin(1)
        row = torch.full_like(kinds, n_rows)
        row.scatter_(1, root[:, None], 0)
        turn = seen.whole.argmin(2)
        turn_from = seen.turned.argmin(2)  # [M, N, S]
        neighbor, other_slot = (links - 1).clamp(min=0) // n_slots, (links - 1).clamp(min=0) % n_slots
        bonded = links > 0
        for _ in range(1, n_rows):
            numbered = row < n_rows
            if kinds.device.type == "cpu" and bool((numbered | ~occupied).all()):
                break
            towards = bonded & numbered.gather(1, neighbor.flatten(1)).view_as(bonded) & ~numbered[..., None]
            fresh, via = towards.any(2), towards.byte().argmax(2)
            parent = neighbor.gather(2, via[..., None])[..., 0]
            at = other_slot.gather(2, via[..., None])[..., 0]
            at = self.moved[kinds.gather(1, parent), turn.gather(1, parent), at]
            key = (row.gather(1, parent) * n_slots + at).masked_fill(~fresh, n_rows * n_slots)
            rank = (key[:, None, :] < key[:, :, None]).sum(2) + numbered.sum(1, keepdim=True)
            row = rank.where(fresh, row)
            turn = turn_from.gather(2, via[..., None])[..., 0].where(fresh, turn)
        # Empty rows come last; so does what is not connected to the root, which no molecule has.
        numbered = row < n_rows
        last = (~numbered).cumsum(1) - 1 + numbered.sum(1, keepdim=True)
        return row.where(numbered, last), turn
