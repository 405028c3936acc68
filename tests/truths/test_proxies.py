"""What molecules are worth: QED and logP are RDKit's, the network is what its formulas say, and files hold arrays only."""

from __future__ import annotations

import gzip
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from molecule_weights import random_weights, weights_file
from rdkit import Chem
from rdkit.Chem import Crippen
from rdkit.Chem.QED import qed
from torch import Tensor

from gfn_vi import resolvers
from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.targets.molecules.proxies.atom_graphs import FREE_STEMS, atom_graphs
from gfn_vi.targets.molecules.proxies.base import BaseProxy
from gfn_vi.targets.molecules.proxies.cached import CachedProxy
from gfn_vi.targets.molecules.proxies.penalized_log_p import PenalizedLogP
from gfn_vi.targets.molecules.proxies.qed import QED
from gfn_vi.targets.molecules.proxies.seh import SEHProxy
from gfn_vi.targets.molecules.proxies.seh_network import ENTRIES, SEHNetwork
from gfn_vi.targets.molecules.proxies.user_function import TRIALS, UserFunction
from gfn_vi.targets.molecules.proxies.weights import read_weights

# SMILES -> atoms with free attachment points. Every kind of bond and hybridization, elements in and out of the one-hot six.
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


# -- files of weights ---------------------------------------------------------------------------------------------------------


def arrays() -> list[np.ndarray]:
    return [weight.numpy() for weight in random_weights(torch.float32).values()]


