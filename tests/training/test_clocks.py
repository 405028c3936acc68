"""Clocks count trajectories of a replica, not updates: with batches of 8 an annealing counted in updates is 8 times too slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from building import make_trainer
from torch import Tensor

from gfn_vi.training.rate_schedules import RateSchedule
from gfn_vi.training.trainer import Trainer

BATCH, UPDATES = 8, 5
SEEN = [BATCH * k for k in range(UPDATES)]
SMALL = ("target.side=3", "sampler=tabular", f"trainer.batch_size={BATCH}", f"trainer.n_trajectories={BATCH * UPDATES}")


class Clock(RateSchedule):
    """Notes what it is asked and told."""

    def __init__(self, watches: str | None) -> None:
        self.watches = watches  # type: ignore[misc]
        self.asked: list[int] = []
        self.told: list[int] = []

    def factor(self, seen: int) -> float:
        self.asked.append(seen)
        return 1.0

    def observe(self, values: Tensor, seen: int) -> None:
        assert values.shape == (2,)
        self.told.append(seen)


def keep_nothing(*record: Any) -> None:
    """A recorder's place."""


def trained(watches: str | None, *overrides: str) -> tuple[Trainer, Clock]:
    trainer = make_trainer(*SMALL, *overrides, replicas=2)
    clock = Clock(watches)
    trainer.parts.optimizer.schedule = clock
    assert trainer.run(keep_nothing, lambda loss: True)
    return trainer, clock


def test_rates_are_asked_for_at_the_trajectories_seen_before_the_update() -> None:
    assert trained(None)[1].asked == SEEN
    assert trained("loss")[1].told == SEEN


def test_a_plateau_of_a_metric_is_told_the_trajectories_at_the_evaluation() -> None:
    """Evaluations are at the start and, every 16 trajectories, behind an update."""
    _, clock = trained("jsd", "evaluation.every=16")
    assert clock.told == [0, 16, 32, 40]


def noted(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Arguments `seen` of collect from now on."""
    found: list[int] = []
    collect: Callable[..., Any] = trainer.parts.exploration.collect

    def note(sampler: Any, batch: int, rng: Any, seen: int) -> Any:
        assert batch == BATCH
        found.append(seen)
        return collect(sampler, batch, rng, seen)

    monkeypatch.setattr(trainer.parts.exploration, "collect", note)
    return found


def test_exploration_is_told_the_trajectories_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(*SMALL, replicas=2)
    found = noted(trainer, monkeypatch)
    assert trainer.run(keep_nothing, lambda loss: True)
    assert found == SEEN


def test_an_annealed_stop_bias_is_gone_when_its_trajectories_are() -> None:
    """Linear over 32 trajectories: the density of the k-th batch is that of the bias 2 (1 - 8 k / 32)."""
    words = ["exploration=stop_bias", "schedule@exploration.bias=linear", "exploration.bias.start=2.0"]
    trainer = make_trainer(*SMALL, *words, "exploration.bias.end=0.0", "exploration.bias.duration=32", replicas=2)
    fixed = make_trainer(*SMALL, *words, "schedule@exploration.bias=constant", replicas=2).parts.exploration
    for k in range(UPDATES):
        twin = trainer.parts.sampler.repeated(1)  # its parameters before the update
        _, trajectories, _ = trainer.update()
        object.__setattr__(fixed.bias, "start", 2 * (1 - 8 * k / 32))
        expected = fixed.log_density(twin, trajectories, 0)
        torch.testing.assert_close(trajectories.log_behavior, expected, rtol=1e-12, atol=1e-12)


def test_reward_calls_of_modified_detailed_balance_by_hand() -> None:
    """One for each trajectory, and one for each of its states s_0 .. x, whose flow R / P_F(stop) is asked for."""
    trainer = make_trainer(*SMALL, "objective=modified_detailed_balance", replicas=2)
    expected = torch.zeros(2, dtype=torch.long)
    for _ in range(3):
        _, trajectories, _ = trainer.update()
        for r in range(2):
            ends = trajectories.terminal_states()[r].sum(-1)  # on a grid, the number of steps before the stop
            expected[r] += BATCH + int((ends + 1).sum())
        assert trainer.reward_calls.tolist() == expected.tolist()
    assert expected[0] != expected[1]
