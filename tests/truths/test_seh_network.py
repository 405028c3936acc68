"""The network for sEH is what its formulas say, molecule by molecule, atom by atom and bond by bond."""

from __future__ import annotations

import math

import pytest
import torch
from marked_molecules import built, molecules
from molecule_weights import random_weights, weights_file
from rdkit import Chem
from torch import Tensor

from gfn_vi.core.errors import RunError
from gfn_vi.targets.molecules.proxies.atom_graphs import FREE_STEMS, atom_graphs
from gfn_vi.targets.molecules.proxies.seh import SEHProxy
from gfn_vi.targets.molecules.proxies.seh_network import SEHNetwork

# -- the network, in the formulas of its papers, atom by atom and bond by bond -----------------------------------------------


def features(molecule: Chem.Mol) -> list[Tensor]:
    """The input of each atom, found in other ways: hydrogens are counted where they are all drawn."""
    drawn = Chem.AddHs(molecule)
    free = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetIntProp(FREE_STEMS) > 0] or [0]
    rows = []
    for atom in molecule.GetAtoms():
        x = torch.zeros(71, dtype=torch.float64)
        symbol = atom.GetSymbol()
        x["HCNOF".index(symbol) if symbol in "HCNOF" else 5] = 1
        x[9] = atom.GetIsAromatic()
        if str(atom.GetHybridization()) in ("SP", "SP2", "SP3"):
            x[9 + ("SP", "SP2", "SP3").index(str(atom.GetHybridization())) + 1] = 1
        x[13] = sum(n.GetSymbol() == "H" for n in drawn.GetAtomWithIdx(atom.GetIdx()).GetNeighbors())
        x[13 + Chem.GetPeriodicTable().GetAtomicNumber(symbol)] = 1
        x[70] = atom.GetIdx() in free
        rows.append(x)
    return rows


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def by_hand(molecule: Chem.Mol, w: dict[str, Tensor]) -> float:
    """The output for one molecule, with the edge network evaluated for every bond and step."""
    h = [leaky(w["lin0.weight"] @ x + w["lin0.bias"]) for x in features(molecule)]
    bonds = []
    for bond in molecule.GetBonds():
        kind = torch.zeros(4, dtype=torch.float64)
        kind[("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC").index(str(bond.GetBondType()))] = 1
        matrix = (w["edge.2.weight"] @ leaky(w["edge.0.weight"] @ kind + w["edge.0.bias"]) + w["edge.2.bias"]).view(64, 64)
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds += [(i, j, matrix), (j, i, matrix)]
    for _ in range(12):
        messages = []
        for i in range(len(h)):
            incoming = [h[j] @ matrix for j, k, matrix in bonds if k == i]
            mean = sum(incoming) / len(incoming) if incoming else 0.0
            messages.append(leaky(mean + w["root.weight"] @ h[i] + w["root.bias"]))
        h = [gru(m, state, w) for m, state in zip(messages, h, strict=True)]
    q = r = c = torch.zeros(64, dtype=torch.float64)
    for _ in range(3):
        q, c = lstm(torch.cat([q, r]), q, c, w)
        attention = [math.exp(float(q @ x)) for x in h]
        r = sum(a * x for a, x in zip(attention, h, strict=True)) / sum(attention)  # type: ignore[assignment]
    return float(w["lin3.weight"][0] @ torch.cat([q, r]) + w["lin3.bias"][0])


def gru(x: Tensor, h: Tensor, w: dict[str, Tensor]) -> Tensor:
    of_x = (w["gru.weight_ih"] @ x + w["gru.bias_ih"]).view(3, 64)
    of_h = (w["gru.weight_hh"] @ h + w["gru.bias_hh"]).view(3, 64)
    reset, update = 1 / (1 + (-of_x[:2] - of_h[:2]).exp())
    return (1 - update) * (of_x[2] + reset * of_h[2]).tanh() + update * h


def lstm(x: Tensor, h: Tensor, c: Tensor, w: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    i, f, g, o = (w["lstm.weight_ih"] @ x + w["lstm.bias_ih"] + w["lstm.weight_hh"] @ h + w["lstm.bias_hh"]).view(4, 64)
    c = c / (1 + (-f).exp()) + g.tanh() / (1 + (-i).exp())
    return c.tanh() / (1 + (-o).exp()), c


def test_features_are_those_of_the_published_code() -> None:
    graphs = atom_graphs(molecules())
    assert torch.equal(graphs.features.double(), torch.stack([x for molecule in molecules() for x in features(molecule)]))
    assert graphs.n_atoms.tolist() == [molecule.GetNumAtoms() for molecule in molecules()]


def test_the_network_equals_its_formulas_molecule_by_molecule() -> None:
    weights = random_weights()
    values = SEHNetwork(weights)(atom_graphs(molecules()))
    expected = torch.tensor([by_hand(molecule, weights) for molecule in molecules()], dtype=torch.float64)
    assert expected.std() > 0.01
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-12)


def test_a_value_depends_neither_on_the_batch_nor_on_the_order_of_atoms() -> None:
    network = SEHNetwork(random_weights())
    batch = molecules()
    values = network(atom_graphs(batch))
    alone = torch.cat([network(atom_graphs([molecule])) for molecule in batch])
    torch.testing.assert_close(alone, values, rtol=1e-11, atol=1e-13)
    generator = torch.Generator().manual_seed(1)
    for molecule, value in zip(batch, values, strict=True):
        free = any(atom.GetIntProp(FREE_STEMS) for atom in molecule.GetAtoms())
        order = torch.randperm(molecule.GetNumAtoms(), generator=generator).tolist()
        if free:  # without, the mark is on the first atom, whichever that is
            other = network(atom_graphs([Chem.RenumberAtoms(molecule, order)]))
            torch.testing.assert_close(other[0], value, rtol=1e-11, atol=1e-13)


def test_free_attachment_points_are_seen() -> None:
    proxy = SEHProxy(0.1, None, 8.0, weights_file(), None)
    assert proxy.sees_stems
    first, second = proxy([built("CCO", (0,)), built("CCO", (2,))])
    assert abs(first - second) > 1e-4
    marked, unmarked = proxy([built("CCO", (0,)), built("CCO", ())])
    assert marked == unmarked


def test_the_proxy_is_the_network_in_single_precision() -> None:
    proxy = SEHProxy(0.1, None, 8.0, weights_file(), None).to("cpu")
    values = proxy(molecules())
    assert values.dtype == torch.float64
    assert not values.requires_grad
    assert proxy([]).shape == (0,)
    torch.testing.assert_close(values, SEHNetwork(random_weights())(atom_graphs(molecules())), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("smiles", "said"), [("C[Hg]C", r"\[CH3\]\[Hg\]\[CH3\] has an element"), ("*CC", r"\*CC has an element")]
)
def test_what_the_network_does_not_know_is_named(smiles: str, said: str) -> None:
    proxy = SEHProxy(0.1, None, 8.0, weights_file(), None)
    with pytest.raises(RunError, match=said):
        proxy([Chem.MolFromSmiles("CCO"), Chem.MolFromSmiles(smiles), Chem.MolFromSmiles("C")])


def test_a_bond_that_the_network_does_not_know_is_named() -> None:
    molecule = Chem.MolFromSmiles("C$C", sanitize=False)
    molecule.UpdatePropertyCache(strict=False)
    with pytest.raises(RunError, match=r"C\$C has a bond that is not single, double, triple or aromatic"):
        atom_graphs([Chem.MolFromSmiles("CCO"), molecule])
