"""RDKit molecules with free stems: every kind of bond and hybridization, elements in and out of the one-hot six."""

from __future__ import annotations

from rdkit import Chem

from gfn_vi.targets.molecules.proxies.atom_graphs import FREE_STEMS

# SMILES -> atoms with free attachment points.
MOLECULES = {
    "CC(=O)Oc1ccccc1C(=O)O": (0, 6),
    "N#Cc1c[nH]c2ccc(Br)cc12": (1,),
    "CS(=O)(=O)NCCP": (),
    "C": (0,),
    "FC(Cl)C#CI": (3,),
    "C1CCNCC1": (),
    "[O-][N+](=O)c1cccnc1": (5, 7, 8),
    "FS(F)(F)(F)(F)C": (6,),
}


def built(smiles: str, free: tuple[int, ...], hydrogens: bool = False) -> Chem.Mol:
    molecule = Chem.MolFromSmiles(smiles)
    if hydrogens:
        molecule = Chem.AddHs(molecule)
    for atom in molecule.GetAtoms():
        atom.SetIntProp(FREE_STEMS, 2 * (atom.GetIdx() in free))
    return molecule


def molecules() -> list[Chem.Mol]:
    return [*(built(smiles, free) for smiles, free in MOLECULES.items()), built("CCO", (2,), hydrogens=True)]
