"""Rollouts that evaluate the policy where they expect to go are those of the whole table, whatever was expected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from building import bumpy, generators, make_sampler, make_target, make_trainer
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.core.types import Trajectories
from gfn_vi.samplers.discrete.recent_states import FEWEST_ROWS, UPDATES_REMEMBERED, RecentStates, expected_rollout
from gfn_vi.samplers.discrete.rollout import Path, table_rollout
from gfn_vi.targets.grids.hypergrid import Hypergrid
from truths.test_gradient_statistics_of_runs import same, trained

LARGE = ("target.side=40", "sampler.hidden=[16]", "trainer.batch_size=8", "exploration=epsilon_uniform")
WALKS = ("rows of a grid", "dag")


def target_of(name: str) -> EnumerableTarget:
    return make_target("dag") if name == "dag" else Hypergrid(3, 7, r0=0.1, reward=bumpy, max_enumerated_states=1000)


def both(target: EnumerableTarget, expected: Tensor, change: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Path, Path, int]:
    """The rollouts of the same noise by expectation and by the whole table, and how many rows the former evaluated."""
    graph, sampler, n_rows = target.state_graph(), make_sampler(target, "mlp", n_replicas=3), 0

    @torch.no_grad()
    def policy(states: Tensor) -> Tensor:
        nonlocal n_rows
        n_rows += states.shape[1]
        return change(sampler.forward_log_probs(states))

    table = policy(graph.states.expand(3, *graph.states.shape))
    whole = table_rollout(graph, table, 50, target.horizon, generators(1, 3))
    n_rows = 0
    walked = expected_rollout(graph, policy, expected, 50, target.horizon, generators(1, 3), torch.float64)
    return walked, whole, n_rows


def check_equal(walked: Path, whole: Path) -> None:
    for name in ("states", "actions", "mask"):
        assert torch.equal(getattr(walked, name), getattr(whole, name)), name
    assert torch.allclose(walked.log_prob, whole.log_prob, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("name", WALKS)
def test_a_rollout_does_not_depend_on_what_was_expected(name: str, share: float) -> None:
    target = target_of(name)
    expected = torch.rand(3, target.state_graph().n_states, generator=torch.Generator().manual_seed(3)) < share
    walked, whole, _ = both(target, expected)
    check_equal(walked, whole)


def test_what_is_expected_is_all_that_is_evaluated() -> None:
    """Where trajectories go only where they were expected, the policy is asked once, at those states."""
    target = target_of("rows of a grid")
    _, whole, _ = both(target, torch.zeros(3, target.state_graph().n_states, dtype=torch.bool))
    expected = torch.zeros(3, target.state_graph().n_states, dtype=torch.bool)
    expected.scatter_(1, target.state_index(whole.states).view(3, -1), True)
    walked, whole, n_rows = both(target, expected)
    check_equal(walked, whole)
    assert n_rows == max(int(expected.sum(1).max()), FEWEST_ROWS)


def test_a_replica_whose_policy_is_nan_stops_at_once_and_leaves_the_others_alone() -> None:
    target = target_of("rows of a grid")
    broken = torch.tensor([0.0, float("nan"), 0.0])[:, None, None]
    walked, whole, _ = both(target, torch.zeros(3, target.state_graph().n_states, dtype=torch.bool), lambda x: x + broken)
    check_equal(walked, whole)
    assert int(walked.mask[1].sum()) == 50


def test_a_state_is_expected_until_it_was_not_visited_for_some_updates() -> None:
    recent, mask = RecentStates(), torch.tensor([[[True, True, False]], [[True, False, False]]])
    assert recent.expected(1, 100) is None
    recent.remember(torch.tensor([[[0, 7, 5]], [[0, 6, 6]]]), mask, 9)
    elsewhere = torch.zeros(2, 1, 3, dtype=torch.long)
    for update in range(UPDATES_REMEMBERED + 1):
        assert recent.countdown is not None
        known = [0, 7] if update < UPDATES_REMEMBERED else [0]
        assert [row.nonzero()[:, 0].tolist() for row in recent.countdown] == [known, [0]], update
        recent.remember(elsewhere, mask, 9)


def test_nothing_is_expected_where_it_would_not_pay() -> None:
    """Of 1,600 states: few that come again pay, many do not, nor surprises, nor where a rollout has few steps."""
    some, every = torch.arange(100).view(1, 1, 100), torch.arange(1600).view(1, 1, 1600)
    recent = RecentStates()
    recent.remember(some, some >= 0, 1600)
    assert recent.n_unexpected == 100
    assert recent.expected(64, 256) is None  # all of them were met unexpectedly
    recent.remember(some, some >= 0, 1600)
    assert recent.n_unexpected == 0
    found = recent.expected(64, 256)
    assert found is not None
    assert found.sum() == 100
    assert recent.expected(1, 0) is None  # 100 steps that cost a row each
    recent.remember(every, every >= 0, 1600)
    recent.remember(every, every >= 0, 1600)
    assert recent.expected(64, 256) is None


def test_training_is_the_same_with_and_without_a_memory() -> None:
    """Trajectories bit for bit, their density up to rounding; what is measured in between changes nothing."""
    with_memory, without = (make_trainer(*LARGE, replicas=2) for _ in range(2))
    for update in range(12):
        without.parts.sampler.recall(None)
        if update == 7:
            with_memory.measure()
        ours, theirs = (trainer.update()[1] for trainer in (with_memory, without))
        assert isinstance(ours, Trajectories)
        for name in ("states", "actions", "mask"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), (name, update)
        assert torch.allclose(ours.log_behavior, theirs.log_behavior, rtol=1e-12, atol=0)
    assert with_memory.parts.sampler._recent.expected(8, 128) is not None


def test_a_resumed_run_remembers() -> None:
    """Bit for bit, in float64, whose products are rounded in another way when other rows are evaluated together."""
    plain, resumed = (make_trainer(*LARGE, replicas=2) for _ in range(2))
    trained(plain, 4, measure=False)
    resumed.load_state_dict(plain.state_dict())
    assert same(trained(plain, 4, measure=False), trained(resumed, 4, measure=False))
    state = plain.state_dict()
    assert state["memory"]["countdown"].shape == (2, 1600)
    del state["memory"]  # of an earlier release
    resumed.load_state_dict(state)
    assert resumed.parts.sampler.memory() is None


def test_a_copy_with_more_replicas_remembers_nothing() -> None:
    trainer = make_trainer(*LARGE, replicas=2)
    trainer.update()
    twin = trainer.parts.sampler.repeated(3)
    assert twin.rollout(4, generators(0, 6)).states.shape[:2] == (6, 4)
    assert trainer.parts.sampler.memory()["countdown"].shape == (2, 1600)
    assert twin.memory() is None
