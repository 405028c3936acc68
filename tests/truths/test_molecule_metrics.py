"""What is measured of molecules, against naive loops over SMILES: top-k, diversity, modes, and what training has met."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rdkit import Chem
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.molecules import arrays
from gfn_vi.evaluation.molecules.best_molecules import BestMolecules
from gfn_vi.evaluation.molecules.metrics import MoleculeMetrics
from gfn_vi.evaluation.molecules.modes import RewardedMolecules

# SMILES of a state, the value of its proxy: 0 and 9 are one molecule, 1 and 2 as well as 4 and 5 are similar.
MOLECULES = [
    ("CC(=O)Nc1ccc(O)cc1", 7.9),
    ("CCCCCCCCCCCC(=O)O", 7.8),
    ("CCCCCCCCCCCCC(=O)O", 7.7),
    ("c1ccc2[nH]ccc2c1", 7.2),
    ("CN1CCN(c2ccccc2)CC1", 7.1),
    ("CCN1CCN(c2ccccc2)CC1", 7.05),
    ("OCC1OC(O)C(O)C(O)C1O", 6.9),
    ("N#Cc1ccncc1", 5.0),
    ("CC(C)(C)S(N)(=O)=O", 3.0),
    ("CC(=O)Nc1ccc(O)cc1", 2.0),
]
BETA, SCALE = 4.0, 8.0


class Listed:
    """A target whose states [1] are rows of MOLECULES: what metrics ask of a target of molecules, and nothing that walks."""

    def __init__(self) -> None:
        members = {name for base in RewardedMolecules.__mro__ for name in (*vars(base).get("__annotations__", ()), *vars(base))}
        for name in members - set(dir(self)):
            setattr(self, name, self.code)  # never asked for
        self.beta, self.proxy = BETA, SimpleNamespace(scale=SCALE)

    def code(self, states: Tensor) -> Tensor:
        return states[..., 0] * 1000 - 3000

    def n_blocks(self, states: Tensor) -> Tensor:
        return states[..., 0] % 4 + 1

    def smiles(self, states: Tensor) -> list[str]:
        return [MOLECULES[row][0] for row in states[:, 0].tolist()]

    def molecules(self, states: Tensor) -> list[Any]:
        return [Chem.MolFromSmiles(smiles) for smiles in self.smiles(states)]

    def values(self, states: Tensor) -> Tensor:
        return torch.tensor([value for _, value in MOLECULES], dtype=torch.float64)[states[..., 0]]


def drawn(rows: list[list[int]]) -> Trajectories:
    """Trajectories of one step that end in these rows of MOLECULES, with their log-rewards: [R, n]."""
    ends = torch.tensor(rows)
    states = torch.stack([torch.zeros_like(ends), ends], -1)[..., None]
    log_reward = BETA * (Listed().values(ends[..., None]) / SCALE).log()
    mask = torch.ones(*ends.shape, 1, dtype=torch.bool)
    return Trajectories(states, torch.zeros(*ends.shape, 1, dtype=torch.long), mask, log_reward, None)


def moment_of(rows: list[list[int]]) -> Any:
    """What metrics see of a sampler that drew these rows."""
    return SimpleNamespace(target=Listed(), samples=(drawn(rows), None), sampler=None, rng=range(len(rows)))


def similarity(first: str, second: str) -> float:
    """Tanimoto similarity of two SMILES, from the sets of neighborhoods that their fingerprints stand for."""
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    one, other = (set(generator.GetFingerprint(Chem.MolFromSmiles(smiles)).GetOnBits()) for smiles in (first, second))
    return len(one & other) / len(one | other)


def naive_modes(rows: list[int], threshold: float, largest: float) -> int:
    """How many of the rows, one after the other, are above the threshold and unlike all such rows before."""
    modes: list[str] = []
    for row in rows:
        smiles, value = MOLECULES[row]
        if value > threshold and all(similarity(smiles, mode) < largest for mode in modes):
            modes.append(smiles)
    return len(modes)


SAMPLES = [[5, 3, 9, 0, 0, 4, 3, 7], [1, 2, 1, 2, 1, 2, 6, 6]]


@pytest.mark.parametrize("k", [2, 3, 100])
@pytest.mark.parametrize(("threshold", "largest"), [(None, 0.7), (7.15, 0.7), (6.5, 0.4), (7.0, 1.0)])
def test_metrics_are_those_of_a_naive_loop(k: int, threshold: float | None, largest: float) -> None:
    found = MoleculeMetrics(8, k, threshold, largest, 5)(moment_of(SAMPLES))
    for replica, rows in enumerate(SAMPLES):
        best: dict[str, int] = {}
        for row in sorted(rows, key=lambda row: -MOLECULES[row][1]):
            best.setdefault(MOLECULES[row][0], row)
        top = list(best.values())[:k]
        values = [MOLECULES[row][1] for row in top]
        pairs = [(a, b) for a in top for b in top if a < b]
        sizes = [row % 4 + 1 for row in rows]
        mean = sum(sizes) / 8
        expected = {
            "top_k_value": sum(values) / len(values),
            "top_k_log_reward": sum(BETA * math.log(value / SCALE) for value in values) / len(values),
            "top_k_diversity": sum(1 - similarity(MOLECULES[a][0], MOLECULES[b][0]) for a, b in pairs) / len(pairs),
            "modes_drawn": naive_modes(list(best.values()), 7.0 if threshold is None else threshold, largest),
            "unique_fraction": len(best) / 8,
            "sampled_n_blocks": mean,
            "sampled_n_blocks_se": (sum((size - mean) ** 2 for size in sizes) / 7 / 8) ** 0.5,
        }
        assert {name: float(values[replica]) for name, values in found.items()} == pytest.approx(expected, rel=1e-12)
    assert set(found) == set(MoleculeMetrics(8, k, threshold, largest, 5).records(Listed(), False, True))


def test_one_molecule_has_no_diversity() -> None:
    found = MoleculeMetrics(2, 3, None, 0.7, 5)(moment_of([[8, 8]]))
    assert (found["top_k_diversity"].item(), found["modes_drawn"].item(), found["unique_fraction"].item()) == (0, 0, 0.5)


BATCHES = [
    [[7, 8, 7], [9, 9, 9]],
    [[6, 6, 7], [8, 7, 9]],
    [[4, 5, 8], [7, 0, 6]],
    [[3, 4, 6], [0, 0, 1]],
    [[1, 2, 4], [2, 3, 8]],
    [[0, 6, 0], [3, 2, 6]],
]


def observed(n_best: int, batches: list[list[list[int]]] = BATCHES, state: Any = None) -> BestMolecules:
    """An observer of two replicas that has seen the batches, from a saved state on."""
    observer = BestMolecules(Listed(), 2, torch.device("cpu"), n_best, None, 0.7)
    if state is not None:
        observer.load_state_dict(state)
    for batch in batches:
        observer.observe(drawn(batch))
    return observer


@pytest.mark.parametrize("n_best", [1, 3, 20])
def test_an_observer_keeps_the_best_of_all_that_training_met(n_best: int) -> None:
    """How often each was drawn and when first, although what was dropped on the way is forgotten."""
    observer = observed(n_best)
    numbers = observer.statistics()
    for replica, memory in enumerate(observer.memories):
        history = [row for batch in BATCHES for row in batch[replica]]
        best = sorted(set(history), key=lambda row: -MOLECULES[row][1])[:n_best]
        times = Counter(history)
        found = {int(kept.state): (kept.times, kept.first) for kept in memory.kept.values()}
        assert found == {row: (times[row], history.index(row) + 1) for row in best}
        assert numbers["modes_met"][replica] == naive_modes(list(dict.fromkeys(history)), 7.0, 0.7)
        mean = sum(BETA * math.log(MOLECULES[row][1] / SCALE) for row in best) / len(best)
        assert float(numbers["best_met_log_reward"][replica]) == pytest.approx(mean, rel=1e-12)


def test_of_equally_good_molecules_the_first_is_kept_and_every_meeting_counts() -> None:
    """Else the number of times of one that was dropped, and comes back, would start again."""
    observer = BestMolecules(Listed(), 1, torch.device("cpu"), 2, 10.0, 0.7)
    for rows in ([7, 8, 8], [9, 8, 7], [7, 8, 9]):
        batch = drawn([rows])
        observer.observe(replace(batch, log_reward=torch.zeros_like(batch.log_reward)))
    kept = {int(one.state): (one.times, one.first) for one in observer.memories[0].kept.values()}
    assert kept == {7: (3, 1), 8: (4, 2)}


def test_modes_do_not_depend_on_when_they_are_counted() -> None:
    observer, counts = observed(3, []), []
    for batch in BATCHES:
        observer.observe(drawn(batch))
        counts.append(observer.statistics()["modes_met"].tolist())
    for n, count in enumerate(counts, 1):
        assert count == observed(3, BATCHES[:n]).statistics()["modes_met"].tolist()
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("n_before", [0, 1, 3])
def test_an_observer_goes_on_where_it_was_saved(n_before: int) -> None:
    """Through a file as checkpoints are read: tensors, numbers and containers only."""
    file = io.BytesIO()
    torch.save(observed(3, BATCHES[:n_before]).state_dict(), file)
    file.seek(0)
    resumed, at_once = observed(3, BATCHES[n_before:], torch.load(file, weights_only=True)), observed(3)
    assert str(resumed.state_dict()) == str(at_once.state_dict())
    assert {name: value.tolist() for name, value in resumed.statistics().items()} == {
        name: value.tolist() for name, value in at_once.statistics().items()
    }


def test_arrays_hold_the_best_of_all_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_log_terminating", lambda moment, states: -states[:, 0].double().repeat(len(moment.rng), 1))
    moment = moment_of(SAMPLES)
    best = MoleculeMetrics(8, 2, None, 0.7, 4).arrays(moment)
    assert best["best_states"][:, 0].tolist() == [0, 1, 2, 3]
    assert best["best_smiles"] == [smiles for smiles, _ in MOLECULES[:4]]
    assert best["best_value"].tolist() == [value for _, value in MOLECULES[:4]]
    assert best["best_drawn"].tolist() == [[2, 0, 0, 2], [0, 3, 3, 0]]
    assert best["best_log_terminating"].tolist() == [[0, -1, -2, -3]] * 2
    assert best["n_drawn"] == 8
    met = observed(3).arrays(moment)
    assert met["met_states"][:, 0].tolist() == [0, 1, 2]
    assert met["met_times"].tolist() == [[2, 1, 1], [3, 1, 2]]
    assert met["met_first"].tolist() == [[16, 13, 14], [8, 12, 13]]
    assert met["met_drawn"].tolist() == [[2, 0, 0], [0, 3, 3]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode_threshold": 0.0}, "molecules.mode_threshold=0.0"),
        ({"mode_similarity": 1.5}, "molecules.mode_similarity=1.5"),
        ({"k": 0}, "molecules.k=0"),
        ({"n_shown": 0}, "molecules.n_shown=0"),
        ({"n_samples": 1}, "n_samples=1"),
    ],
)
def test_what_no_molecule_can_be_measured_by_is_refused(changes: dict[str, Any], words: str) -> None:
    keys = {"n_samples": 8, "k": 2, "mode_threshold": None, "mode_similarity": 0.7, "n_shown": 5} | changes
    with pytest.raises(ConfigError, match=words):
        MoleculeMetrics(**keys)
