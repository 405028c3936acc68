"""From trees of blocks to chemistry: RDKit molecules, canonical SMILES, SDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.block_set import BlockSet
from gfn_vi.targets.molecules.fragments import KEY, bond

if TYPE_CHECKING:
    from rdkit.Chem import Mol, RWMol


class Assembly:
    """Builds the molecules of a block set: blocks become fragments, bonded slots single bonds between their atoms.

    Atoms carry the int properties "block", the row that they come from, and "free_stems", how many of their slots are not bonded.
    """

    def __init__(self, blocks: BlockSet) -> None:
        """blocks: the set that kinds and slots are numbered by."""
        self._slot_atom, self._n_slots, self._smiles = blocks.slot_atom, blocks.n_slots, blocks.kind_smiles
        self._templates: dict[tuple[int, int], tuple[Mol, int]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the templates out of copies and pickles: RDKit would drop the properties of their atoms."""
        return {**self.__dict__, "_templates": {}}

    def molecules(self, states: Tensor) -> list[Mol]:
        """Return the sanitized molecules of states [M, N, 2 + 2 S]; a state without blocks is a molecule without atoms.

        Raises ConfigError, naming the SMILES, where RDKit refuses what the blocks make.
        """
        return self.of_trees(states[..., 0] - 1, states[..., 2 : 2 + self._n_slots] - 1)

    def smiles(self, states: Tensor) -> list[str]:
        """Return the canonical SMILES of states [M, N, 2 + 2 S]."""
        return smiles(self.molecules(states))

    def of_trees(self, kinds: Tensor, links: Tensor) -> list[Mol]:
        """Return the same of trees in any order of their blocks.

        kinds: [M, N] of each block, -1 for none; links: [M, N, S] -1 for a slot that is not bonded, j S + t for one that is
        bonded to slot t of block j. Every bond occurs at both of its ends.
        """
        return [self._molecule(*tree) for tree in zip(kinds.tolist(), links.tolist(), strict=True)]

    def _molecule(self, kinds: list[int], links: list[list[int]]) -> Mol:
        from rdkit import Chem, rdBase

        molecule = Chem.RWMol()
        offsets, n_atoms = [], 0
        for row, kind in enumerate(kinds):
            offsets.append(n_atoms)
            if kind >= 0:
                template, size = self._template(kind, row)
                molecule.InsertMol(template)
                n_atoms += size
        for row, kind in enumerate(kinds):
            for slot, link in enumerate(links[row]):
                if link > row * self._n_slots + slot:  # each bond once, from its earlier end
                    other, there = divmod(link, self._n_slots)
                    ends = offsets[row] + self._slot_atom[kind][slot], offsets[other] + self._slot_atom[kinds[other]][there]
                    bond(molecule, *ends)
                    for end in ends:
                        atom = molecule.GetAtomWithIdx(end)
                        atom.SetIntProp("free_stems", atom.GetIntProp("free_stems") - 1)
        try:
            with rdBase.BlockLogs():
                Chem.SanitizeMol(molecule)
        except (Chem.MolSanitizeException, ValueError) as error:
            raise self._refused(molecule, kinds, error) from None
        return molecule

    def _template(self, kind: int, row: int) -> tuple[Mol, int]:
        """Return the fragment of the kind as it goes into that row, its slots free, and its number of atoms."""
        from rdkit import Chem

        if (kind, row) not in self._templates:
            fragment = Chem.MolFromSmiles(self._smiles[kind])
            for atom in fragment.GetAtoms():
                atom.SetAtomMapNum(0)
                atom.SetIntProp("block", row)
                atom.SetIntProp("free_stems", self._slot_atom[kind].count(atom.GetIdx()))
            self._templates[kind, row] = fragment, fragment.GetNumAtoms()
        return self._templates[kind, row]

    def _refused(self, molecule: RWMol, kinds: list[int], error: Exception) -> ConfigError:
        from rdkit import Chem

        molecule.UpdatePropertyCache(strict=False)
        parts = ", ".join(self._smiles[kind] for kind in kinds if kind >= 0)
        why = f"RDKit refuses this molecule of the blocks {parts} ({error}): take out attachment atoms that do not fit together"
        return ConfigError(KEY, Chem.MolToSmiles(molecule), " ".join(why.split()))


def smiles(molecules: Sequence[Mol]) -> list[str]:
    """Return the canonical SMILES of each molecule, without the marks of its atoms."""
    from rdkit import Chem

    return [Chem.MolToSmiles(molecule) for molecule in molecules]


def sdf(molecules: Sequence[Mol], fields: Sequence[Mapping[str, object]]) -> str:
    """Return the molecules as the text of an SDF file, drawn in the plane, each with its data fields (name -> value)."""
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    records = []
    for molecule, values in zip(molecules, fields, strict=True):
        drawn = Chem.Mol(molecule)
        rdDepictor.Compute2DCoords(drawn)
        for name, value in values.items():
            drawn.SetProp(name, str(value))
        records.append(Chem.SDWriter.GetText(drawn))
    return "".join(records)
