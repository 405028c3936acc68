"""The best molecules that training samples have met so far, and the modes among them: what exploration has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Arrays
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.molecules.arrays import molecule_arrays
from gfn_vi.evaluation.molecules.fingerprints import BITS, add_modes, fingerprints
from gfn_vi.evaluation.molecules.modes import RewardedMolecules, check_modes, least_log_reward


@dataclass
class Kept:
    """A molecule that was met: its state [*state] and log-reward, how often it was drawn, as the how-manyth trajectory first."""

    state: Tensor
    log_reward: float
    first: int
    times: int = 1


@dataclass
class Memory:
    """The molecules that one replica has met.

    kept: the best molecules by their codes; least: the log-reward that another one has to exceed. good: codes of all molecules
    above the threshold of modes; waiting: those of them, in the order of their meeting, that were not compared with the modes
    yet; modes: fingerprints.
    """

    kept: dict[int, Kept] = field(default_factory=dict)
    least: float = -torch.inf
    good: set[int] = field(default_factory=set)
    waiting: list[Tensor] = field(default_factory=list)
    modes: list[Any] = field(default_factory=list)


class BestMolecules:
    """An observer that keeps the best molecules met in training, and counts the modes among all (arXiv 2106.04399, section 4.2).

    A molecule is kept from its first meeting on as long as it is among the best, so how often it was drawn is exact. RDKit is
    asked about new molecules above the threshold of modes only, when numbers are recorded.
    """

    def __init__(
        self,
        target: RewardedMolecules,
        n_replicas: int,
        device: torch.device,
        n_best: int,
        mode_threshold: float | None,
        mode_similarity: float,
    ) -> None:
        """n_best: molecules that are kept per replica; mode_threshold and mode_similarity as of MoleculeMetrics."""
        key = "evaluation.observers.best_molecules"
        found = type(target).__name__
        require(isinstance(target, RewardedMolecules), key, found, "expected molecules; use target=molecules, or null here")
        require(n_best >= 1, f"{key}.n_best", n_best, "expected a whole number >= 1")
        check_modes(mode_threshold, mode_similarity, key)
        self.target, self.n_best, self.mode_similarity = target, n_best, mode_similarity
        self.good_log_reward = least_log_reward(target, mode_threshold)
        self.memories = [Memory() for _ in range(n_replicas)]
        self.seen = 0  # trajectories per replica
        self._least = torch.full((n_replicas, 1), -torch.inf, dtype=torch.float64, device=device)  # that is looked at

    def observe(self, trajectories: Trajectories) -> None:
        """Take in the molecules that are as good as the worst one kept, or above the threshold of modes."""
        log_reward = trajectories.log_reward.double()
        looked_at = log_reward >= self._least
        places = looked_at.nonzero().tolist()
        if places:
            states = trajectories.terminal_states()[looked_at]
            codes, values, states = self.target.code(states).tolist(), log_reward[looked_at].tolist(), states.cpu()
            for (replica, place), code, value, state in zip(places, codes, values, states, strict=True):
                self._take(self.memories[replica], code, Kept(state, value, self.seen + place + 1))
            self._look_above()
        self.seen += trajectories.batch

    def _look_above(self) -> None:
        """Set the least log-reward of each replica that is still looked at."""
        least = [min(memory.least, self.good_log_reward) for memory in self.memories]
        self._least = self._least.new_tensor(least)[:, None]

    def _take(self, memory: Memory, code: int, met: Kept) -> None:
        """Remember one molecule."""
        kept = memory.kept
        if met.log_reward > self.good_log_reward and code not in memory.good:
            memory.good.add(code)
            memory.waiting.append(met.state)
        if code in kept:
            kept[code].times += 1
        elif len(kept) < self.n_best or met.log_reward > memory.least:
            kept[code] = met
            if len(kept) > self.n_best:
                del kept[min(kept, key=lambda other: kept[other].log_reward)]
            if len(kept) == self.n_best:
                memory.least = min(other.log_reward for other in kept.values())

    def _compare(self) -> None:
        """Compare the molecules that wait for it with the modes, in the order in which they were met."""
        for memory in self.memories:
            if memory.waiting:
                molecules = self.target.molecules(torch.stack(memory.waiting).to(self._least.device))
                add_modes(memory.modes, fingerprints(molecules), self.mode_similarity)
                memory.waiting = []

    def statistics(self) -> dict[str, Tensor]:
        """Return modes_met, the number of modes met so far, and the mean log-reward of the best molecules: each [R]."""
        self._compare()
        best = [[kept.log_reward for kept in memory.kept.values()] for memory in self.memories]
        return {
            "modes_met": self._least.new_tensor([len(memory.modes) for memory in self.memories]),
            "best_met_log_reward": self._least.new_tensor([sum(values) / max(len(values), 1) for values in best]),
        }

    def arrays(self, moment: Measurement) -> Arrays:
        """Return the best molecules of all replicas together, with how often and when each replica drew them in training."""
        together: dict[int, Kept] = {}
        for memory in self.memories:
            together |= memory.kept
        best = sorted(together, key=lambda code: -together[code].log_reward)[: self.n_best]
        if not best:
            return {}
        device = self._least.device
        states = torch.stack([together[code].state for code in best]).to(device)
        log_reward = torch.tensor([together[code].log_reward for code in best], dtype=torch.float64, device=device)
        rows = [[memory.kept.get(code) for code in best] for memory in self.memories]
        return molecule_arrays("met", moment, states, log_reward) | {
            "met_times": torch.tensor([[0 if kept is None else kept.times for kept in row] for row in rows]),
            "met_first": torch.tensor([[0 if kept is None else kept.first for kept in row] for row in rows]),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what was met: `seen`, and of each replica the kept molecules, the codes above the threshold, and the modes."""
        self._compare()
        return {"seen": self.seen, "replicas": [_packed(memory) for memory in self.memories]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.seen = state["seen"]
        self.memories = [_unpacked(packed) for packed in state["replicas"]]
        self._look_above()


def _packed(memory: Memory) -> dict[str, Any]:
    from rdkit.DataStructs import BitVectToBinaryText

    kept = list(memory.kept.values())
    bits = b"".join(BitVectToBinaryText(mode) for mode in memory.modes)
    return {
        "codes": torch.tensor(list(memory.kept), dtype=torch.long),
        "states": torch.stack([one.state for one in kept]) if kept else None,
        "log_reward": torch.tensor([one.log_reward for one in kept], dtype=torch.float64),
        "first": torch.tensor([one.first for one in kept], dtype=torch.long),
        "times": torch.tensor([one.times for one in kept], dtype=torch.long),
        "least": memory.least,
        "good": torch.tensor(sorted(memory.good), dtype=torch.long),
        "modes": torch.frombuffer(bytearray(bits), dtype=torch.uint8).view(-1, BITS // 8) if bits else None,
    }


def _unpacked(packed: dict[str, Any]) -> Memory:
    from rdkit import DataStructs

    read: Any = DataStructs.CreateFromBinaryText  # its type says text, and it takes bytes
    columns = [packed[name].tolist() for name in ("log_reward", "first", "times")]
    states = [] if packed["states"] is None else packed["states"].clone()
    kept = [Kept(state, *numbers) for state, *numbers in zip(states, *columns, strict=True)]
    modes = [] if packed["modes"] is None else [read(bytes(bits.tolist())) for bits in packed["modes"]]
    return Memory(
        dict(zip(packed["codes"].tolist(), kept, strict=True)), packed["least"], set(packed["good"].tolist()), [], modes
    )
