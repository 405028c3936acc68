"""What molecules are worth: QED and logP are RDKit's, rewards are powers of values, and the cache changes none."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from marked_molecules import molecules
from rdkit import Chem
from rdkit.Chem import Crippen
from rdkit.Chem.QED import qed
from torch import Tensor

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.targets.molecules.proxies.base import BaseProxy
from gfn_vi.targets.molecules.proxies.cached import CachedProxy
from gfn_vi.targets.molecules.proxies.penalized_log_p import PenalizedLogP
from gfn_vi.targets.molecules.proxies.qed import QED


class Constant(BaseProxy):
    """The same value for every molecule."""

    value = 1.0

    def _values(self, molecules: Any) -> Tensor:
        return torch.tensor([1.0] * (len(molecules) - 1) + [self.value])


def test_log_reward_is_a_power_of_the_clamped_value() -> None:
    proxy = Constant(0.5, 4.0, 2.0)
    values = torch.tensor([-3.0, 0.0, 0.5, 1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    rewards = proxy.log_reward(values, 3.0).exp()
    torch.testing.assert_close(rewards, torch.tensor([0.25, 0.25, 0.25, 0.5, 1.0, 2.0, 2.0], dtype=torch.float64) ** 3)
    assert Constant(0.5, None, 2.0).log_reward(values[-1:], 2.0).exp().item() == pytest.approx(4.5**2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_smiles(value: float) -> None:
    proxy = Constant(0.5, None, 2.0)
    proxy.value = value
    with pytest.raises(RunError, match=rf"Constant is {value} for C1CCNCC1 \(not finite: 1 of 2\)"):
        proxy([Chem.MolFromSmiles("CCO"), Chem.MolFromSmiles("C1CNCCC1")])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ((0.0, None, 1.0), "target.proxy.floor=0.0"),
        ((math.inf, None, 1.0), "target.proxy.floor=inf"),
        ((1.0, 1.0, 1.0), "target.proxy.ceiling=1.0: expected a finite number above the floor, 1,"),
        ((1.0, math.inf, 1.0), "target.proxy.ceiling=inf"),
        ((1.0, None, 0.0), "target.proxy.scale=0.0"),
    ],
)
def test_bounds_that_make_no_reward_are_refused(keys: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Constant(*keys)
    with pytest.raises(ConfigError, match=said):
        QED(*keys, 10)


def test_without_rdkit_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ConfigError, match=r"pip install 'gfn_vi\[molecules\]'"):
        QED(0.01, None, 1.0, 10)


def test_qed_is_that_of_rdkit() -> None:
    values = QED(0.01, None, 1.0, 100)(molecules())
    assert values.tolist() == pytest.approx([qed(molecule) for molecule in molecules()], rel=1e-12)
    assert values.dtype == torch.float64


def test_penalized_log_p_is_its_three_terms() -> None:
    from rdkit.Contrib.SA_Score import sascorer

    rings = {"CCO": 0, "c1ccccc1": 0, "C1CCCCCCC1": 2, "C1CCCCCCCCC1CCC1CCCCC1": 4}
    batch = [Chem.MolFromSmiles(smiles) for smiles in rings]
    expected = [
        10.0 + Crippen.MolLogP(molecule) - sascorer.calculateScore(molecule) - ring
        for molecule, ring in zip(batch, rings.values(), strict=True)
    ]
    assert PenalizedLogP(0.1, None, 10.0, 10.0, 0)(batch).tolist() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ConfigError, match=r"target.proxy.shift=inf"):
        PenalizedLogP(0.1, None, 10.0, math.inf, 0)


# -- the cache ----------------------------------------------------------------------------------------------------------------


class Counted(CachedProxy):
    """The length of the SMILES, with a list of what was asked."""

    def __init__(self, cache_size: int) -> None:
        super().__init__(0.1, None, 1.0, cache_size)
        self.asked: list[list[str]] = []

    def _fresh(self, smiles: list[str]) -> list[float]:
        self.asked.append(smiles)
        return [float(len(text)) for text in smiles]


def test_a_molecule_that_comes_again_is_not_asked_again() -> None:
    proxy = Counted(3)
    batch = [Chem.MolFromSmiles(text) for text in ("OCC", "CCO", "C", "CC", "CCCC")]
    assert proxy(batch).tolist() == [3, 3, 1, 2, 4]  # more than are kept
    assert proxy.to("cpu")(batch[2:]).tolist() == [1, 2, 4]
    assert proxy([batch[1], batch[2]]).tolist() == [3, 1]
    assert proxy(batch[2:4]).tolist() == [1, 2]
    assert proxy.asked == [["CCO", "C", "CC", "CCCC"], ["CCO"], ["C"]]
    nothing_kept = Counted(0)
    nothing_kept(batch[:1]), nothing_kept(batch[:1])
    assert nothing_kept.asked == [["CCO"], ["CCO"]]
    with pytest.raises(ConfigError, match=r"target.proxy.cache_size=-1"):
        Counted(-1)


def test_a_value_does_not_depend_on_what_is_cached() -> None:
    """Not even in its last digits, which the order of atoms decides: a resumed run has an empty cache."""
    smiles = "COc1cc2c(cc1OC)CC(CNC(=O)c1ccc(S(=O)(=O)N3CCOCC3)cc1)CC2"
    molecule = Chem.MolFromSmiles(smiles)
    others = [
        Chem.RenumberAtoms(molecule, torch.randperm(molecule.GetNumAtoms(), generator=torch.Generator().manual_seed(i)).tolist())
        for i in range(20)
    ]
    assert len({qed(other) for other in others}) > 1
    assert len(set(QED(0.01, None, 1.0, 0)(others).tolist())) == 1
    assert len({float(QED(0.01, None, 1.0, 0)([other])) for other in others}) == 1
