"""Bit sequences: states, rewards, modes and log Z against lists of all strings made by itertools."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from building import generators, make_sampler
from measuring import check_cells, check_weighted_log_Z, measured

from gfn_vi.core.errors import ConfigError
from gfn_vi.evaluation.exact.enumeration import enumerate_policies
from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.sampled.modes_visited import ModesVisited
from gfn_vi.targets.bit_sequences import BitSequences

SHIPPED: dict[str, Any] = {
    "length": 8,
    "word": 1,
    "order": "left_to_right",
    "beta": 8.0,
    "modes": 4,
    "mode_distance": 0,
    "max_enumerated_states": 1_000_000,
}
MODES = ["001011", "110100", "001000"]
N_REPLICAS = 12


def make(**changes: Any) -> BitSequences:
    return BitSequences(**{**SHIPPED, **changes})


def written(target: BitSequences, states: torch.Tensor) -> list[str]:
    """The bits of full sequences, read word by word."""
    return ["".join(f"{cell - 1:0{target.word}b}" for cell in state) for state in states.tolist()]


def hamming(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def mode_of(string: str, distance: int) -> int:
    """The first of the nearest modes, -1 beyond the distance."""
    distances = [hamming(string, m) for m in MODES]
    return distances.index(min(distances)) if min(distances) <= distance else -1


@pytest.mark.parametrize("order", ["left_to_right", "any"])
@pytest.mark.parametrize("word", [1, 2, 3])
def test_listing_all_sequences(order: str, word: int) -> None:
    """Each string of 6 bits ends exactly once, with the reward of its nearest mode; the states are counted, their parents too."""
    target = make(length=6, word=word, order=order, modes=MODES, beta=3.0, mode_distance=1)
    graph = target.state_graph()
    full = graph.forward_mask[:, -1]
    strings = written(target, graph.states[full])
    assert sorted(strings) == ["".join(bits) for bits in product("01", repeat=6)]
    nearest = torch.tensor([min(hamming(s, m) for m in MODES) for s in strings], dtype=torch.float64)
    torch.testing.assert_close(graph.log_reward[full], -3.0 * nearest / 6, rtol=1e-14, atol=0)
    check_cells(target, 6 // word, 2**word, order == "any")


@pytest.mark.parametrize("order", ["left_to_right", "any"])
@pytest.mark.parametrize("distance", [0, 1, 2])
def test_modes_are_those_within_the_distance(order: str, distance: int) -> None:
    target = make(length=6, word=2, order=order, modes=MODES, mode_distance=distance)
    graph = target.state_graph()
    full = graph.forward_mask[:, -1]
    mode = target.mode_index(graph.states)
    assert bool((mode[~full] == -1).all())
    assert mode[full].tolist() == [mode_of(string, distance) for string in written(target, graph.states[full])]
    assert target.n_modes == 3 == len(set(mode.tolist()) - {-1})


@pytest.mark.parametrize("order", ["left_to_right", "any"])
@pytest.mark.parametrize("distance", [0, 1, 2])
def test_covered_and_visited_modes_are_those_of_the_target(order: str, distance: int) -> None:
    """Counted string by string: P_T of what lies within the distance, against half of the target's; and where samples ended."""
    target = make(length=6, word=3, order=order, modes=MODES, mode_distance=distance)
    sampler = make_sampler(target, n_replicas=N_REPLICAS)
    listed = enumerate_policies(sampler, target)
    drawn = sampler.rollout(3, generators(1, N_REPLICAS))
    visited = ModesVisited(target, N_REPLICAS, torch.device("cpu"))
    visited.observe(drawn)
    strings = written(target, listed.objects)
    members = [[mode_of(s, distance) == k for s in strings] for k in range(len(MODES))]
    p_t, pi = listed.per_object(listed.log_pf.exp()), target.log_reward(listed.objects).softmax(0)
    covered = sum((p_t[:, k].sum(1) >= pi[k].sum() / 2).double() for k in torch.tensor(members))
    ends = [{mode_of(s, distance) for s in written(target, x)} - {-1} for x in drawn.terminal_states()]
    assert measured(ExactMetrics(), sampler, target, generators(0, N_REPLICAS))["modes_covered"].tolist() == covered.tolist()
    assert visited.statistics()["modes_visited"].tolist() == [len(found) for found in ends]
    assert len(set(covered.tolist())) > 1, "replicas differ, so that the count says something"


