"""Molecules of trees of blocks, against RDKit's own way of joining fragments; files of held-out molecules."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.assembly import Assembly, sdf, smiles
from gfn_vi.targets.molecules.block_set import BlockSet, read_block_set
from gfn_vi.targets.molecules.held_out import read_objects

# Hydrogens that the SMILES states, charges, sulfur and phosphorus without hydrogens, two slots at an atom, another spelling.
ENTRIES: list[tuple[str, list[int]]] = [
    ("c1ccccc1", [0, 1, 2, 3, 4, 5]),
    ("c1cn[nH]c1", [3, 0]),
    ("c1cn[nH]c1", [0, 3]),
    ("c1cc[nH+]cc1", [3, 1]),
    ("C[NH3+]", [0, 1, 1]),
    ("O=[NH+][O-]", [1]),
    ("O=S=O", [1]),
    ("O=PO", [1]),
    ("NC=O", [0, 1]),
    ("O=CN", [1, 2]),
    ("O", [0, 0]),
    ("F", [0]),
]
N = 6


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> BlockSet:
    path = tmp_path_factory.mktemp("blocks") / "blocks.json"
    path.write_text(json.dumps([{"smiles": smiles, "attach": attach} for smiles, attach in ENTRIES]))
    return read_block_set(str(path), None)


@dataclass
class Tree:
    """Blocks, and bonds (i, s, j, t) between slots of their kinds."""

    blocks: list[int]
    bonds: list[tuple[int, int, int, int]]


def grown(blocks: BlockSet, seed: int) -> Tree:
    """A tree of up to N blocks, by random attachments."""
    rng = random.Random(seed)
    tree = Tree([rng.randrange(blocks.n_blocks)], [])
    for j in range(1, rng.randint(1, N)):
        used = {(i, s) for a, s, b, t in tree.bonds for i, s in ((a, s), (b, t))}
        stems = [(i, s) for i, b in enumerate(tree.blocks) for s in range(int(blocks.n_slots_of[blocks.kind[b]]))]
        free = [stem for stem in stems if stem not in used]
        if not free:
            break
        stem, block = rng.choice(free), rng.randrange(blocks.n_blocks)
        tree.blocks.append(block)
        tree.bonds.append((*stem, j, int(blocks.way_slot[block])))
    return tree


def tensors(blocks: BlockSet, trees: list[Tree]) -> tuple[Tensor, Tensor]:
    kinds = torch.full((len(trees), N), -1)
    links = torch.full((len(trees), N, blocks.n_slots), -1)
    for m, tree in enumerate(trees):
        kinds[m, : len(tree.blocks)] = blocks.kind[tree.blocks]
        for i, s, j, t in tree.bonds:
            links[m, i, s], links[m, j, t] = j * blocks.n_slots + t, i * blocks.n_slots + s
    return kinds, links


def zipped(blocks: BlockSet, tree: Tree) -> str:
    """Canonical SMILES by RDKit's molzip, which joins fragments at numbered dummy atoms that stand for the bonds."""
    from rdkit import Chem

    parts = Chem.Mol()
    for i, block in enumerate(tree.blocks):
        kind = int(blocks.kind[block])
        part = Chem.RWMol(Chem.MolFromSmiles(blocks.kind_smiles[kind]))
        ends = [(s, n) for n, (a, s, _, _) in enumerate(tree.bonds) if a == i]
        ends += [(t, n) for n, (_, _, b, t) in enumerate(tree.bonds) if b == i]
        for slot, number in ends:
            dummy = Chem.Atom(0)
            dummy.SetAtomMapNum(number + 1)
            atom = part.GetAtomWithIdx(blocks.slot_atom[kind][slot])
            part.AddBond(atom.GetIdx(), part.AddAtom(dummy), Chem.BondType.SINGLE)
            atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - 1))
        Chem.SanitizeMol(part)
        parts = Chem.CombineMols(parts, part)
    return str(Chem.CanonSmiles(Chem.MolToSmiles(Chem.molzip(parts) if tree.bonds else parts)))


