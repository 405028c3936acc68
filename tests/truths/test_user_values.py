"""Functions of a user's own as the values of molecules: what they are given, what is refused, and worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rdkit import Chem

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.targets.molecules.proxies.user_function import TRIALS, UserFunction

FUNCTIONS = f"""
import math, random
import numpy, torch
TRIALS = {TRIALS!r}
def n_atoms(molecules): return [m.GetNumAtoms() for m in molecules]
def array(smiles): return numpy.array([len(s) for s in smiles], dtype="float32")
def tensor(smiles): return torch.tensor([len(s) for s in smiles])
def negative(smiles): return [-7.0 - TRIALS.index(s) / 2 for s in smiles]
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


def of_function(name: str, takes: str = "smiles") -> UserFunction:
    return UserFunction(f"my_values.{name}", takes, 0, 0.1, None, 1.0, 100)


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


@pytest.mark.usefixtures("my_values")
def test_values_that_all_count_as_one_are_told() -> None:
    """Binding energies are negative, and the reward has a logarithm."""
    (low,) = of_function("negative").remarks
    assert low.startswith("target.proxy.function=my_values.negative is from -9 to -7 for the 5 molecules it was tried on, ")
    assert "which all count as target.proxy.floor=0.1: if others are like these, all have one reward (where lower is" in low
    proxy = of_function("array")
    assert proxy.remarks == ()
    proxy.ceiling = 2.0
    (high,) = proxy._doubts([3.0, 2.0])
    assert "which all count as target.proxy.ceiling=2: if others" in high
    assert proxy._doubts([3.0, 1.9]) == proxy._doubts([0.2, 0.1]) == ()


@pytest.mark.usefixtures("my_values")
def test_worker_processes_share_a_batch_and_what_fails_in_them_is_named() -> None:
    proxy = UserFunction("my_processes.process", "smiles", 2, 0.1, None, 1.0, 100)
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
    kept.append(UserFunction("my_processes.process", "smiles", 2, 0.1, None, 1.0, 100))
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
