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

Most kinds have one automorphism and a few have many (benzene: 12), so inner sums are worked out in a list of all pairs of a block
and one of its automorphisms, and not in a tensor with room for the most automorphisms in every row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.targets.molecules.block_set import BlockSet

# Shifts and odd multipliers of the hash; any will do (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
# 2014). They are tensors, because a Python number becomes one in every call, which costs as much as the operation itself.
SHIFT_1, SHIFT_2 = torch.tensor(32), torch.tensor(29)
MIX_1, MIX_2 = torch.tensor(-0x40A7B892E31B1A47), torch.tensor(-0x6B2FB644ECCEEE15)
SEED = 2210_00580
LARGEST = 2**63 - 1


def mix(x: Tensor) -> Tensor:
    """Return a hash of each integer, 0 for 0; x is overwritten: [...] int64 -> [...] int64."""
    x.bitwise_xor_(torch.bitwise_right_shift(x, SHIFT_1)).mul_(MIX_1)
    x.bitwise_xor_(torch.bitwise_right_shift(x, SHIFT_2)).mul_(MIX_2)
    return x.bitwise_xor_(torch.bitwise_right_shift(x, SHIFT_1))


@dataclass(frozen=True)
class Views:
    """The hashes of what is seen: node [M, N] of the whole tree from each row, slot [M, N, S] through each slot from outside.

    The inner sums of the same are listed for the P pairs of a block and an automorphism of its kind: row [P] of the block,
    counted through all trees, automorphism [P]; turned [P, S] without each slot, whole [P].
    """

    node: Tensor
    slot: Tensor
    row: Tensor
    automorphism: Tensor
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
        self.n_automorphisms = moved.shape[1]
        # Row 0 of every table by kind is that of an empty row.
        empty = torch.nn.functional.pad
        self.present = empty(blocks.slot_class >= 0, (0, 0, 1, 0))  # [K + 1, S]
        self.is_automorphism = empty(blocks.permutation_mask, (0, 0, 1, 0))  # [K + 1, G]
        moved = torch.cat([torch.arange(self.n_slots).expand(1, *moved.shape[1:]), moved])
        self.moved = moved.flatten(0, 1)  # [(K + 1) G, S]
        self.place, self.mark = ((table[moved] * self.present[:, None]).flatten(0, 1) for table in (place, mark))
        self.kind_hash, self.whole_hash = (empty(draw(blocks.n_kinds), (1, 0)) for _ in range(2))
        self.nothing = draw(1)  # the hash of what hangs on a free slot
        # Row numbers grow by a factor of S with every level, until they are ranked; 64 bits hold them in small trees.
        self.renumbers = float(self.n_slots) ** n_rows > 2**60

    def to(self, device: torch.device | str) -> CanonicalTrees:
        """Return a copy with its tables on `device`."""
        copy = object.__new__(CanonicalTrees)
        vars(copy).update({k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()})
        return copy

    def rounds(self, kinds: Tensor) -> int:
        """Return how many rounds of messages reach every block; on an accelerator as many as there are rows, to ask nothing."""
        return int((kinds > 0).sum(1).max()) if kinds.device.type == "cpu" and len(kinds) > 0 else self.n_rows

    def views(self, kinds: Tensor, links: Tensor, rounds: int | None = None) -> Views:
        """Return the hashes of what is seen from every row and through every slot: kinds [M, N], links [M, N, S].

        rounds: of messages, by default so many that they reach every block; what is farther away than that is not seen.
        """
        kind = kinds.reshape(-1)
        row, automorphism = self.is_automorphism.index_select(0, kind).nonzero(as_tuple=True)  # [P]
        entry = torch.add(automorphism, kind.index_select(0, row), alpha=self.n_automorphisms)
        place, mark = self.place.index_select(0, entry), self.mark.index_select(0, entry)  # [P, S]
        kind_hash = self.kind_hash.index_select(0, kind)[:, None].expand(-1, self.n_slots)  # [M N, S]
        # What hangs on each slot is looked up among what is seen through all slots, and nothing, which is the last entry.
        first = torch.arange(-1, links.numel() - 1, self.n_rows * self.n_slots, device=links.device)[:, None, None]
        hanging = torch.where(links > 0, links + first, links.numel()).view(-1, self.n_slots)
        hanging = hanging.index_select(0, row).view(-1)
        seen = self.nothing.repeat(links.numel() + 1)
        slot = seen[:-1].view(-1, self.n_slots)
        for _ in range(max(self.rounds(kinds), 1) if rounds is None else rounds):
            here = seen.index_select(0, hanging).view(place.shape).mul_(place)
            whole = here.sum(1, keepdim=True)
            turned = mix(torch.sub(mark, here, out=here).add_(whole))
            mix(slot.copy_(kind_hash).index_add_(0, row, turned))
        whole = mix(whole[:, 0])
        node = mix(self.whole_hash.index_select(0, kind).index_add_(0, row, whole)).masked_fill_(kind == 0, 0)
        slot = slot * self.present.index_select(0, kind)
        return Views(node.view(kinds.shape), slot.view(links.shape), row, automorphism, turned, whole)

    def codes(self, kinds: Tensor, links: Tensor) -> Tensor:
        """Return one number for each tree, equal exactly for equal molecules; 0 for the empty one: [M] int64."""
        seen = self.views(kinds, links).node
        return seen.masked_fill(kinds == 0, LARGEST).amin(1).masked_fill((kinds == 0).all(1), 0)

    def surroundings(self, kinds: Tensor, links: Tensor) -> Tensor:
        """Return one number for each tree, equal for equal molecules: what each block sees up to the second neighbors [M] int64.

        Most trees that differ differ in this, and it takes two rounds of messages instead of as many as there are blocks.
        """
        return self.views(kinds, links, rounds=2).node.sum(1)

    def canonical(self, kinds: Tensor, links: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return canonical states [M, N, 2 + 2 S], and where rows [M, N] and slots [M, N, S] of the given trees are in them.

        Columns of a state: kind + 1, view of the whole, links, views through slots; see Molecules.
        """
        n_trees, n_rows, n_slots = links.shape
        seen = self.views(kinds, links)
        row, turn = self._numbered(kinds, links, seen)
        slot = self.moved.index_select(0, torch.add(turn, kinds, alpha=self.n_automorphisms).view(-1))
        slot = slot.view(links.shape)  # [M, N, S]: new slot of each
        end = torch.add(slot, row[..., None], alpha=n_slots).add_(1).flatten(1)  # [M, N S]: how a bond to the slot is written
        links = torch.nn.functional.pad(end, (1, 0)).gather(1, links.flatten(1))
        width = 2 + 2 * n_slots
        start = row * width
        column = torch.add(slot, start[..., None]).add_(2).flatten(1)
        columns = torch.cat([start, start + 1, column, column + n_slots], 1)
        values = torch.cat([kinds, seen.node, links, seen.slot.flatten(1)], 1)
        states = torch.zeros_like(values).scatter_(1, columns, values).view(n_trees, n_rows, width)
        return states, row, slot

    def _numbered(self, kinds: Tensor, links: Tensor, seen: Views) -> tuple[Tensor, Tensor]:
        """Return the canonical number of each row, empty ones last, and by which automorphism it is turned: [M, N] long both."""
        n_rows, n_slots = links.shape[1:]
        empty, rows = kinds == 0, torch.arange(n_rows, device=kinds.device)
        root = seen.node.masked_fill(empty, LARGEST).argmin(1, keepdim=True)
        is_root, link = rows == root, (links - 1).flatten(1)
        towards = self._towards_root(root, link)
        turn = self._turned(seen, towards.view(-1), is_root.view(-1)).view(kinds.shape)
        # Every row but the root has one bond towards it, to slot `other` of row `parent`.
        bond = link.gather(1, towards + rows * n_slots).clamp_(min=0)
        parent, other = torch.where(is_root, root, bond.div(n_slots, rounding_mode="floor")), bond % n_slots
        # Slots of a row are numbered as it is turned, which orders its children; levels come one after the other.
        entry = torch.add(turn, kinds, alpha=self.n_automorphisms).gather(1, parent)
        at = self.moved.view(-1).index_select(0, torch.add(other, entry, alpha=n_slots).view(-1)).view(kinds.shape)
        at = (at + 1).masked_fill_(is_root, 0)

        def numbered(number: Tensor) -> Tensor:
            number = torch.add(at, number.gather(1, parent), alpha=n_slots)
            return _ranks(number) if self.renumbers else number

        number = _settled(numbered, torch.zeros_like(at), n_rows)
        return _ranks(torch.where(empty, rows + (LARGEST - n_rows), number)), turn

    def _towards_root(self, root: Tensor, link: Tensor) -> Tensor:
        """Return through which slot each row is bonded towards the root [M, 1]: link [M, N S] (-1: none) -> [M, N] long."""
        n_slots, n_rows = self.n_slots, self.n_rows
        own = torch.arange(link.shape[1], device=link.device)
        neighbor = torch.where(link >= 0, link, own).div(n_slots, rounding_mode="floor")

        def steps(far: Tensor) -> Tensor:
            return far.gather(1, neighbor).view(-1, n_rows, n_slots)

        far = torch.full((len(link), n_rows), n_rows, device=link.device).scatter_(1, root, 0)
        far = _settled(lambda far: torch.minimum(far, steps(far).min(2).values.add_(1)), far, n_rows)
        return steps(far).argmin(2)

    def _turned(self, seen: Views, towards: Tensor, is_root: Tensor) -> Tensor:
        """Return the automorphism with the smallest inner sum, without the slot `towards` [M N], of the root with all: [M N]."""
        without = seen.turned.gather(1, towards.index_select(0, seen.row)[:, None])[:, 0]
        table = torch.full((len(towards), self.n_automorphisms), LARGEST, device=towards.device)
        table[seen.row, seen.automorphism] = torch.where(is_root.index_select(0, seen.row), seen.whole, without)
        return table.argmin(1)


def _settled(step: Callable[[Tensor], Tensor], values: Tensor, most: int) -> Tensor:
    """Return what `step` makes of the values when they change no more, which is after `most` steps at the latest."""
    for _ in range(most):
        before, values = values, step(values)
        if values.device.type == "cpu" and torch.equal(before, values):  # an accelerator is not waited for
            break
    return values


def _ranks(numbers: Tensor) -> Tensor:
    """Return for each number how many of its row are smaller: [M, N] -> [M, N]."""
    return (numbers[:, None, :] < numbers[:, :, None]).sum(2)