def line_of(blocks: BlockSet, tree: Tree, **more: object) -> str:
    """The tree as a line of a file, atoms counted in the SMILES of each entry."""

    def atom(i: int, slot: int) -> int:
        block = tree.blocks[i]
        return blocks.block_atoms[block].index(blocks.slot_atom[int(blocks.kind[block])][slot])

    bonds = [[i, j, atom(i, s), atom(j, t)] for i, s, j, t in tree.bonds]
    return json.dumps({"blocks": tree.blocks, "bonds": bonds, **more})


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (Tree([0], []), "c1ccccc1"),
        (Tree([0, 11], [(0, 0, 1, 0)]), "Fc1ccccc1"),
        (Tree([1, 0, 5], [(0, 1, 1, 0), (1, 3, 2, 0)]), "c1cnn(c1)-c1ccc(cc1)[N+](=O)[O-]"),
        (Tree([3, 11], [(0, 0, 1, 0)]), "c1(F)ccc[nH+]c1"),
        (Tree([3, 0], [(0, 1, 1, 0)]), "c1cc[n+](cc1)-c1ccccc1"),
        (Tree([4, 0, 0], [(0, 1, 1, 0), (0, 2, 2, 0)]), "C[NH+](c1ccccc1)c1ccccc1"),
        (Tree([6, 0], [(0, 0, 1, 0)]), "O=[SH](=O)c1ccccc1"),
        (Tree([7, 0], [(0, 0, 1, 0)]), "O=[PH](O)c1ccccc1"),
        (Tree([8, 0, 10, 11], [(0, 0, 1, 0), (0, 1, 2, 0), (2, 1, 3, 0)]), "c1ccccc1NC(=O)OF"),
    ],
)
def test_molecules_by_hand(blocks: BlockSet, tree: Tree, expected: str) -> None:
    from rdkit import Chem

    assert smiles(Assembly(blocks).of_trees(*tensors(blocks, [tree]))) == [Chem.CanonSmiles(expected)]


def test_no_blocks_are_no_atoms(blocks: BlockSet) -> None:
    assert smiles(Assembly(blocks).of_trees(*tensors(blocks, [Tree([], [])]))) == [""]


@pytest.mark.parametrize("own", [False, True])
def test_molecules_are_those_of_molzip(blocks: BlockSet, own: bool) -> None:
    """300 trees: molecule, free stems of its atoms, rows of its blocks."""
    used = read_block_set(None, None) if own else blocks
    trees = [grown(used, seed) for seed in range(300)]
    built = Assembly(used).of_trees(*tensors(used, trees))
    assert smiles(built) == [zipped(used, tree) for tree in trees]
    for molecule, tree in zip(built, trees, strict=True):
        atoms = list(molecule.GetAtoms())
        rows = [atom.GetIntProp("block") for atom in atoms]
        assert rows == sorted(rows)
        expected = Counter((i, s) for i, b in enumerate(tree.blocks) for s in used.slot_atom[int(used.kind[b])])
        for i, s, j, t in tree.bonds:
            expected.subtract([(row, used.slot_atom[int(used.kind[tree.blocks[row]])][slot]) for row, slot in ((i, s), (j, t))])
        places = [(row, index - rows.index(row)) for index, row in enumerate(rows)]
        found = Counter({place: atom.GetIntProp("free_stems") for place, atom in zip(places, atoms, strict=True)})
        assert +found == +expected


def test_symmetries_and_the_order_of_blocks_change_no_molecule(blocks: BlockSet) -> None:
    rng = random.Random(1)
    trees = [grown(blocks, seed) for seed in range(100)]
    moved = []
    for tree in trees:
        rows = rng.sample(range(len(tree.blocks)), len(tree.blocks))
        symmetries = []
        for block in tree.blocks:
            kind = blocks.kind[block]
            symmetries.append(rng.choice(blocks.permutations[kind][blocks.permutation_mask[kind]].tolist()))
        order = [tree.blocks[rows.index(row)] for row in range(len(rows))]
        moved.append(Tree(order, [(rows[i], symmetries[i][s], rows[j], symmetries[j][t]) for i, s, j, t in tree.bonds]))
    build = Assembly(blocks)
    assert smiles(build.of_trees(*tensors(blocks, trees))) == smiles(build.of_trees(*tensors(blocks, moved)))
    assert any(tree.bonds != other.bonds for tree, other in zip(trees, moved, strict=True))


