"""The check of targets: every fault is named by the line that is about it, and what is right is not called wrong."""

from __future__ import annotations

import time

import pytest
import torch
from broken_facts import BROKEN_FACTS, Facts, SharesAmongModes, SomeStop
from broken_targets import (
    BROKEN_MOVES,
    Circle,
    HorizonTooLarge,
    HorizonTooSmall,
    NoEnd,
    SaysThatNotAllStop,
    Sound,
    WrongForwardAction,
)
from broken_ways_back import BROKEN_WAYS_BACK

from gfn_vi import check_target
from gfn_vi.core.errors import ConfigError
from gfn_vi.verification.targets.at_start import names_own_code, refuse_faults

BROKEN = {**BROKEN_MOVES, **BROKEN_WAYS_BACK, **BROKEN_FACTS}


SOUND = {"plain": Sound(), "facts": Facts(), "some stop": SomeStop(), "shares": SharesAmongModes()}


@pytest.mark.parametrize("target", SOUND.values(), ids=SOUND)
def test_a_sound_target_is_called_sound(target: Sound) -> None:
    report = check_target(target)
    assert report.faults == ()
    assert report.scope == "all 9 states and 12 moves"
    skipped = {finding.check for finding in report.findings if finding.verdict == "not applicable"}
    assert skipped == (set() if isinstance(target, Facts) else {"log_Z", "samples", "names"})


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_target_is_named_first_by_the_right_line(broken: type[Sound]) -> None:
    check, line = BROKEN[broken]
    first = check_target(broken()).faults[0]
    assert first.check == check, first.told
    assert line in first.told
    assert len(first.told.splitlines()) == 1


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_fault_is_told_once(broken: type[Sound]) -> None:
    told = [finding.told for finding in check_target(broken()).faults]
    assert len(set(told)) == len(told) <= 5


@pytest.mark.parametrize("target", SOUND.values(), ids=SOUND)
def test_walks_call_a_sound_target_sound_and_say_what_is_open(target: Sound) -> None:
    report = check_target(target, most_states=3, n_walks=4)
    assert report.faults == ()
    assert "met by 4 random walks" in report.scope
    assert next(f for f in report.findings if f.check == "way to a stop").told.endswith(", as far as was looked")


# What walks cannot see: a list of all states, or a horizon that nothing reaches.
LISTED_ONLY = {
    "HorizonTooLarge",
    "SaysThatNotAllStop",
    "ListsAnUnreachableState",
    "ListsAnotherMove",
    "AnotherLogZ",
    "AnotherMass",
}
LISTED_ONLY |= {"ModesThatAreNowhere", "UniformSamples", "Circle"}
LISTED_ONLY |= {"LacksAMove", "LogZOfLargeScores", "MassOfNaN", "SamplesWhereNothingIs"}


@pytest.mark.parametrize("broken", [b for b in BROKEN if b.__name__ not in LISTED_ONLY], ids=lambda broken: broken.__name__)
def test_walks_find_the_fault_too(broken: type[Sound]) -> None:
    """With many walks for nine states: what the first fault is may differ, since the horizon is seen on the way."""
    check, _ = BROKEN[broken]
    assert {check, "moves"} & {finding.check for finding in check_target(broken(), most_states=3, n_walks=32).faults}


def test_a_circle_is_a_walk_that_does_not_end() -> None:
    faults = {finding.check: finding.told for finding in check_target(Circle(), most_states=3, n_walks=8).faults}
    assert "horizon" in faults or "no circles" in faults


def test_a_space_without_an_end_is_not_followed_for_ever() -> None:
    assert check_target(NoEnd(), most_states=500).faults[0].check == "horizon"


# -- at the start of a run ---------------------------------------------------------------------------------------------------


HARMLESS = (HorizonTooLarge, SaysThatNotAllStop)


@pytest.mark.parametrize("broken", [b for b in BROKEN if b not in HARMLESS], ids=lambda b: b.__name__)
def test_a_run_of_a_broken_target_is_refused(broken: type[Sound]) -> None:
    _, line = BROKEN[broken]
    with pytest.raises(ConfigError) as refused:
        refuse_faults(broken(), "mine.Target", "gfn-vi-check target=mine")
    assert str(refused.value).startswith("target=mine.Target: ")
    assert line in str(refused.value)
    assert str(refused.value).endswith("; all that is wrong with it is listed by gfn-vi-check target=mine")


def test_a_run_of_a_sound_target_goes_on() -> None:
    assert refuse_faults(Sound(), "", "") == refuse_faults(Facts(), "", "") == []


@pytest.mark.parametrize("broken", HARMLESS, ids=lambda broken: broken.__name__)
def test_what_makes_no_number_wrong_is_a_remark(broken: type[Sound]) -> None:
    (remark,) = refuse_faults(broken(), "mine.Target", "")
    assert remark.startswith(f"target=mine.Target: {BROKEN[broken][1]}")


class Slow(HorizonTooSmall):
    """A reward that would take minutes: every call of more than one state does."""

    horizon = Sound.horizon
    n_asked = 0

    def log_reward(self, states: torch.Tensor) -> torch.Tensor:
        Slow.n_asked += states[..., 0].numel()
        time.sleep(0.3)
        return super().log_reward(states)


def test_a_slow_reward_is_asked_once() -> None:
    assert refuse_faults(Slow(), "", "") == []
    assert Slow.n_asked == 1


class SlowStep(Sound):
    """Steps that take 10 ms for each state, in a space too large for that."""

    n_features, horizon, n_steps = 2000, 1999, 0

    def forward_mask(self, states: torch.Tensor) -> torch.Tensor:
        mask = super().forward_mask(states)
        mask[..., :2] = states < 999
        return mask

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        SlowStep.n_steps += actions.numel()
        time.sleep(0.01 * actions.numel())
        return super().step(states, actions)


def test_a_slow_step_is_asked_for_little() -> None:
    assert refuse_faults(SlowStep(), "", "") == []
    assert SlowStep.n_steps < 200


def test_whose_code_a_target_is() -> None:
    assert not names_own_code({"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "reward": {"_target_": "gfn_vi.x.Y"}})
    assert names_own_code({"_target_": "mine.Target"})
    assert names_own_code({"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "reward": {"_target_": "mine.Reward"}})
    assert not names_own_code({"side": 3})


def test_nothing_is_changed_and_no_global_number_is_drawn() -> None:
    before = torch.get_rng_state()
    check_target(Facts(), most_states=3)
    check_target(WrongForwardAction())
    assert torch.equal(before, torch.get_rng_state())