def read(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    return read_weights(str(path), digest, ENTRIES, "target.proxy.weights")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_are_read_whatever_the_protocol(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps(arrays(), protocol)
    (tmp_path / "plain.pkl").write_bytes(content)
    (tmp_path / "packed.pkl.gz").write_bytes(gzip.compress(content, 1))
    (tmp_path / "named.pkl").write_bytes(pickle.dumps(dict(zip(ENTRIES, arrays(), strict=True)), protocol))
    for path in tmp_path.iterdir():
        found = read(path)
        assert all(torch.equal(found[name], weight) for name, weight in random_weights(torch.float32).items())


def test_archives_are_read_by_name_or_in_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "in_order.npz", *arrays())
    for path in (tmp_path / "in_order.npz", Path(weights_file())):
        found = read(path)
        assert all(torch.equal(found[name], weight) for name, weight in random_weights(torch.float32).items())


class Evil:
    """Whose pickle makes a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_here",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, held in {"alone.pkl": Evil(), "among.pkl": [*arrays()[:-1], Evil()]}.items():
        Path(name).write_bytes(pickle.dumps(held))
        with pytest.raises(ConfigError, match=rf"target.proxy.weights={name}: expected arrays .* it asks for {os.name}.mkdir"):
            read(Path(name))
    np.savez("objects.npz", *arrays()[:-1], np.array([Evil()], dtype=object))
    with pytest.raises(ConfigError, match="holds more than arrays"):
        read(Path("objects.npz"))
    assert not Path("was_here").exists()


def changed(place: int, array: Any) -> bytes:
    return pickle.dumps([*arrays()[:place], array, *arrays()[place + 1 :]])


BAD_FILES = {
    r"expected 22 arrays, lin0.weight to lin3.bias; it has 21": lambda: pickle.dumps(arrays()[:-1]),
    r"it holds one ndarray": lambda: pickle.dumps(arrays()[0]),
    r"expected 22 arrays, .*; it has a, b": lambda: pickle.dumps({"a": arrays()[0], "b": 1}),
    r"entry 3 \(root.bias\) has the shape \[63\]: expected \[64\]": lambda: changed(3, arrays()[3][:-1]),
    r"entry 2 \(root.weight\) is list: expected an array": lambda: changed(2, [[1.0]]),
    r"entry 21 \(lin3.bias\) is an array of int64": lambda: changed(21, np.array([1])),
    r"entry 21 \(lin3.bias\) is not finite": lambda: changed(21, np.array([np.inf])),
    r"expected arrays and nothing else": lambda: b"just some text",
    r"the file is damaged": lambda: gzip.compress(pickle.dumps(arrays()))[:-100],
    r"damaged, or holds": lambda: b"PK nothing",
    r"the file is empty": lambda: b"",
}


@pytest.mark.parametrize("said", BAD_FILES)
def test_a_file_that_is_no_such_network_is_refused_with_the_entry(said: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(BAD_FILES[said]())
    with pytest.raises(ConfigError, match=rf"^target.proxy.weights=.*weights: .*{said}") as caught:
        read(tmp_path / "weights")
    assert "\n" not in str(caught.value)


def test_weights_are_needed_and_belong_to_the_run() -> None:
    with pytest.raises(ConfigError, match=r"target.proxy.weights=None: expected the file of the pretrained network: best_params"):
        SEHProxy(0.1, None, 8.0, None, None)
    found = resolvers.digest(weights_file(), "target.proxy.weights")
    SEHProxy(0.1, None, 8.0, weights_file(), found)
    with pytest.raises(ConfigError, match="its digest was 0123 and now is"):
        SEHProxy(0.1, None, 8.0, weights_file(), "0123")
    with pytest.raises(ConfigError, match=r"target.proxy.weights=nowhere: there is no such file"):
        resolvers.digest("nowhere", "target.proxy.weights")
    assert resolvers.digest(None, "target.proxy.weights") is None


# -- values and rewards -------------------------------------------------------------------------------------------------------


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


# -- functions of the user's --------------------------------------------------------------------------------------------------

FUNCTIONS = f"""
import math, random
import numpy, torch
TRIALS = {TRIALS!r}
def n_atoms(molecules): return [m.GetNumAtoms() for m in molecules]
def array(smiles): return numpy.array([len(s) for s in smiles], dtype="float32")
def tensor(smiles): return torch.tensor([len(s) for s in smiles])
def number(smiles): return 1.0
def scalar(smiles): return numpy.float64(1.0)
def short(smiles): return [1.0] * (len(smiles) - 1)
def column(smiles): return numpy.ones((len(smiles), 1))
def texts(smiles): return ["1.0" for s in smiles]
def nothing(smiles): return None
def some(smiles): return [None if "[nH]" in s else 1.0 for s in smiles]
def missing(smiles): return [math.nan if "S" in s else 1.0 for s in smiles]
def raising(smiles): return [1 / (len(s) - 9) for s in smiles]
def only_alone(smiles): assert len(smiles) == 1; return [1.0]
def noisy(smiles): return [random.random() for s in smiles]
def late(smiles): return [1.0 if s in TRIALS else (1 / 0 if "Br" in s else math.inf) for s in smiles]
NOT_CALLABLE = 3
"""
# Without imports that take their time in every process.
OF_PROCESSES = f"""
import os
TRIALS = {TRIALS!r}
def process(smiles):
    if "CCBr" in smiles: raise ValueError("bromide")
    if "CCI" in smiles: os._exit(3)
    return [1.0 if s in TRIALS else 100.0 * os.getpid() + len(s) for s in smiles]
"""
REFUSED = {
    "number": "returned float for a list of 5: expected a list of as many numbers",
    "scalar": "returned a float64 without axes for a list of 5",
    "short": "returned 4 values for a list of 5: expected one for each",
    "column": r"returned list for O=C\(O\)c1ccccc1: expected a number",
    "texts": r"returned str for O=C\(O\)c1ccccc1",
    "nothing": "returned NoneType for a list of 5",
    "some": r"returned NoneType for c1ccc2\[nH\]ccc2c1",
    "missing": r"is nan for CS\(N\)\(=O\)=O",
    "raising": "raises on CN1CCNCC1: ZeroDivisionError: .*my_values.py, line [0-9]+$",
    "only_alone": r"raises on a list of 5, though on none of them alone; the first is O=C\(O\)c1ccccc1: AssertionError",
    "noisy": r"gives O=C\(O\)c1ccccc1 the value .* without randomness",
    "NOT_CALLABLE": "there is no function NOT_CALLABLE in my_values",
}


@pytest.fixture
def my_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_values.py").write_text(FUNCTIONS)
    (tmp_path / "my_processes.py").write_text(OF_PROCESSES)
    for name in ("my_values", "my_processes"):  # of another test's folder
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "my_values.py"


def of_function(name: str, takes: str = "smiles", digest: str | None = None) -> UserFunction:
    return UserFunction(f"my_values.{name}", takes, 0, 0.1, None, 1.0, 100, digest)


@pytest.mark.usefixtures("my_values")
def test_a_users_function_gets_canonical_smiles_or_molecules() -> None:
    batch = [Chem.MolFromSmiles(text) for text in ("OCC", "C1=CC=CC=C1", "CCO")]
    assert of_function("array")(batch).tolist() == of_function("tensor")(batch).tolist() == [3, 8, 3]
    assert of_function("n_atoms", "molecules")(batch).tolist() == [3, 6, 3]
    with pytest.raises(ConfigError, match=r"target.proxy.takes=atoms: expected smiles or molecules"):
        of_function("array", "atoms")


@pytest.mark.usefixtures("my_values")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_value_is_refused_when_the_target_is_built(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^target.proxy.function=my_values.{name}: {REFUSED[name]}") as caught:
        of_function(name)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("my_values")
def test_what_fails_later_is_named_with_its_smiles() -> None:
    proxy = of_function("late")
    with pytest.raises(RunError, match=r"^target.proxy.function=my_values.late: raises on CCBr: ZeroDivisionError"):
        proxy([Chem.MolFromSmiles(TRIALS[0]), Chem.MolFromSmiles("CCBr")])
    with pytest.raises(RunError, match="is inf for CCO: expected finite values"):
        proxy([Chem.MolFromSmiles("CCO")])


def test_a_changed_function_is_another_run(my_values: Path) -> None:
    digest = resolvers.source_digest("my_values.array")
    assert digest == user_files.digest(my_values.read_bytes())
    of_function("array", digest=digest)
    my_values.write_text(FUNCTIONS + "# changed\n")
    with pytest.raises(ConfigError, match=r"target.proxy.function=my_values.array: its module has changed: its digest was"):
        of_function("array", digest=digest)


@pytest.mark.usefixtures("my_values")
def test_worker_processes_share_a_batch_and_what_fails_in_them_is_named() -> None:
    proxy = UserFunction("my_processes.process", "smiles", 2, 0.1, None, 1.0, 100, None)
    batch = [Chem.MolFromSmiles("C" * n) for n in range(1, 6)]
    processes, lengths = zip(*(divmod(value, 100) for value in proxy(batch).tolist()), strict=True)
    assert lengths == (1, 2, 3, 4, 5)
    assert len(set(processes)) in (1, 2)  # one may have been quick enough for both parts
    assert os.getpid() not in processes
    with pytest.raises(RunError, match=r"my_processes.process: raises on CCBr: ValueError: bromide; .*my_processes.py, line"):
        proxy([*batch, Chem.MolFromSmiles("CCBr"), Chem.MolFromSmiles("CCF")])
    with pytest.raises(RunError, match=r"ended one of its 2 processes .*; the batch began with CCI; try target.proxy.workers=0"):
        proxy([Chem.MolFromSmiles("CCI"), Chem.MolFromSmiles("CCF")])
    assert proxy(batch).tolist() == proxy(batch).tolist()
    assert proxy([Chem.MolFromSmiles("CCN")]).item() // 100 != os.getpid()  # others are started
    assert proxy.workers is not None
    proxy.workers.close()


IN_A_LAUNCHER = """
import multiprocessing
def run(kept=[]):
    from rdkit import Chem
    from gfn_vi.targets.molecules.proxies.user_function import UserFunction
    kept.append(UserFunction("my_processes.process", "smiles", 2, 0.1, None, 1.0, 100, None))
    assert kept[0]([Chem.MolFromSmiles("C"), Chem.MolFromSmiles("CC")]).tolist()[0] > 100
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    print("ended with", process.exitcode)
    process.kill()
"""


def test_a_run_in_a_process_of_a_launcher_ends_with_its_workers(my_values: Path) -> None:
    script = my_values.with_name("in_a_launcher.py")
    script.write_text(IN_A_LAUNCHER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "ended with 0\n", done