def test_columns_of_states_hold_the_trees(blocks: BlockSet) -> None:
    """Column 0: kind + 1; columns 2 to S + 1: links + 1; the others are hashes, which chemistry does not read."""
    kinds, links = tensors(blocks, [grown(blocks, seed) for seed in range(20)])
    states = torch.cat([kinds[..., None] + 1, torch.full_like(kinds[..., None], 77), links + 1, torch.full_like(links, 78)], -1)
    build = Assembly(blocks)
    assert build.smiles(states) == smiles(build.molecules(states)) == smiles(build.of_trees(kinds, links))


def test_stereocenters_keep_their_hand_where_a_bond_takes_the_place_of_a_hydrogen(tmp_path: Path) -> None:
    from rdkit import Chem

    path = tmp_path / "blocks.json"
    path.write_text('[{"smiles": "C[C@H](N)O", "attach": [1]}, {"smiles": "F", "attach": [0]}]')
    found = read_block_set(str(path), None)
    assert smiles(Assembly(found).of_trees(*tensors(found, [Tree([0, 1], [(0, 0, 1, 0)])]))) == [Chem.CanonSmiles("C[C@](F)(N)O")]


def test_copies_build_the_same(blocks: BlockSet) -> None:
    """Though RDKit drops the properties of atoms from copies."""
    build, trees = Assembly(blocks), tensors(blocks, [grown(blocks, seed) for seed in range(5)])
    expected = smiles(build.of_trees(*trees))
    for other in (copy.deepcopy(build), pickle.loads(pickle.dumps(build))):
        assert smiles(other.of_trees(*trees)) == expected


def test_a_molecule_that_rdkit_refuses_is_named(blocks: BlockSet, capfd: pytest.CaptureFixture[str]) -> None:
    """Fluorine with two slots, which no file could have."""
    fluorine = int(blocks.kind[11])
    wrong = replace(blocks, slot_atom=tuple((0, 0) if k == fluorine else atoms for k, atoms in enumerate(blocks.slot_atom)))
    trees = tensors(blocks, [Tree([11, 0, 0], [(0, 0, 1, 0), (0, 1, 2, 0)])])
    with pytest.raises(
        ConfigError, match=r"^target.blocks=c1ccc\(Fc2ccccc2\)cc1: RDKit refuses .* F, c1ccccc1, c1ccccc1 "
    ) as caught:
        Assembly(wrong).of_trees(*trees)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_sdf_files_hold_the_molecules_and_their_fields(blocks: BlockSet) -> None:
    from rdkit import Chem

    built = Assembly(blocks).of_trees(*tensors(blocks, [grown(blocks, seed) for seed in range(10)]))
    read = Chem.SDMolSupplier()
    read.SetData(sdf(built, [{"log_R": 0.5 * m, "drawn": m} for m in range(10)]))
    assert [Chem.MolToSmiles(molecule) for molecule in read] == smiles(built)
    assert [(molecule.GetProp("log_R"), molecule.GetProp("drawn")) for molecule in read][3] == ("1.5", "3")
    assert all(molecule.GetNumConformers() == 0 for molecule in built)


def test_files_of_molecules_are_read(blocks: BlockSet, tmp_path: Path) -> None:
    """Slots at one atom are interchangeable, so molecules and free stems are compared, not slots. An empty line is skipped."""
    trees = [grown(blocks, seed) for seed in range(200)]
    path = tmp_path / "held_out.jsonl"
    path.write_text("\n\n".join(line_of(blocks, tree, reward=0.1) for tree in trees))
    kinds, links = read_objects(str(path), blocks, N)
    expected_kinds, expected_links = tensors(blocks, trees)
    assert torch.equal(kinds, expected_kinds)
    assert torch.equal((links >= 0).sum(-1), (expected_links >= 0).sum(-1))
    m, i, s = (links >= 0).nonzero().T
    j, t = links[m, i, s] // blocks.n_slots, links[m, i, s] % blocks.n_slots
    assert torch.equal(links[m, j, t], i * blocks.n_slots + s)
    build = Assembly(blocks)
    assert smiles(build.of_trees(kinds, links)) == smiles(build.of_trees(expected_kinds, expected_links))


