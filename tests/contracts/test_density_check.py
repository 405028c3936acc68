"""The check of densities: every fault is named by the line that is about it, and what is right is not called wrong."""

from __future__ import annotations

import time

import pytest
from broken_densities import BROKEN_DENSITIES, SOUND, Box, FarEnds, Jumps, Needle, OnALine, Slanted, SoundDensity
from torch import Tensor

from gfn_vi import check_target
from gfn_vi.core.errors import ConfigError
from gfn_vi.verification.targets.at_start import refuse_faults

# What does not apply: the grids see a kink, an end of the support or a needle, and Stein's identity wants no jumps.
SKIPPED = {
    SoundDensity: set[str](),
    Box: {"score", "log_Z"},
    Slanted: {"names", "log_Z"},
    Jumps: {"names", "log_Z", "samples"},
    FarEnds: {"names", "log_Z", "samples", "modes"},
    Needle: {"names", "log_Z", "modes"},
}


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.__name__)
def test_a_sound_density_is_called_sound(sound: type[SoundDensity]) -> None:
    report = check_target(sound())
    assert report.faults == ()
    skipped = {finding.check for finding in report.findings if finding.verdict == "not applicable"}
    assert skipped == SKIPPED.get(sound, {"names"})


@pytest.mark.parametrize("broken", BROKEN_DENSITIES, ids=lambda broken: broken.__name__)
def test_a_broken_density_is_named_first_by_the_right_line(broken: type[SoundDensity]) -> None:
    check, line = BROKEN_DENSITIES[broken]
    faults = check_target(broken()).faults
    assert faults[0].check == check, faults[0].told
    assert line in faults[0].told
    assert len({finding.told for finding in faults}) == len(faults)


FACTS = {"log_Z", "modes", "samples", "names"}


@pytest.mark.parametrize("broken", BROKEN_DENSITIES, ids=lambda broken: broken.__name__)
def test_a_run_of_a_broken_density_is_refused(broken: type[SoundDensity]) -> None:
    check, line = BROKEN_DENSITIES[broken]
    if check in FACTS:
        assert refuse_faults(broken(), "", "") == []
        return
    with pytest.raises(ConfigError) as refused:
        refuse_faults(broken(), "mine.Density", "gfn-vi-check target=mine")
    assert line in str(refused.value)


class SlowDensity(SoundDensity):
    n_asked = 0

    def log_density(self, states: Tensor) -> Tensor:
        SlowDensity.n_asked += 1
        time.sleep(0.05)
        return super().log_density(states)


def test_a_run_of_a_sound_density_goes_on_and_a_slow_one_is_asked_once() -> None:
    assert [refuse_faults(sound(), "", "") for sound in SOUND] == [[]] * len(SOUND)
    assert refuse_faults(SlowDensity(), "", "") == []
    assert SlowDensity.n_asked == 1


def test_other_seeds_call_a_sound_density_sound() -> None:
    """Six standard errors of two identities in a few coordinates: a false alarm in 10^8."""
    assert all(check_target(OnALine(), seed=seed).faults == () for seed in range(20))
