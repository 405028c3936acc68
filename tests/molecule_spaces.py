"""Small spaces of molecules for tests: a target, the listing of the same molecules by force, and a map from one to the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from molecule_listing import SOURCE, Block, Drawing, Listing, Tree, fragment_numbers, write_blocks
from rdkit import Chem
from rdkit.Chem import QED
from torch import Tensor

from gfn_vi.targets.molecules.molecules import Molecules
from gfn_vi.targets.molecules.proxies.base import BaseProxy

BETA, FLOOR, SCALE = 3.0, 0.2, 0.9
# Sums of at most a few hundred products of at most seven factors, all in float64.
EXACT = {"rtol": 1e-10, "atol": 1e-13}


class DrugLikeness(BaseProxy):
    """QED of RDKit, so that the reward is that of the listing."""

    def __init__(self) -> None:
        super().__init__(floor=FLOOR, ceiling=None, scale=SCALE)

    def _values(self, molecules: Sequence[Chem.Mol]) -> Tensor:
        return torch.tensor([QED.qed(molecule) for molecule in molecules], dtype=torch.float64)


@cache
def log_reward(smiles: str) -> float:
    return BETA * (math.log(max(QED.qed(Chem.MolFromSmiles(smiles)), FLOOR)) - math.log(SCALE))


def make_molecules(
    blocks: Sequence[Block] | None, min_blocks: int, max_blocks: int, folder: Path, limit: int = 100_000
) -> Molecules:
    """Return the target; blocks: None for the project's own set."""
    path = None if blocks is None else str(write_blocks(blocks, folder / "blocks.json"))
    return Molecules(
        blocks=path,
        digest=None,
        min_blocks=min_blocks,
        max_blocks=max_blocks,
        proxy=DrugLikeness(),
        beta=BETA,
        max_enumerated_states=limit,
    )


class Reader:
    """Reads states of a target as trees, by its accessors alone; what they say must fit together."""

    def __init__(self, blocks: Sequence[Block], target: Molecules) -> None:
        """blocks: those of the target's file, in its order."""
        found = target.blocks
        kinds = [(found.kind_smiles[k], [int(a) for a in found.slot_atom[k] if a >= 0]) for k in range(target.n_kinds)]
        # the blocks first, so that fragments are numbered as the listing does
        numbers = fragment_numbers([*blocks, *kinds])
        self.blocks, self.target = blocks, target
        # a tree's blocks are kinds of the target, or block b of the file as n_kinds + b
        self.drawing = Drawing([*kinds, *blocks], [*numbers[len(blocks) :], *numbers[: len(blocks)]])

    def keys(self, states: Tensor) -> list[str]:
        """Return the listing's keys of states [M, N, .]."""
        return [self.key(tree) for tree in self.trees(states)]

    def key(self, tree: Tree) -> str:
        """Return the listing's key of a tree."""
        return self.drawing.marked(tree) if tree.blocks else SOURCE

    def attached(self, tree: Tree, stem: tuple[int, int], block: int) -> Tree:
        """Return the tree with a block of the file bonded to the stem (block of the tree, atom)."""
        return tree.grown(stem, self.target.n_kinds + block, self.blocks[block][1][0])

    def trees(self, states: Tensor) -> list[Tree]:
        """Return states [M, N, .] as trees of kinds."""
        target = self.target
        accessors = (target.kinds, target.links, target.free_stems, target.n_blocks)
        return [self._tree(*x) for x in zip(*(f(states).tolist() for f in accessors), strict=True)]

    def _tree(self, kinds: list[int], links: list[list[int]], free: list[list[bool]], n_blocks: int) -> Tree:
        n_slots, atoms = self.target.n_slots, self.target.blocks.slot_atom
        assert [k >= 0 for k in kinds] == [i < n_blocks for i in range(self.target.max_blocks)], "empty rows are the last"
        bonds = []
        for i, s in ((i, s) for i in range(len(kinds)) for s in range(n_slots)):
            there = kinds[i] >= 0 and s < sum(self.drawing.slots[kinds[i]].values())
            bonded = links[i][s] >= 0
            assert free[i][s] == (there and not bonded)
            if bonded:
                j, t = divmod(links[i][s], n_slots)
                assert there
                assert links[j][t] == i * n_slots + s, "a bond is seen from both ends"
                if j > i:
                    bonds.append((i, int(atoms[kinds[i]][s]), j, int(atoms[kinds[j]][t])))
        assert len(bonds) == max(0, n_blocks - 1), "a tree"
        return Tree(tuple(kinds[:n_blocks]), tuple(bonds))


class Space(Reader):
    """A target whose states can be listed, and the listing of its molecules by force."""

    def __init__(self, blocks: Sequence[Block], target: Molecules) -> None:
        super().__init__(blocks, target)
        self.listing = Listing(blocks, target.min_blocks, target.max_blocks)
        self.states = target.state_graph().states
        self.state_trees = self.trees(self.states)
        self.state_keys = [self.key(tree) for tree in self.state_trees]
        self.rows = {state: i for i, state in enumerate(map(tuple, self.states.flatten(1).tolist()))}

    def row(self, states: Tensor) -> list[int]:
        """Return the rows of the graph that hold these very tensors; an equal molecule as another one is a KeyError."""
        return [self.rows[state] for state in map(tuple, states.flatten(1).tolist())]

    def legal(self) -> list[tuple[int, int, int]]:
        """Return (row, action, row of the child) of all legal actions but stopping."""
        row, action = self.target.forward_mask(self.states)[:, :-1].nonzero(as_tuple=True)
        children = self.row(self.target.step(self.states[row], action))
        return list(zip(row.tolist(), action.tolist(), children, strict=True))

    def legal_backward(self) -> list[tuple[int, int, int]]:
        """Return (row, backward action, row of the parent) of all legal backward actions."""
        row, undo = self.target.backward_mask(self.states).nonzero(as_tuple=True)
        parents = self.row(self.target.backstep(self.states[row], undo))
        return list(zip(row.tolist(), undo.tolist(), parents, strict=True))
