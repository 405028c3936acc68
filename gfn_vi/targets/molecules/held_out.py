"""Molecules of a file as trees of blocks, to judge a sampler on (the format of the molecules held out in arXiv 2210.00580).

One JSON object a line: {"blocks": [25, 4], "bonds": [[0, 1, 0, 0]], "stems": [[1, 3]]}. blocks: numbers of the block set;
bonds: [block i, block j, atom in i, atom in j], i and j counted from 0 within the line, atoms in the SMILES of the file's entry;
stems: [block, atom] of each slot that is not bonded, may be left out, and has to agree if it is there. Other keys are not read.
"""

from __future__ import annotations

import json
from typing import TypeGuard

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.block_set import BlockSet

KEY = "evaluation.metrics.correlation.held_out.path"
FORMAT = '{"blocks": [0, 1], "bonds": [[0, 1, 3, 0]]}: block numbers, and [block, block, atom, atom] of each bond'


def read_objects(path: str, blocks: BlockSet, max_blocks: int, min_blocks: int = 1) -> tuple[Tensor, Tensor]:
    """Return the trees of the file: kinds [M, N], -1 for none, and links [M, N, S], -1 for a free slot, else j S + t.

    N = max_blocks. Rows are in the line's order, which is not canonical. Raises ConfigError, naming the line, for what is no
    molecule of the block set with min_blocks to max_blocks blocks.
    """
    lines = user_files.read(path, KEY).split(b"\n")
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    kinds = torch.full((len(kept), max_blocks), -1)
    links = torch.full((len(kept), max_blocks, blocks.n_slots), -1)
    reader = _Reader(path, blocks, min_blocks, max_blocks)
    for row, (number, line) in enumerate(kept):
        of_line, bonds = reader.tree(number, line)
        kinds[row, : len(of_line)] = torch.tensor(of_line)
        for end, other in bonds.items():
            links[row].view(-1)[end] = other
    return kinds, links


class _Reader:
    """Reads and checks lines; a slot is numbered i S + s within its line."""

    def __init__(self, path: str, blocks: BlockSet, min_blocks: int, max_blocks: int) -> None:
        self.path, self.blocks, self.min_blocks, self.max_blocks = path, blocks, min_blocks, max_blocks
        self.kind, self.n_slots = blocks.kind.tolist(), blocks.n_slots
        ways = blocks.class_block[blocks.slot_class] >= 0  # an absent slot reads the last class, and is never asked for
        self.has_way: list[list[bool]] = ways.tolist()
        self.number = 0

    def tree(self, number: int, line: bytes) -> tuple[list[int], dict[int, int]]:
        """Return the kinds of the line's blocks and the slot that each bonded slot is bonded to."""
        self.number = number
        try:
            document = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._refused(f"it is no JSON ({error}); expected a line like {FORMAT}") from None
        fields = document if isinstance(document, dict) else {}
        numbers, bonds, stems = fields.get("blocks"), fields.get("bonds"), fields.get("stems")
        if not (_are_numbers(numbers) and _are_rows(bonds, 4) and (stems is None or _are_rows(stems, 2))):
            raise self._refused(f"expected {FORMAT}; stems, if given, as [block, atom] of each")
        self._check_blocks(numbers)
        linked = self._linked(numbers, bonds)
        self._check_tree(numbers, bonds, linked)
        if stems is not None and sorted(stems) != self._free_stems(numbers, linked):
            raise self._refused("its stems are not what its bonds leave free; were its blocks numbered by another target.blocks?")
        return [self.kind[block] for block in numbers], linked

    def _free_stems(self, numbers: list[int], linked: dict[int, int]) -> list[list[int]]:
        """Return [block, atom of its entry] of each free slot, in order."""
        free = []
        for row, block in enumerate(numbers):
            own = self.blocks.block_atoms[block]
            slots = enumerate(self.blocks.slot_atom[self.kind[block]])
            free += [[row, own.index(atom)] for slot, atom in slots if row * self.n_slots + slot not in linked]
        return sorted(free)

    def _check_blocks(self, numbers: list[int]) -> None:
        unknown = [block for block in numbers if not 0 <= block < self.blocks.n_blocks]
        if unknown:
            known = f"target.blocks has blocks 0 to {self.blocks.n_blocks - 1}"
            raise self._refused(
                f"there is no block {unknown[0]}, {known}: set target.blocks to the file that these were numbered by"
            )
        if len(numbers) > self.max_blocks:
            raise self._refused(f"it has {len(numbers)} blocks: set target.max_blocks={len(numbers)} or leave it out")
        if len(numbers) < max(self.min_blocks, 1):
            raise self._refused(f"it has {len(numbers)} blocks, fewer than target.min_blocks={self.min_blocks}: leave it out")

    def _linked(self, numbers: list[int], bonds: list[list[int]]) -> dict[int, int]:
        """Return the partner of each bonded slot; a bond takes the first free slot of an atom: they are interchangeable."""
        linked: dict[int, int] = {}
        for i, j, atom_i, atom_j in bonds:
            if i == j or not (0 <= i < len(numbers) and 0 <= j < len(numbers)):
                raise self._refused(
                    f"bond {[i, j, atom_i, atom_j]} is not between two of its {len(numbers)} blocks, counted from 0"
                )
            ends = [self._free_slot(numbers, linked, row, atom) for row, atom in ((i, atom_i), (j, atom_j))]
            linked |= {ends[0]: ends[1], ends[1]: ends[0]}
        return linked

    def _free_slot(self, numbers: list[int], linked: dict[int, int], row: int, atom: int) -> int:
        block = numbers[row]
        own, slot_atom = self.blocks.block_atoms[block], self.blocks.slot_atom[self.kind[block]]
        for slot, at in enumerate(slot_atom):
            if 0 <= atom < len(own) and at == own[atom] and row * self.n_slots + slot not in linked:
                return row * self.n_slots + slot
        name = f"block {block} ({self.blocks.smiles[block]})"
        raise self._refused(f"atom {atom} of its blocks[{row}], {name}, has no attachment left: correct the bond")

    def _check_tree(self, numbers: list[int], bonds: list[list[int]], linked: dict[int, int]) -> None:
        """Refuse what is no tree, and what no order of attaching builds."""
        reached = {0}
        for _ in numbers:
            reached |= {end for i, j, _, _ in bonds if i in reached or j in reached for end in (i, j)}
        if len(reached) < len(numbers) or len(bonds) != len(numbers) - 1:
            raise self._refused(f"{len(numbers)} blocks and {len(bonds)} bonds that are no tree: leave it out")
        if not any(self._builds(numbers, linked, root) for root in range(len(numbers))):
            raise self._refused(
                "no order of attaching builds it, as some bond is at atoms that no block attaches by: leave it out"
            )

    def _builds(self, numbers: list[int], linked: dict[int, int], root: int) -> bool:
        """Return whether every block but the root can be attached by the slot that leads to the root."""
        reached, queue = {root}, [root]
        while queue:
            row = queue.pop()
            for slot in range(row * self.n_slots, (row + 1) * self.n_slots):
                leaf, way = divmod(linked.get(slot, slot), self.n_slots)
                if leaf in reached:
                    continue
                if not self.has_way[self.kind[numbers[leaf]]][way]:
                    return False
                reached.add(leaf)
                queue.append(leaf)
        return True

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(KEY, f"{self.path}, line {self.number}", why)


def _are_numbers(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int for value in values)


def _are_rows(rows: object, width: int) -> TypeGuard[list[list[int]]]:
    return isinstance(rows, list) and all(_are_numbers(row) and len(row) == width for row in rows)
