"""The check of a user's target before a run of it starts, as far as a fraction of a second reaches.

Of targets with states only those with few are checked, where nothing is left open; of densities what they say of points. And only
those that name something outside of gfn_vi: what is shipped is checked by the tests, so that runs of it start no later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.families import is_density
from gfn_vi.verification.targets.asking import Asked
from gfn_vi.verification.targets.findings import Check, Fault, Finding, found_by
from gfn_vi.verification.targets.points import Points
from gfn_vi.verification.targets.report import (
    HORIZON,
    NAMES,
    OF_FACTS,
    OF_MOVES,
    OF_POINTS,
    OF_VALUES,
    REWARDS,
    SIZES,
    SIZES_OF_A_DENSITY,
)
from gfn_vi.verification.targets.space import Effort, Space

# All checks of 2,187 states with 10,206 moves take 45 ms, those of 4,096 with 8,064 take 30 ms, and 0.1 s go by until a larger
# space is given up; what is slower is a long computation of the user's.
EFFORT = Effort(most_states=5000, n_walks=0, seed=0, seconds=0.2)
# Seconds for one point of a density, of which some twenty batches are asked for up to 129 each; 2 ms for a Gaussian.
SLOW_POINT = 0.01


def names_own_code(node: object) -> bool:
    """Return whether a configuration names a class or function outside of gfn_vi at any depth, as `_target_`."""
    if isinstance(node, Mapping):
        own = str(node.get("_target_", "gfn_vi.")).partition(".")[0] != "gfn_vi"
        return own or any(names_own_code(value) for value in node.values())
    return isinstance(node, list | tuple) and any(map(names_own_code, node))


def refuse_faults(target: Any, found: str, how: str) -> list[str]:
    """Raise ConfigError with the first fault of a target of few states; return those that make no number wrong, a remark each.

    found: what the key `target` holds; how: the command that lists all faults.
    """
    remarks = []
    for finding in _findings(target):
        if finding.verdict == "fault":
            if not finding.harmless:
                raise ConfigError("target", found, f"{finding.told}; all that is wrong with it is listed by {how}")
            remarks.append(f"target={found}: {finding.told}")
    return remarks


def _findings(target: Any) -> list[Finding]:
    """Return what the checks find until the first fault that stops a run; nothing of a target that takes longer."""
    told: set[str] = set()
    made: list[Finding] = []

    def add(checks: tuple[Check, ...], subject: Any) -> bool:
        for check in checks:
            made.extend(found_by(check, subject, told))
            if any(finding.verdict == "fault" and not finding.harmless for finding in made):
                return False
        return True

    if is_density(target):
        asked = Asked(target, 1)
        if add((SIZES_OF_A_DENSITY,), asked):
            points = Points(asked, EFFORT.seed)
            if not _is_slow(points):
                add(OF_POINTS, points)
        return made
    if not add((SIZES,), Asked(target, 1)):
        return made
    asked = Asked(target, len(target.state_shape))
    try:
        space = Space(asked, EFFORT)
    except Fault as fault:
        return [Finding("moves", "fault", fault.line)]
    if not space.complete:
        return list(found_by(HORIZON, space, told)) if space.overlong is not None else []
    # a reward that takes long is asked no further, and the target's own list of states would ask for all of them
    if add((*OF_MOVES, REWARDS), space) and len(space.rewarded) == len(space.states):
        add((*OF_VALUES, *OF_FACTS), space)
        add((NAMES,), asked)
    return made


def _is_slow(points: Points) -> bool:
    """Return whether a density takes so long for one point that a few hundred would take too long."""
    start = time.monotonic()
    try:
        points.log_reward(points.points[:1])
    except Fault:  # which the checks name
        return False
    return time.monotonic() - start > SLOW_POINT
