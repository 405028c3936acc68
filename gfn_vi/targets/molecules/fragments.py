"""One entry of a block file as an RDKit fragment: what can be bonded to it, and its symmetries.

The marks of a fragment say how many slots each of its atoms has. Two entries are the same fragment where an isomorphism
(elements, bonds, charges, hydrogens) keeps the marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod
from typing import TYPE_CHECKING

from gfn_vi.core.errors import ConfigError, require

if TYPE_CHECKING:
    from rdkit.Chem import Mol, RWMol

KEY = "target.blocks"
MOST_PERMUTATIONS = 5000
MOST_MATCHES = 100_000


@dataclass(frozen=True, eq=False)
class Fragment:
    """A fragment with attachment atoms `attach` of its SMILES; an atom that occurs twice in it has two slots."""

    entry: str
    smiles: str
    attach: tuple[int, ...]
    molecule: Mol

    def refuse(self, expected: str) -> ConfigError:
        """Return the error that names this entry of the file."""
        return ConfigError(KEY, f"{self.entry} ({self.smiles})", expected)

    @property
    def marks(self) -> tuple[int, ...]:
        """Number of slots of each atom."""
        count = Counter(self.attach)
        return tuple(count[atom] for atom in range(self.molecule.GetNumAtoms()))


def fragment(entry: str, smiles: str, attach: tuple[int, ...]) -> Fragment:
    """Return the fragment. Raises ConfigError for one that nothing can be bonded to."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    found = f"{entry} ({smiles})"
    require(molecule is not None and molecule.GetNumAtoms() > 0, KEY, found, "RDKit reads no molecule here: correct the SMILES")
    require(len(Chem.GetMolFrags(molecule)) == 1, KEY, found, "a block is one connected fragment: write no dot in its SMILES")
    elements = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    expected = "it holds a dummy atom *: leave it out, and list the atom that it is bonded to as attachment atom"
    require(0 not in elements, KEY, found, expected)
    require(len(attach) > 0, KEY, found, "it has no attachment atoms: list one atom of its SMILES or more, counted from 0")
    outside = [atom for atom in attach if not 0 <= atom < len(elements)]
    expected = f"attachment atoms are numbers from 0 to {len(elements) - 1}, one for each atom of the SMILES, not {outside}"
    require(outside == [], KEY, found, expected)
    radicals = [atom for atom in dict.fromkeys(attach) if molecule.GetAtomWithIdx(atom).GetNumRadicalElectrons() > 0]
    expected = f"a bond takes the place of a hydrogen, and atoms {radicals} have unpaired electrons: write C, not [CH3]"
    require(radicals == [], KEY, found, expected)
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)  # of the file's own numbering, which says nothing of chemistry
    read = Fragment(entry, smiles, attach, molecule)
    _try_bonds(read)
    return read


def bond(molecule: RWMol, atom: int, other: int) -> None:
    """Add a single bond; either atom gives up a hydrogen that its SMILES states, as in [nH] and [NH3+]."""
    from rdkit import Chem

    molecule.AddBond(atom, other, Chem.BondType.SINGLE)
    for end in (atom, other):
        bonded = molecule.GetAtomWithIdx(end)
        if bonded.GetNumExplicitHs() > 0:
            bonded.SetNumExplicitHs(bonded.GetNumExplicitHs() - 1)


def _try_bonds(read: Fragment) -> None:
    """Bond a carbon to every slot at once. Raises ConfigError where RDKit refuses what comes out."""
    from rdkit import Chem, rdBase

    tried = Chem.RWMol(read.molecule)
    for atom in read.attach:
        bond(tried, atom, tried.AddAtom(Chem.Atom(6)))
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(tried)
    except (Chem.MolSanitizeException, ValueError) as error:
        slots = ", ".join(f"{count} at atom {atom}" for atom, count in sorted(Counter(read.attach).items()))
        why = f"bonds at all of its attachment atoms ({slots}) are more than its atoms allow: list fewer; RDKit: {error}"
        raise read.refuse(" ".join(why.split())) from None


def marked_smiles(read: Fragment) -> str:
    """Return the canonical SMILES with the marks as atom map numbers: equal for entries of one kind."""
    from rdkit import Chem

    marked = Chem.Mol(read.molecule)
    for atom, mark in zip(marked.GetAtoms(), read.marks, strict=True):
        atom.SetAtomMapNum(mark)
    return str(Chem.MolToSmiles(marked))


def isomorphisms(read: Fragment, other: Fragment) -> list[tuple[int, ...]]:
    """Return all isomorphisms that keep the marks: for each atom of `read`, the atom of `other`. The identity is among them
    where both are one fragment. Raises ConfigError where there are too many to list."""
    from rdkit import Chem

    colors: dict[tuple[int, int, int], int] = {}
    colored = [_colored(each, colors) for each in (read, other)]
    options = Chem.SubstructMatchParameters()
    for option, value in (("uniquify", False), ("maxMatches", MOST_MATCHES), ("useChirality", True)):
        setattr(options, option, value)
    found = colored[1].GetSubstructMatches(colored[0], options)
    if len(found) >= MOST_MATCHES:
        raise read.refuse(f"it has more than {MOST_MATCHES:,} symmetries, too many to list: take a less symmetric fragment")
    return [tuple(match) for match in found]


def _colored(read: Fragment, colors: dict[tuple[int, int, int], int]) -> Mol:
    """Return a copy whose isotopes tell apart what a match of RDKit would not: slots and hydrogens (charges it does)."""
    from rdkit import Chem

    copy = Chem.Mol(read.molecule)
    for atom, mark in zip(copy.GetAtoms(), read.marks, strict=True):
        color = (mark, atom.GetTotalNumHs(), atom.GetIsotope())
        atom.SetIsotope(colors.setdefault(color, len(colors) + 1))
    return copy


def slot_permutations(read: Fragment) -> list[tuple[int, ...]]:
    """Return the symmetries of the slots, the identity first: in each, the slot that slot s moves to.

    Slots are in the order of their atoms. Slots at one atom are interchangeable. Raises ConfigError for more than 5000.
    """
    slots = sorted(read.attach)
    atoms = sorted(set(slots))
    images = {tuple(match[atom] for atom in atoms) for match in isomorphisms(read, read)}
    n_found = len(images) * prod(factorial(slots.count(atom)) for atom in atoms)
    if n_found > MOST_PERMUTATIONS:
        expected = f"its attachment atoms have {n_found:,} symmetries, more than {MOST_PERMUTATIONS:,}: list fewer of them"
        raise read.refuse(expected)
    places = {atom: [slot for slot, at in enumerate(slots) if at == atom] for atom in atoms}
    found = {moved for image in images for moved in _moves(atoms, image, places)}
    identity = tuple(range(len(slots)))
    return [identity, *sorted(found - {identity})]


def _moves(atoms: list[int], image: tuple[int, ...], places: dict[int, list[int]]) -> Iterator[tuple[int, ...]]:
    """Yield the permutations of slots under which the slots of atoms[i] become those of image[i], in any order."""
    for orders in product(*(permutations(places[atom]) for atom in image)):
        move = {slot: to for atom, order in zip(atoms, orders, strict=True) for slot, to in zip(places[atom], order, strict=True)}
        yield tuple(move[slot] for slot in range(len(move)))
