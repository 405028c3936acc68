"""Permutations: states, inversions and the product formula of log Z against lists made by itertools."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pytest
import torch
from measuring import check_weighted_log_Z

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.permutations import Permutations

LIMIT = 1_000_000


def inversions(order: tuple[int, ...]) -> int:
    return sum(a > b for a, b in combinations(order, 2))


@pytest.mark.parametrize("n_items", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0, 4.0])
def test_listing_all_permutations(n_items: int, theta: float) -> None:
    """Each permutation ends exactly once with its reward, and the formula of log Z is the sum of all."""
    target = Permutations(n_items, theta, LIMIT)
    graph = target.state_graph()
    full = graph.forward_mask[:, -1]
    found = {
        tuple(x - 1 for x in s): r for s, r in zip(graph.states[full].tolist(), graph.log_reward[full].tolist(), strict=True)
    }
    assert int(full.sum()) == len(found)
    expected = {order: -theta * inversions(order) for order in permutations(range(n_items))}
    assert found == pytest.approx(expected, rel=1e-14)
    assert target.log_Z == pytest.approx(math.log(math.fsum(map(math.exp, expected.values()))), rel=1e-13)
    assert graph.n_states == target.n_states == sum(math.perm(n_items, k) for k in range(n_items + 1))
    assert len(graph.source) == graph.n_states - 1, "a tree: every state but the source has one parent, reached by one action"
    assert sorted(graph.target.tolist()) == list(range(1, graph.n_states))


@pytest.mark.parametrize("n_items", [5, 40])
def test_log_partition_goes_to_that_of_equal_rewards(n_items: int) -> None:
    """log Z = log n! - theta n (n - 1) / 4 + O(theta^2), whose factor is the variance of the inversions over 2."""
    variance = n_items * (n_items - 1) * (2 * n_items + 5) / 72
    for theta in (1e-3, 1e-6, 1e-9):
        value = Permutations(n_items, theta, LIMIT).log_Z - Permutations(n_items, 0.0, LIMIT).log_Z
        first = -theta * n_items * (n_items - 1) / 4
        # the sixth digit of the first term at 1e-9 is lost to rounding of log n!
        assert value == pytest.approx(first + theta**2 * variance / 2, rel=1e-5, abs=1e-12)


def test_modes() -> None:
    """The identity; all permutations where they are equal; unknown where they are equal and too many."""
    target = Permutations(4, 0.7, LIMIT)
    states = target.state_graph().states
    assert target.n_modes == 1
    assert states[target.mode_index(states) == 0].tolist() == [[1, 2, 3, 4]]
    equal = Permutations(4, 0.0, LIMIT)
    assert equal.n_modes == 24
    assert sorted(equal.mode_index(equal.state_graph().states).tolist()) == [-1] * 41 + list(range(24))
    assert Permutations(20, 0.0, LIMIT).n_modes is None


def test_twenty_items_are_built_without_listing() -> None:
    target = Permutations(20, 1.0, LIMIT)
    assert not target.enumerable
    assert target.n_modes == 1
    with pytest.raises(ConfigError, match=r"target\.max_enumerated_states=1000000: there are 6613313319248080001 states"):
        target.state_graph()
    backwards = torch.arange(20, 0, -1)
    assert float(target.log_reward(backwards)) == -190.0
    assert target.mode_index(torch.stack([backwards, backwards.flip(0)])).tolist() == [-1, 0]


def test_samples_of_a_large_target_estimate_log_partition() -> None:
    check_weighted_log_Z("target=permutations", "target.n_items=12", "target.theta=0.3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1.0), r"target\.n_items=1: expected a whole number >= 2"),
        ((5, -1.0), r"target\.theta=-1\.0: expected a finite number >= 0"),
        ((5, math.inf), r"target\.theta=inf: expected a finite number >= 0"),
        ((5, math.nan), r"target\.theta=nan: expected a finite number >= 0"),
    ],
)
def test_what_cannot_work_is_refused(arguments: tuple[int, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Permutations(*arguments, LIMIT)
