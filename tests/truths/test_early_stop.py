"""Forced stops on spaces small enough to list every trajectory: the density is that of what is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from building import generators, make_sampler, make_target
from torch import Tensor

from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.early_stop import EarlyStop
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy

P = 0.3


def walks(target: object, state: Tensor) -> list[list[int]]:
    """Every trajectory from a state on, as actions."""
    found = []
    stop = target.n_actions - 1
    for action in target.forward_mask(state).nonzero()[:, 0].tolist():
        rest = [[]] if action == stop else walks(target, target.step(state, torch.tensor(action)))
        found += [[action, *walk] for walk in rest]
    return found


def as_trajectories(target: object, walks: list[list[int]]) -> Trajectories:
    """One replica with all of them."""
    steps = max(map(len, walks))
    states = torch.stack([target.initial(steps + 1) for _ in walks])
    actions, mask = torch.zeros(len(walks), steps, dtype=torch.long), torch.zeros(len(walks), steps, dtype=torch.bool)
    for b, walk in enumerate(walks):
        for t, action in enumerate(walk):
            actions[b, t], mask[b, t] = action, True
            states[b, t + 1 :] = target.step(states[b, t], torch.tensor(action))
    return Trajectories(states[None], actions[None], mask[None], target.log_reward(states[:, -1])[None], None)


def make(shortest: int, longest: int | None) -> EarlyStop:
    return EarlyStop(EpsilonUniform(0.2), P, shortest, longest, counts_stops=True)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "shortest", "longest"), [("grid3x3", 0, 3), ("grid3x3", 2, None), ("grid3x3", 1, 9), ("tiny_dag", 0, 2)]
)
def test_the_density_is_that_of_a_walk_that_may_be_cut(name: str, shortest: int, longest: int | None) -> None:
    """pi(tau) summed over the lengths that can be asked for, step by step; over all trajectories it sums to 1."""
    target = make_target(name)
    sampler, early = make_sampler(target), make(shortest, longest)
    listed = walks(target, target.initial())
    drawn = as_trajectories(target, listed)
    found = early.log_density(sampler, drawn, 0)[0].exp()
    most = target.horizon - 1  # moves
    lengths = range(shortest, (most if longest is None else min(longest, most)) + 1)
    expected = []
    for walk in listed:
        total = 0.0
        for cut, weight in [(None, 1 - P), *((k, P / len(lengths)) for k in lengths)]:
            state, probability = target.initial(), weight
            for t, action in enumerate(walk):
                forced = t == cut and bool(target.forward_mask(state)[-1])
                policy = sampler.forward_log_probs(state[None, None])[0, 0].exp()
                legal = target.forward_mask(state).double()
                step = 0.8 * policy + 0.2 * legal / legal.sum()
                stops = action == target.n_actions - 1
                probability *= float(stops) if forced else float(step[action])
                state = target.step(state, torch.tensor(action))
            total += probability
        expected.append(total)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15)
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)


@torch.no_grad()
def test_trajectories_come_as_often_as_their_density_says() -> None:
    target = make_target("tiny_dag")
    sampler, early = make_sampler(target), make(0, 2)
    listed = walks(target, target.initial())
    density = early.log_density(sampler, as_trajectories(target, listed), 0)[0].exp()
    n = 40_000
    drawn = early.collect(sampler, n, generators(0, 1), 0)
    keys = [tuple(drawn.actions[0, b][drawn.mask[0, b]].tolist()) for b in range(n)]
    for walk, probability in zip(listed, density.tolist(), strict=True):
        error = math.sqrt(probability * (1 - probability) / n)
        assert abs(keys.count(tuple(walk)) / n - probability) < 4.5 * error + 1e-12, walk
    torch.testing.assert_close(drawn.log_reward, target.log_reward(drawn.terminal_states()))


def test_only_cut_trajectories_ask_for_a_second_reward() -> None:
    sampler = make_sampler(make_target("grid3x3"))
    EarlyStop(EpsilonUniform(0.2), 0.0, 0, None, counts_stops=True).collect(sampler, 50, generators(0, 1), 0)
    assert sampler.reward_calls.tolist() == [50]
    make(0, 1).collect(sampler, 50, generators(0, 1), 0)
    assert 100 < int(sampler.reward_calls) < 130


def test_uncounted_stops_leave_the_density_of_the_source() -> None:
    """What the published code took for the density (deviation=uncounted_early_stops)."""
    sampler, source = make_sampler(make_target("grid3x3")), EpsilonUniform(0.2)
    drawn = EarlyStop(source, 1.0, 1, 1, counts_stops=False).collect(sampler, 20, generators(0, 1), 0)
    torch.testing.assert_close(drawn.log_behavior, source.log_density(sampler, drawn, 0))
    assert bool((drawn.mask.sum(-1) <= 2).all())


def test_it_is_on_policy_only_if_nothing_is_cut() -> None:
    assert EarlyStop(OnPolicy(), 0.0, 0, None, counts_stops=True).is_on_policy
    assert not EarlyStop(OnPolicy(), 0.1, 0, None, counts_stops=True).is_on_policy
    assert not EarlyStop(EpsilonUniform(0.2), 0.0, 0, None, counts_stops=True).is_on_policy
