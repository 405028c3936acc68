"""Tilts of one step worked out on paper, and what a schedule says at trajectories that are counted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import generators, make_sampler, make_target
from torch import Tensor

from gfn_vi.core.schedules import Schedule
from gfn_vi.exploration.replay import Replay
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy, StopBias, Tempered
from gfn_vi.exploration.widened import WidenedSteps

# Three actions, the stop action last; a fourth is illegal.
P = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=torch.float64)
MASK = torch.tensor([True, False, True, True])


def tilted(exploration: Any, seen: int = 0) -> Tensor:
    """Step probabilities."""
    tilt = exploration.tilt(seen)
    return P if tilt is None else tilt(P.clamp(min=1e-300).log(), MASK).exp()


def test_steps_are_widened_as_the_clock_says() -> None:
    """Variances grow by the square of what is left of the noise after so many trajectories; at 0 nothing is tilted."""
    widened = WidenedSteps(Schedule(start=0.8, end=0.0, duration=400, shape="linear"))
    mean, std = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 0.25]]).double()
    for seen, extra in ((0, 0.8), (100, 0.6), (300, 0.2)):
        moved, wide = widened.tilt(seen)(torch.zeros(1), mean, std)
        assert torch.equal(moved, mean)
        torch.testing.assert_close(wide, torch.tensor([[math.hypot(0.5, extra), math.hypot(0.25, extra)]]).double())
    assert widened.tilt(400) is None
    assert widened.tilt(1000) is None


def test_tilts_of_one_step() -> None:
    cases = [
        (EpsilonUniform(0.3), 0.7 * P + 0.1 * MASK.double()),
        (EpsilonUniform(1.0), MASK.double() / 3),
        (Tempered(2.0), P.sqrt() / P.sqrt().sum()),
        (Tempered(0.5), P.square() / P.square().sum()),
    ]
    for bias in (1.5, -0.5):
        shifted = P * torch.tensor([1, 1, 1, math.exp(-bias)], dtype=torch.float64)
        cases.append((StopBias(bias), shifted / shifted.sum()))
    for exploration, expected in cases:
        torch.testing.assert_close(tilted(exploration), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [3.0, 3.0, 3.0, 3.0]),
        ("linear", [3.0, 2.5, 1.0, 1.0]),
        ("cosine", [3.0, 1 + 2 * (1 + math.cos(math.pi / 4)) / 2, 1.0, 1.0]),
    ],
)
def test_a_schedule_ends_and_stays_there(shape: str, expected: list[float]) -> None:
    schedule = Schedule(3.0, 1.0, 100, shape)
    assert [schedule.value(n) for n in (0, 25, 100, 250)] == pytest.approx(expected, rel=1e-14)


@torch.no_grad()
def test_replay_tells_its_source_how_many_trajectories_were_seen() -> None:
    """The fresh part of a batch is annealed as it would be without a memory."""
    told = []

    class Noting(OnPolicy):
        def collect(self, sampler: Any, batch: int, rng: Any, seen: int) -> Any:
            told.append((batch, seen))
            return super().collect(sampler, batch, rng, seen)

    replay = Replay(Noting(), 0.25, capacity=10, priority="uniform", exponent=1.0)
    sampler, rng = make_sampler(make_target("grid3x3")), generators(0, 1)
    for seen in (0, 8, 16):
        replay.collect(sampler, 8, rng, seen)
    assert told == [(8, 0), (6, 8), (6, 16)]
