"""RDKit molecules as one flat graph of atoms, with the features that the pretrained sEH network was trained on.

Of the published code of arXiv 2106.04399. An atom has 71 features: 0-4 element H, C, N, O, F and 5 any other; 6 unused; 7 and 8
acceptor and donor, never set; 9 aromatic; 10-12 hybridization sp, sp2, sp3; 13 number of hydrogens; 14-69 one for each atomic
number from 1 to 56; 70 a free attachment point. In a molecule without free attachment points atom 0 has the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gfn_vi.core.errors import RunError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

N_FEATURES = 71
N_KINDS = 4
LARGEST_ATOMIC_NUMBER = 56
AROMATIC, HYDROGENS, FIRST_OF_ATOMIC_NUMBER, FREE = 9, 13, 14, 70
# The property of an atom that says how many of its attachment points are free.
FREE_STEMS = "free_stems"
# Atomic number -> feature, from 0 to 56.
ELEMENT = torch.full((LARGEST_ATOMIC_NUMBER + 1,), 5)
ELEMENT[[1, 6, 7, 8, 9]] = torch.arange(5)
# RDKit's number of a hybridization -> feature; a column that is cut off for all but sp, sp2 and sp3, which are 2, 3 and 4.
HYBRIDIZATION = torch.full((16,), N_FEATURES)
HYBRIDIZATION[2:5] = torch.tensor([10, 11, 12])
# Twice the order of a bond (an aromatic one has 1.5) -> single, double, triple, aromatic; -1 for what the network has not.
KIND = torch.tensor([-1, -1, 0, 3, 1, -1, 2, -1])


@dataclass(frozen=True)
class AtomGraphs:
    """The atoms of M molecules, one after the other, and their bonds in both directions.

    features: [n, 71] float32; source, target, kind: [2 bonds] long; n_atoms: [M] long.
    """

    features: Tensor
    source: Tensor
    target: Tensor
    kind: Tensor
    n_atoms: Tensor

    def to(self, device: torch.device) -> AtomGraphs:
        """Return the same graphs on a device."""
        return AtomGraphs(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def atom_graphs(molecules: Sequence[Mol]) -> AtomGraphs:
    """Return the graph of at least one sanitized molecule, on the CPU; atoms without the property have no free stems.

    Raises RunError for an element or a bond that the network does not know, with the SMILES.
    """
    from rdkit.Chem import GetAdjacencyMatrix

    atoms: list[list[int]] = []
    sizes, sources, targets, orders = [], [], [], []
    for molecule in molecules:
        first = len(atoms)
        atoms += _atoms(molecule)
        sizes.append(len(atoms) - first)
        order = torch.from_numpy(GetAdjacencyMatrix(molecule, useBO=True, force=True))  # not one from before a change
        source, target = order.nonzero(as_tuple=True)
        sources.append(source + first)
        targets.append(target + first)
        orders.append(order[source, target])
    number, hybridization, aromatic, hydrogens, free = torch.tensor(atoms).T
    kind = KIND[(2 * torch.cat(orders)).long().clamp(0, len(KIND) - 1)]
    n_atoms = torch.tensor(sizes)
    _check(molecules, n_atoms, ((number < 1) | (number > LARGEST_ATOMIC_NUMBER)).nonzero(), "an element beyond barium or none")
    _check(molecules, n_atoms, torch.cat(sources)[kind < 0], "a bond that is not single, double, triple or aromatic")
    columns = torch.stack([ELEMENT[number], HYBRIDIZATION[hybridization], FIRST_OF_ATOMIC_NUMBER + number - 1], 1)
    features = torch.zeros(len(atoms), N_FEATURES + 1).scatter_(1, columns, 1.0)
    features[:, AROMATIC], features[:, HYDROGENS], features[:, FREE] = aromatic.float(), hydrogens.float(), free.float()
    return AtomGraphs(features[:, :N_FEATURES], torch.cat(sources), torch.cat(targets), kind, n_atoms)


def _atoms(molecule: Mol) -> list[list[int]]:
    """Return atomic number, hybridization, aromatic, hydrogens (bonded atoms included) and free stem of each atom."""
    atoms = [
        [
            atom.GetAtomicNum(),
            int(atom.GetHybridization()),
            int(atom.GetIsAromatic()),
            atom.GetTotalNumHs(True),
            int(atom.HasProp(FREE_STEMS) and atom.GetIntProp(FREE_STEMS) > 0),
        ]
        for atom in molecule.GetAtoms()
    ]
    if not any(atom[-1] for atom in atoms):
        atoms[0][-1] = 1
    return atoms


def _check(molecules: Sequence[Mol], n_atoms: Tensor, wrong: Tensor, what: str) -> None:
    """Raises RunError where there are wrong atoms, given by their rows."""
    if wrong.numel() > 0:
        from rdkit.Chem import MolToSmiles

        molecule = int(torch.searchsorted(n_atoms.cumsum(0), wrong.flatten()[0], right=True))
        found = f"{MolToSmiles(molecules[molecule])} has {what}"
        raise RunError(f"target.proxy: {found}, which the network does not know; use another proxy, or leave out the block")