def test_stems_that_agree_are_accepted_in_any_order(blocks: BlockSet, tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text('{"blocks": [9, 10], "bonds": [[0, 1, 1, 0]], "stems": [[1, 0], [0, 2]]}')
    kinds, links = read_objects(str(path), blocks, 2)
    assert kinds.tolist() == [[blocks.kind[9].item(), blocks.kind[10].item()]]
    assert (links >= 0).sum() == 2


UNREAD: list[tuple[Any, str]] = [
    ("{", "it is no JSON"),
    ("[]", "expected {"),
    ({"blocks": [0]}, "expected {"),
    ({"blocks": [0, 11], "bonds": [[0, 1, 0]]}, "expected {"),
    ({"blocks": [12], "bonds": []}, "there is no block 12, target.blocks has blocks 0 to 11"),
    ({"blocks": [-1], "bonds": []}, "there is no block -1"),
    ({"blocks": [0] * 5, "bonds": []}, "it has 5 blocks: set target.max_blocks=5"),
    ({"blocks": [0], "bonds": []}, "fewer than target.min_blocks=2"),
    ({"blocks": [], "bonds": []}, "it has 0 blocks"),
    ({"blocks": [0, 11], "bonds": [[0, 2, 0, 0]]}, r"bond \[0, 2, 0, 0\] is not between two of its 2 blocks"),
    ({"blocks": [0, 11], "bonds": [[0, 0, 0, 1]]}, "is not between two"),
    ({"blocks": [0, 11], "bonds": [[0, 1, 6, 0]]}, r"atom 6 of its blocks\[0\], block 0 \(c1ccccc1\), has no attachment left"),
    ({"blocks": [9, 11], "bonds": [[0, 1, 0, 0]]}, r"atom 0 of its blocks\[0\], block 9 \(O=CN\), has no attachment left"),
    ({"blocks": [0, 0, 11], "bonds": [[0, 2, 0, 0], [1, 2, 0, 0]]}, r"atom 0 of its blocks\[2\], block 11 \(F\), has no"),
    ({"blocks": [0, 0], "bonds": []}, "2 blocks and 0 bonds that are no tree"),
    ({"blocks": [0, 0, 0], "bonds": [[0, 1, 0, 0], [1, 0, 1, 1]]}, "no tree"),
    ({"blocks": [0, 0, 0], "bonds": [[0, 1, 0, 0], [1, 2, 1, 0], [2, 0, 1, 1]]}, "3 blocks and 3 bonds that are no tree"),
    ({"blocks": [4, 4], "bonds": [[0, 1, 1, 1]]}, "no order of attaching builds it"),
    ({"blocks": [10, 11], "bonds": [[0, 1, 0, 0]], "stems": []}, "stems are not what its bonds leave free"),
]


@pytest.mark.parametrize(("line", "words"), UNREAD)
def test_lines_that_are_refused(blocks: BlockSet, line: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    sound = '{"blocks": [0, 11], "bonds": [[0, 1, 0, 0]]}'
    path.write_text(f"{sound}\n\n{line if isinstance(line, str) else json.dumps(line)}\n{sound}")
    with pytest.raises(ConfigError, match=words) as caught:
        read_objects(str(path), blocks, max_blocks=4, min_blocks=2)
    assert caught.value.found == f"{path}, line 3"
    assert "\n" not in str(caught.value)


def test_a_tree_may_grow_from_any_of_its_blocks(blocks: BlockSet, tmp_path: Path) -> None:
    """Methylammonium is attached by its carbon only: bonded by its nitrogen it has to be the first block, wherever it stands."""
    path = tmp_path / "held_out.jsonl"
    path.write_text('{"blocks": [0, 11, 4], "bonds": [[0, 1, 0, 0], [0, 2, 1, 1]]}')
    kinds, _ = read_objects(str(path), blocks, 3)
    assert kinds.shape == (1, 3)