@pytest.mark.parametrize(("length", "beta"), [(1, 0.5), (6, 3.0), (12, 20.0)])
def test_log_partition_of_a_single_mode(length: int, beta: float) -> None:
    """By classes of Hamming distance; and None where several modes share the sequences."""
    target = make(length=length, beta=beta, modes=1)
    assert target.log_Z is not None
    assert target.log_Z == pytest.approx(float(target.state_graph().log_partition), rel=1e-13)
    assert length == 1 or make(length=length, modes=2).log_Z is None


@pytest.mark.parametrize(("length", "least"), [(8, 4), (16, 8), (12, 4), (120, 56)])
def test_generated_modes_are_far_apart(length: int, least: int) -> None:
    """At powers of two, any two differ in exactly half of their bits."""
    modes = make(length=length, modes=length).modes
    apart = torch.tensor([hamming_of(a, b) for i, a in enumerate(modes.tolist()) for b in modes.tolist()[:i]])
    assert int(apart.min()) == least
    if length & (length - 1) == 0:
        assert int(apart.max()) == length // 2


def hamming_of(a: list[int], b: list[int]) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("order", ["left_to_right", "any"])
def test_the_size_of_the_paper_is_built_without_listing(order: str) -> None:
    """120 bits in words of 8, 60 modes, visits within 28 bits; the distance to a mode with some bits flipped is their number."""
    target = make(length=120, word=8, order=order, beta=120.0, modes=60, mode_distance=28)
    assert not target.enumerable
    with pytest.raises(ConfigError, match=r"target\.max_enumerated_states=1000000: there are \d{36,} states"):
        target.state_graph()
    for flipped in (0, 1, 25):
        bits = target.modes[7].clone()
        bits[:flipped] = 1 - bits[:flipped]
        state = 1 + (bits.view(15, 8) * 2 ** torch.arange(7, -1, -1)).sum(1)
        assert float(target.log_reward(state)) == -flipped
        assert int(target.mode_index(state)) == 7


def test_samples_of_a_large_target_estimate_log_partition() -> None:
    check_weighted_log_Z("target=bit_sequences", "target.length=24", "target.modes=1", "target.beta=12")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, r"target\.length=0: expected a whole number >= 1"),
        ({"word": 3}, r"target\.word=3: expected a divisor of length=8"),
        ({"word": 0}, r"target\.word=0: expected 1 to 16 bits"),
        ({"order": "right"}, r"target\.order=right: expected left_to_right or any"),
        ({"beta": 0.0}, r"target\.beta=0\.0: expected a positive number"),
        ({"beta": math.nan}, r"target\.beta=nan: expected a positive number"),
        ({"mode_distance": 8}, r"target\.mode_distance=8: expected 0 to 7"),
        ({"modes": 9}, r"target\.modes=9: expected 1 to 8 at length=8, or a list of sequences"),
        ({"modes": 0}, r"target\.modes=0: expected 1 to 8"),
        ({"modes": []}, r"target\.modes=\[\]: expected one mode or more"),
        ({"modes": ["0" * 8, "0" * 8]}, r"target\.modes=.*: expected one mode or more, all different"),
        ({"modes": ["0" * 7]}, r"target\.modes=0000000: expected a string \(in quotes\) of length=8 characters 0 and 1"),
        ({"modes": [11110000]}, r"target\.modes=11110000: expected a string \(in quotes\)"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)
