"""Targets that say something wrong of themselves: state graph, log Z, modes, samples, names."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from broken_targets import Sound
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph


class Facts(Sound):
    """The sound one with everything that a target may state; all of it is right."""

    log_Z: Any = math.log(27)  # 1 + 2 2 + 3 3 + 2 4 + 5
    mode_mass: Any = torch.tensor([5 / 27], dtype=torch.float64)
    node_names: Any = ("across", "up")

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        graph = self.state_graph()
        bounds = graph.log_target.exp().cumsum(0)
        return graph.states[torch.searchsorted(bounds, rng.uniform(n).double()).clamp(max=graph.n_states - 1)]


class SomeStop(Facts):
    """Only states whose coordinates sum to 2 or more can stop, and R elsewhere counts nothing."""

    every_state_stops, log_Z = False, math.log(22)  # 3 3 + 2 4 + 5
    mode_mass = torch.tensor([5 / 22], dtype=torch.float64)

    def forward_mask(self, states: Tensor) -> Tensor:
        return torch.cat([states < 2, states.sum(-1, keepdim=True) >= 2], -1)


class SharesAmongModes(Facts):
    """Shares may be those among the modes, which sum to 1."""

    mode_mass = torch.tensor([1.0], dtype=torch.float64)


class ListsAnUnreachableState(Sound):
    """Its own list of states has [5, 5], where nothing leads."""

    def state_graph(self) -> StateGraph:
        graph = super().state_graph()
        return replace(graph, states=torch.cat([graph.states[:-1], torch.tensor([[5, 5]])]))


class ListsAnotherMove(Sound):
    def state_graph(self) -> StateGraph:
        graph = super().state_graph()
        return replace(graph, forward_action=1 - graph.forward_action)


class LacksAMove(Sound):
    def state_graph(self) -> StateGraph:
        graph = super().state_graph()
        return replace(graph, source=graph.source[1:], target=graph.target[1:], forward_action=graph.forward_action[1:])


class LogZOfLargeScores(Facts):
    """Log R as large as the score of a graph: log Z is off by 3 nats and by 0.06 thousandths of itself."""

    log_Z = 3 - 50_000 + math.log(27)

    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states) - 50_000


class MassOfNaN(Facts):
    mode_mass = torch.tensor([math.nan], dtype=torch.float64)


class SamplesWhereNothingIs(Facts):
    """R = 1e-30 at the source, where every 50th sample is."""

    log_Z, mode_mass = None, None

    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states).where((states > 0).any(-1), -30 * math.log(10))

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return super().sample(n, rng) * (rng.uniform(n) > 0.02)[..., None]


class AnotherLogZ(Facts):
    log_Z = 3.0


class AnotherMass(Facts):
    mode_mass = torch.tensor([0.5], dtype=torch.float64)


class ModesOutOfRange(Facts):
    def mode_index(self, states: Tensor) -> Tensor:
        return (states == 2).all(-1).long()

    @property
    def n_modes(self) -> int:
        return 1


class ModesThatAreNowhere(Facts):
    mode_mass = None

    @property
    def n_modes(self) -> int:
        return 3


class UniformSamples(Facts):
    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return rng.integers(3, n, 2)


class SamplesOfNoGenerator(Facts):
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        return torch.randint(0, 3, (len(rng), n, 2), generator=self.generator)


class NamesTwice(Facts):
    node_names = ("across", "across")


# Target -> the check that names it, and what its line holds.
BROKEN_FACTS: dict[type[Sound], tuple[str, str]] = {
    ListsAnUnreachableState: ("state graph", "state_graph lists [5, 5], which no moves from the source lead to: leave it out"),
    ListsAnotherMove: ("state graph", "state_graph has action 1 from [0, 0] to [1, 0], and forward_mask and step have not"),
    LacksAMove: ("state graph", "state_graph lacks action 0 from [0, 0] to [1, 0]: list all moves"),
    LogZOfLargeScores: (
        "log_Z",
        "log_Z=-49993.704, and R summed over the 9 states that can stop (most at [2, 2]) is exp(",
    ),
    MassOfNaN: ("modes", "mode_mass of mode 0 (such as [2, 2]) is nan, and its states have 0.185185 of all R: set that"),
    SamplesWhereNothingIs: ("samples", "sample draws [0, 0] "),
    AnotherLogZ: (
        "log_Z",
        "log_Z=3, and R summed over the 9 states that can stop (most at [2, 2]) is exp(3.2958369): set log_Z to that",
    ),
    AnotherMass: ("modes", "mode_mass of mode 0 (such as [2, 2]) is 0.5, and its states have 0.185185 of all R: set that"),
    ModesOutOfRange: ("modes", "mode_index is 1 at [2, 2], and n_modes=1: return 0 to n_modes - 1, or -1 for no mode"),
    ModesThatAreNowhere: ("modes", "n_modes=3, and mode_index is 1 at no state"),
    UniformSamples: ("samples", "sample draws [0, 0] 4"),
    SamplesOfNoGenerator: ("samples", "sample draws ["),
    NamesTwice: ("names", "node_names=('across', 'across'): set "),
}
