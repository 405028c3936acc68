"""All molecules of a block set, listed by force: every block at every free stem, told apart by RDKit's canonical SMILES.

Nothing of gfn_vi is used. A molecule is a tree of blocks. Its key is the canonical SMILES of a marked molecule: the isotope of an
atom says which fragment it belongs to, a dummy atom at each free slot says that something can be attached there, and each bond
between two blocks passes through a dummy atom. Two trees have equal keys exactly if one can be laid on the other, fragment on
fragment, bond on bond and free slot on free slot. The key of nothing, the source, is the empty string.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rdkit import Chem

FREE, BOND = 901, 902  # isotopes of the dummy atoms at free slots and between two blocks
SOURCE = ""

Block = tuple[str, list[int]]  # SMILES; attachment atoms, of which the first is the one that it is attached through


@dataclass(frozen=True)
class Tree:
    """Blocks by number, and bonds (block i, atom in i, block j, atom in j)."""

    blocks: tuple[int, ...]
    bonds: tuple[tuple[int, int, int, int], ...] = ()

    def grown(self, stem: tuple[int, int], block: int, atom: int) -> Tree:
        """Return the tree with one more block, bonded through its atom to the stem (block, atom)."""
        return Tree((*self.blocks, block), (*self.bonds, (*stem, len(self.blocks), atom)))


class Drawing:
    """Trees of fragments as RDKit molecules. A fragment is (SMILES, attachment atoms); its number becomes an isotope."""

    def __init__(self, fragments: Sequence[tuple[str, Sequence[int]]], isotopes: Sequence[int]) -> None:
        self.parsed = [Chem.MolFromSmiles(smiles) for smiles, _ in fragments]
        self.slots = [Counter(atoms) for _, atoms in fragments]
        self.isotopes = isotopes

    def free(self, tree: Tree) -> list[tuple[int, int]]:
        """Return the free slots (block, atom), an atom with several of them several times."""
        return sorted(self.free_count(tree).elements())

    def free_count(self, tree: Tree) -> Counter[tuple[int, int]]:
        """Return the number of free slots at each (block, atom)."""
        count: Counter[tuple[int, int]] = Counter()
        for i, block in enumerate(tree.blocks):
            count.update({(i, atom): n for atom, n in self.slots[block].items()})
        for i, a, j, b in tree.bonds:
            count.subtract([(i, a), (j, b)])
        assert min(count.values()) >= 0, "a slot was used twice"
        return count

    def marked(self, tree: Tree) -> str:
        """Return the key of the tree. Hydrogens stay those of the fragments alone, so no chemistry enters."""
        drawn, offset = self._side_by_side(tree)
        for atom in drawn.GetAtoms():
            hydrogens = atom.GetTotalNumHs()
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(hydrogens)
        for i, block in enumerate(tree.blocks):
            for a in range(self.parsed[block].GetNumAtoms()):
                drawn.GetAtomWithIdx(offset[i] + a).SetIsotope(self.isotopes[block])
        ends = [(FREE, [offset[i] + a]) for i, a in self.free(tree)]
        ends += [(BOND, [offset[i] + a, offset[j] + b]) for i, a, j, b in tree.bonds]
        for isotope, atoms in ends:
            dummy = Chem.Atom(0)
            dummy.SetIsotope(isotope)
            dummy.SetNoImplicit(True)
            at = drawn.AddAtom(dummy)
            for a in atoms:
                drawn.AddBond(a, at, Chem.BondType.SINGLE)
        Chem.FastFindRings(drawn)
        return Chem.MolToSmiles(drawn)

    def molecule(self, tree: Tree) -> Chem.Mol:
        """Return the molecule that a chemist means, sanitized: a bond takes the place of a hydrogen."""
        drawn, offset = self._side_by_side(tree)
        for i, a, j, b in tree.bonds:
            ends = (offset[i] + a, offset[j] + b)
            drawn.AddBond(*ends, Chem.BondType.SINGLE)
            for atom in map(drawn.GetAtomWithIdx, ends):
                atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - 1))
        Chem.SanitizeMol(drawn)
        return drawn.GetMol()

    def _side_by_side(self, tree: Tree) -> tuple[Chem.RWMol, list[int]]:
        """Return the blocks without bonds between them, and the number of the first atom of each."""
        drawn, offset = Chem.RWMol(), []
        for block in tree.blocks:
            offset.append(drawn.GetNumAtoms())
            drawn.InsertMol(self.parsed[block])
        return drawn, offset


def fragment_numbers(fragments: Sequence[tuple[str, Sequence[int]]]) -> list[int]:
    """Return a number for each, equal where fragment and slots are the same up to an isomorphism: the first such, from 1."""
    alone = Drawing(fragments, [0] * len(fragments))
    keys = [alone.marked(Tree((b,))) for b in range(len(fragments))]
    return [1 + keys.index(key) for key in keys]


class Listing:
    """All molecules of 1 to max_blocks blocks, found by attaching every block to every free stem.

    A molecule without free stems that has fewer than min_blocks blocks could neither grow nor stop: it is not made.
    """

    def __init__(self, blocks: Sequence[Block], min_blocks: int, max_blocks: int) -> None:
        self.blocks, self.min_blocks, self.max_blocks = blocks, min_blocks, max_blocks
        self.drawing = Drawing(blocks, fragment_numbers(blocks))
        self.trees: dict[str, Tree] = {}
        self.children: dict[str, set[str]] = defaultdict(set)
        self.parents: dict[str, set[str]] = defaultdict(set)
        self.ways: Counter[tuple[str, str]] = Counter()  # (parent, child) -> pairs of a stem and a block that lead there
        self.stops: set[str] = set()
        front = [(SOURCE, Tree((b,))) for b in range(len(blocks))]
        while front:
            fresh = self._enter(front)
            front = [(key, grown) for key in fresh for grown in self._grown(self.trees[key])]

    def _enter(self, edges: list[tuple[str, Tree]]) -> list[str]:
        """Enter edges (key of the parent, child) and return the children that are new."""
        fresh = []
        for parent, tree in edges:
            key = self.drawing.marked(tree)
            if key not in self.trees:
                self.trees[key] = tree
                fresh.append(key)
                if len(tree.blocks) >= self.min_blocks:
                    self.stops.add(key)
            self.children[parent].add(key)
            self.parents[key].add(parent)
            self.ways[parent, key] += 1
        return fresh

    def _grown(self, tree: Tree) -> list[Tree]:
        """Return all trees with one block more, none at the limit; one that is too small to stop has to have a free stem."""
        if len(tree.blocks) == self.max_blocks:
            return []
        free = self.drawing.free
        grown = [tree.grown(stem, b, r[0]) for stem in free(tree) for b, (_, r) in enumerate(self.blocks)]
        return grown if len(tree.blocks) + 1 >= self.min_blocks else [child for child in grown if free(child)]

    @cached_property
    def states(self) -> list[str]:
        """The keys of all states, fewer blocks first, the source at the start."""
        return [SOURCE, *sorted(self.trees, key=lambda key: len(self.trees[key].blocks))]

    @cached_property
    def n_edges(self) -> int:
        """Number of pairs of a parent and a child."""
        return sum(map(len, self.children.values()))

    @property
    def sizes(self) -> dict[int, int]:
        """Return the number of molecules of each number of blocks."""
        return dict(Counter(len(tree.blocks) for tree in self.trees.values()))

    @cached_property
    def smiles(self) -> dict[str, str]:
        """The canonical SMILES of every molecule, which different trees may share."""
        return {key: Chem.MolToSmiles(self.drawing.molecule(tree)) for key, tree in self.trees.items()}

    def log_Z(self, log_reward: Callable[[str], float]) -> float:
        """Return the log of the sum of rewards, given as a function of the SMILES."""
        return math.log(math.fsum(math.exp(log_reward(self.smiles[key])) for key in sorted(self.stops)))

    def uniform_forward(self) -> dict[tuple[str, str], float]:
        """Return P_F of every edge where all children, and the end if it is allowed, are equally probable."""
        return {
            (parent, child): 1 / (len(children) + (parent in self.stops))
            for parent, children in self.children.items()
            for child in children
        }

    def terminating_probability(self, forward: Mapping[tuple[str, str], float]) -> dict[str, float]:
        """Return P_T of every molecule that can stop: visits times what no edge takes. `forward` is P_F of every edge."""
        visits: dict[str, float] = {SOURCE: 1.0}
        for key in self.states[1:]:
            visits[key] = math.fsum(visits[parent] * forward[parent, key] for parent in sorted(self.parents[key]))
        left = {key: 1 - math.fsum(forward[key, child] for child in self.children.get(key, ())) for key in self.stops}
        return {key: visits[key] * left[key] for key in self.stops}


def write_blocks(blocks: Sequence[Block], path: Path) -> Path:
    """Write a file of blocks in the published format and return its path."""
    columns = {
        "block_name": [f"{smiles}_{atoms[0]}" for smiles, atoms in blocks],
        "block_smi": [smiles for smiles, _ in blocks],
        "block_r": [atoms for _, atoms in blocks],
    }
    path.write_text(json.dumps({name: {str(i): x for i, x in enumerate(column)} for name, column in columns.items()}))
    return path
