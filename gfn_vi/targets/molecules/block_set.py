"""A set of building blocks: its kinds, slots, ways of attaching and symmetries, as tensors.

A block is a fragment (SMILES) with attachment atoms; an atom that is listed twice can bear two bonds. Each unit of
attachment is a slot. Blocks with the same fragment and the same slots are ways of attaching one kind: block b bonds by its first
attachment atom, the other slots stay free. A slot class is an orbit of a kind's slots under the symmetries of its fragment.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.targets.molecules.block_files import read_entries
from gfn_vi.targets.molecules.fragments import Fragment, fragment, isomorphisms, marked_smiles, slot_permutations
from gfn_vi.targets.molecules.installed import require_rdkit


@dataclass(frozen=True, eq=False)
class BlockSet:
    """B blocks of K kinds with at most S slots each, in Q slot classes. Numbers are int64; -1 is "none".

    smiles, names: [B] of the file; kind_smiles: [K] SMILES of each kind's first block; slot_atom: [K] its atom of each slot;
    block_atoms: [B] for each atom of the block's own SMILES, the atom of its kind's SMILES.
    kind: [B]; way_class: [B] slot class that the block bonds by; way_slot: [B] a slot of that class.
    slot_class: [K, S]; class_kind: [Q]; class_block: [Q] the block that attaches through the class, if any.
    first_block: [K] lowest block of the kind; n_slots_of: [K].
    permutations: [K, G, S] slot that symmetry g moves slot s to, the identity first; permutation_mask: [K, G] whether it exists.
    A slot that is absent moves to itself, and so does every slot where there is no such symmetry.
    """

    smiles: tuple[str, ...]
    names: tuple[str, ...]
    kind_smiles: tuple[str, ...]
    slot_atom: tuple[tuple[int, ...], ...]
    block_atoms: tuple[tuple[int, ...], ...]
    kind: Tensor
    way_class: Tensor
    way_slot: Tensor
    slot_class: Tensor
    class_kind: Tensor
    class_block: Tensor
    first_block: Tensor
    n_slots_of: Tensor
    permutations: Tensor
    permutation_mask: Tensor

    @property
    def n_blocks(self) -> int:
        """Number of blocks, B."""
        return len(self.smiles)

    @property
    def n_kinds(self) -> int:
        """Number of kinds, K."""
        return len(self.kind_smiles)

    @property
    def n_slots(self) -> int:
        """Most slots of any kind, S."""
        return self.slot_class.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of slot classes of all kinds together, Q."""
        return len(self.class_kind)

    def to(self, device: torch.device | str) -> BlockSet:
        """Return the same set with its tensors on the device."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)


def read_block_set(path: str | None, digest: str | None) -> BlockSet:
    """Return the blocks of a JSON file; None: the project's own. digest: the file's when the run was named, or None for any.

    Raises ConfigError("target.blocks") for a file or an entry that no molecule can be built from.
    """
    require_rdkit()
    entries = read_entries(path, digest)
    blocks = [fragment(entry.where, entry.smiles, entry.attach) for entry in entries]
    kind_of, block_atoms = _kinds(blocks)
    firsts = [kind_of.index(kind) for kind in range(max(kind_of) + 1)]
    slot_atom = tuple(tuple(sorted(blocks[first].attach)) for first in firsts)
    symmetries = [slot_permutations(blocks[first]) for first in firsts]
    n_slots, n_permutations = max(map(len, slot_atom)), max(map(len, symmetries))
    slot_class = torch.full((len(firsts), n_slots), -1)
    permutations = torch.arange(n_slots).expand(len(firsts), n_permutations, n_slots).clone()
    permutation_mask = torch.zeros(len(firsts), n_permutations, dtype=torch.bool)
    class_kind: list[int] = []
    for kind, found in enumerate(symmetries):
        moves = torch.tensor(found)
        permutations[kind, : len(found), : moves.shape[1]] = moves
        permutation_mask[kind, : len(found)] = True
        least, number = moves.amin(0).unique(return_inverse=True)  # the lowest slot of the orbit stands for it
        slot_class[kind, : moves.shape[1]] = len(class_kind) + number
        class_kind += [kind] * len(least)
    way_slot = [slot_atom[kind].index(block_atoms[b][blocks[b].attach[0]]) for b, kind in enumerate(kind_of)]
    way_class = slot_class[torch.tensor(kind_of), torch.tensor(way_slot)]
    return BlockSet(
        smiles=tuple(block.smiles for block in blocks),
        names=tuple(entry.name for entry in entries),
        kind_smiles=tuple(blocks[first].smiles for first in firsts),
        slot_atom=slot_atom,
        block_atoms=tuple(block_atoms),
        kind=torch.tensor(kind_of),
        way_class=way_class,
        way_slot=torch.tensor(way_slot),
        slot_class=slot_class,
        class_kind=torch.tensor(class_kind),
        class_block=_block_of_class(blocks, way_class.tolist(), len(class_kind)),
        first_block=torch.tensor(firsts),
        n_slots_of=torch.tensor([len(atoms) for atoms in slot_atom]),
        permutations=permutations,
        permutation_mask=permutation_mask,
    )


def _kinds(blocks: list[Fragment]) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the kind of each block, numbered as they come, and for each atom of the block the atom of the kind's first one."""
    firsts: dict[str, int] = {}
    number: dict[int, int] = {}
    kind_of, block_atoms = [], []
    for b, block in enumerate(blocks):
        first = firsts.setdefault(marked_smiles(block), b)
        kind_of.append(number.setdefault(first, len(number)))
        own = tuple(range(len(block.marks)))
        same = first == b or (block.smiles, block.marks) == (blocks[first].smiles, blocks[first].marks)
        block_atoms.append(own if same else isomorphisms(block, blocks[first])[0])
    return kind_of, block_atoms


def _block_of_class(blocks: list[Fragment], way_class: list[int], n_classes: int) -> Tensor:
    """Return the block that attaches through each class, or -1. Raises ConfigError where two do."""
    class_block = torch.full((n_classes,), -1)
    for b, through in enumerate(way_class):
        twin = int(class_block[through])
        if twin >= 0:
            other = f"{blocks[twin].entry} ({blocks[twin].smiles}, attach {list(blocks[twin].attach)})"
            expected = (
                f"attach {list(blocks[b].attach)} is the same way of attaching the same fragment as {other}: drop one of them"
            )
            raise blocks[b].refuse(expected)
        class_block[through] = b
    return class_block
