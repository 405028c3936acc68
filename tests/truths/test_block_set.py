"""Block sets are what their files say: kinds, ways, slots, and the symmetries of slots against brute force."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.block_set import BlockSet, read_block_set

# Slots that are alike, or look it: rings, slots at one atom, broken mirrors, tautomers, cages, charges, hands, isotopes.
FRAGMENTS: list[tuple[str, list[int]]] = [
    ("c1ccccc1", [0, 1, 2, 3, 4, 5]),
    ("C1CCCCC1", [0, 0, 3, 3]),
    ("C1CCOC1", [0, 4, 1, 2, 4]),
    ("CN", [0, 1, 1]),
    ("c1c[nH]cn1", [0, 1, 3]),
    ("c1ccncc1", [0, 1, 2, 4, 5]),
    ("CC(C)(C)C", [0, 2, 3, 4]),
    ("C12C3C4C1C5C2C3C45", [0, 1, 2, 4]),
    ("NC(=[NH2+])N", [0, 2, 3]),
    ("OP(=O)([O-])O", [0, 4]),
    ("C[C@H](F)[C@@H](F)C", [0, 5]),
    ("C[C@H](F)[C@H](F)C", [0, 5]),
    ("[CH2-]CC[CH2+]", [1, 2]),
    ("[CH2-]CC[CH2]", [1, 2]),
    ("[13CH3]CC", [0, 2]),
    ("CC", [0, 0, 0, 1, 1, 1]),
]


def read(entries: Any, folder: Path) -> BlockSet:
    path = folder / "blocks.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return read_block_set(str(path), None)


def entry(smiles: str, *attach: int) -> dict[str, object]:
    return {"smiles": smiles, "attach": list(attach)}


def labelled(smiles: str, atoms: tuple[int, ...], labels: tuple[int, ...]) -> str:
    """Canonical SMILES of the fragment with a carbon of another isotope at each slot."""
    from rdkit import Chem

    molecule = Chem.RWMol(Chem.MolFromSmiles(smiles))
    for atom, label in zip(atoms, labels, strict=True):
        carbon = Chem.Atom(6)
        carbon.SetIsotope(20 + label)
        molecule.AddBond(atom, molecule.AddAtom(carbon), Chem.BondType.SINGLE)
        bonded = molecule.GetAtomWithIdx(atom)
        bonded.SetNumExplicitHs(max(0, bonded.GetNumExplicitHs() - 1))
    Chem.SanitizeMol(molecule)
    return str(Chem.MolToSmiles(molecule))


@pytest.mark.parametrize(("smiles", "attach"), FRAGMENTS)
def test_symmetries_are_those_relabellings_that_change_no_molecule(smiles: str, attach: list[int], tmp_path: Path) -> None:
    """Symmetry g moves slot s to g(s): labels moved with it give the same molecule. All relabellings are tried."""
    blocks = read([entry(smiles, *attach)], tmp_path)
    atoms = blocks.slot_atom[0]
    plain = tuple(range(len(atoms)))
    molecule = labelled(smiles, atoms, plain)
    expected = {labels for labels in itertools.permutations(plain) if labelled(smiles, atoms, labels) == molecule}
    found = [tuple(move) for move in blocks.permutations[0][blocks.permutation_mask[0]].tolist()]
    assert found[0] == plain
    assert len(found) == len(set(found))
    assert set(found) == expected  # a group holds the inverse of each, so labels may move either way


def test_symmetries_of_a_set_are_padded_with_the_identity_and_their_orbits_are_the_classes(tmp_path: Path) -> None:
    blocks = read([entry(smiles, *attach) for smiles, attach in FRAGMENTS], tmp_path)
    identity = torch.arange(blocks.n_slots)
    assert (blocks.permutations[~blocks.permutation_mask] == identity).all()
    assert blocks.permutation_mask[:, 0].all()
    assert (blocks.permutations.sort(-1).values == identity).all()
    assert blocks.n_slots_of.tolist() == [len(attach) for _, attach in FRAGMENTS]
    absent = identity >= blocks.n_slots_of[:, None]
    assert ((blocks.slot_class == -1) == absent).all()
    assert ((blocks.permutations == identity) | ~absent[:, None]).all()
    for kind, moves in enumerate(blocks.permutations):
        for one, two in itertools.product(range(int(blocks.n_slots_of[kind])), repeat=2):
            alike = bool((moves[:, one] == two).any())
            assert (blocks.slot_class[kind, one] == blocks.slot_class[kind, two]) == alike
    present = blocks.slot_class[~absent]
    assert sorted(set(present.tolist())) == list(range(blocks.n_classes))
    assert (blocks.class_kind[blocks.slot_class] == torch.arange(blocks.n_kinds)[:, None])[~absent].all()


def test_blocks_that_differ_in_the_first_attachment_atom_are_ways_of_one_kind(tmp_path: Path) -> None:
    """Also where the file spells the fragment in another way; other slots make another kind."""
    entries = [entry("CO", 0, 1), entry("CO", 1, 0, 0, 0), entry("OC", 0, 1), entry("c1ccccc1", 0, 1), entry("CO", 0, 0, 0, 1)]
    blocks = read(entries, tmp_path)
    assert blocks.kind.tolist() == [0, 1, 0, 2, 1]
    assert blocks.kind_smiles == ("CO", "CO", "c1ccccc1")
    assert blocks.slot_atom == ((0, 1), (0, 0, 0, 1), (0, 1))
    assert blocks.block_atoms == ((0, 1), (0, 1), (1, 0), (0, 1, 2, 3, 4, 5), (0, 1))
    assert blocks.slot_class.tolist() == [[0, 1, -1, -1], [2, 2, 2, 3], [4, 4, -1, -1]]
    assert blocks.way_class.tolist() == [0, 3, 1, 4, 2]
    assert blocks.slot_class[blocks.kind, blocks.way_slot].tolist() == blocks.way_class.tolist()
    assert blocks.class_block.tolist() == [0, 2, 4, 1, 3]
    assert blocks.first_block.tolist() == [0, 1, 3]
    assert (blocks.n_blocks, blocks.n_kinds, blocks.n_slots, blocks.n_classes) == (5, 3, 4, 5)


def test_atoms_of_a_block_are_those_of_its_kind(tmp_path: Path) -> None:
    blocks = read([entry("CCO", 0, 1, 2), entry("C(O)C", 0, 1, 2)], tmp_path)
    assert blocks.kind.tolist() == [0, 0]
    assert blocks.block_atoms == ((0, 1, 2), (1, 2, 0))


def test_a_class_without_a_block_has_none(tmp_path: Path) -> None:
    assert read([entry("CO", 1, 0)], tmp_path).class_block.tolist() == [-1, 0]


@pytest.mark.parametrize("as_lists", [False, True])
def test_published_columns_say_the_same_as_a_list(as_lists: bool, tmp_path: Path) -> None:
    smiles, attach, names = ["CO", "O=S=O", "CO"], [[0, 1], [1], [1, 0]], ["CO_0", "O=S=O_2", "CO_1"]
    columns = {"block_name": names, "block_smi": smiles, "block_r": attach}
    maps = {name: {str(number): value for number, value in enumerate(column)} for name, column in columns.items()}
    published = read(columns if as_lists else maps, tmp_path)
    rows = [{"smiles": s, "attach": a, "name": n} for s, a, n in zip(smiles, attach, names, strict=True)]
    listed = read(rows, tmp_path)
    for name, value in vars(published).items():
        other = getattr(listed, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_the_own_set_has_a_block_for_every_slot() -> None:
    blocks = read_block_set(None, None)
    assert blocks.n_kinds >= 20
    assert (blocks.class_block >= 0).all()
    assert len(set(blocks.names)) == blocks.n_blocks
    moved = blocks.to("meta")
    assert moved.kind.device.type == moved.permutation_mask.device.type == "meta"
    assert moved.names == blocks.names


REFUSED = [
    ("{", "this is no JSON"),
    ('{"a": 1}', "block_smi and block_r"),
    ("3", "expected a JSON list of"),
    ("[]", "it holds no blocks"),
    ([3], "block 0: 3: expected"),
    ([{"smiles": "C", "attach": [0], "atach": [1]}], "atach"),
    ([entry("C", True)], "attach counts atoms of the SMILES from 0"),
    ([{"smiles": "CO", "attach": [], "name": "methanol"}], r"block 0, methanol \(CO\): it has no attachment atoms"),
    ([entry("C", 0), entry("CO", 0, 2)], r"block 1 \(CO\): attachment atoms are numbers from 0 to 1, .* not \[2\]"),
    ('[{"smiles": "CO", "smiles": "CN", "attach": [0]}]', "its key smiles is there twice: write one"),
    ([entry("CO", -1)], r"not \[-1\]"),
    ([entry("c1cccc1", 0)], r"block 0 \(c1cccc1\): RDKit reads no molecule here"),
    ([entry("", 0)], "RDKit reads no molecule here"),
    ([entry("CC.O", 0)], "one connected fragment"),
    ([entry("*C", 1)], "dummy atom"),
    ([entry("F", 0, 0)], r"block 0 \(F\): bonds at all of its attachment atoms \(2 at atom 0\) are more than its atoms allow"),
    ([entry("c1ccccc1", 0, 0)], "more than its atoms allow"),
    (
        [entry("CCO", 0, 2), entry("OCC", 2, 0)],
        r"block 1 \(OCC\): .* same fragment as block 0 \(CCO, attach \[0, 2\]\): drop one",
    ),
    ([entry("CC", 0, 1), entry("CC", 1, 0)], "drop one of them"),
    ([entry("CC(C)(C)C", *[atom for atom in (0, 2, 3, 4) for _ in range(3)])], "31,104 symmetries, more than 5,000"),
    ({"block_smi": {"0": "C", "2": "O"}, "block_r": {"0": [0], "1": [0]}}, 'from "0" to "1"'),
    ({"block_smi": ["C", "O"], "block_r": [[0]]}, "block_r has 1 entries and block_smi 2"),
    ({"block_smi": "C", "block_r": [[0]]}, "block_smi has to be a list"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED)
def test_refused_files(content: Any, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line that names entry and fix; RDKit says nothing beside it."""
    with pytest.raises(ConfigError, match=words) as caught:
        read(content, tmp_path)
    assert caught.value.key == "target.blocks"
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_rdkit_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ConfigError, match=r"^target=molecules: RDKit is not installed: pip install 'gfn_vi\[molecules\]'$"):
        read_block_set(None, None)


def test_an_rdkit_that_cannot_be_imported_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rdkit").mkdir()
    (tmp_path / "rdkit" / "__init__.py").write_text("raise ImportError('libXrender.so.1: cannot open shared object file')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be imported \(libXrender.so.1: cannot open shared object file\): pip install"):
        read_block_set(None, None)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blocks.json"
    path.write_text('[{"smiles": "C", "attach": [0]}]')
    digest = user_files.digest(path.read_bytes())
    assert read_block_set(str(path), digest).n_blocks == 1
    path.write_text('[{"smiles": "N", "attach": [0]}]')
    with pytest.raises(ConfigError, match=f"its digest was {digest} and now is"):
        read_block_set(str(path), digest)
    with pytest.raises(ConfigError, match="there is no such file"):
        read_block_set(str(tmp_path / "none.json"), None)
