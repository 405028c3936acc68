"""All checks of a target, in an order in which the first fault is the cause of those behind it."""

from __future__ import annotations

from typing import Any

from gfn_vi.core.families import is_density
from gfn_vi.verification.targets import answers, density_facts, density_values, facts, moves, values
from gfn_vi.verification.targets.asking import Asked
from gfn_vi.verification.targets.findings import Check, Fault, Finding, Report, found_by
from gfn_vi.verification.targets.points import Points
from gfn_vi.verification.targets.space import Effort, Space

SIZES = Check("sizes", moves.sizes, "numbers of actions and features, horizon, shape of a state")
HORIZON = Check("horizon", moves.horizon, "the number of steps of the longest trajectory")
# The questions that cost least and whose faults cause others come first.
OF_MOVES = (
    Check("source", moves.source_state, "initial() is one state, repeated along leading axes"),
    Check("masks", moves.masks, "a way back from all states but the source, the stop action where every_state_stops says so"),
    Check("way to a stop", moves.way_to_a_stop, "every state leads to one that can stop"),
    Check("steps", moves.steps, "the stop action leaves a state as it is, all others lead to another one"),
    Check("no circles", moves.acyclic, "no moves lead back to a state"),
    Check("one action to a child", moves.one_action_to_a_child, "no two actions lead to one child"),
    Check("inverses of moves", moves.inverses_of_moves, "a child's parent, by backward_action, is the state"),
    Check("inverses backward", moves.inverses_of_backward_steps, "a parent's child, by forward_action, is the state"),
    HORIZON,
)
INPUTS = Check("inputs", answers.untouched_inputs, "no method changes what it is given")
DEVICES = Check("devices", answers.another_device, "a copy by to() says the same")
REWARDS = Check("rewards", values.rewards, "log_reward is finite in float64 wherever stopping is legal")
OF_VALUES = (
    Check("features", values.features, "in range and finite"),
    Check("determinism", values.determinism, "asked twice, the same"),
    Check("one row, one state", answers.independence, "alone, in a batch and along two leading axes, the same"),
    INPUTS,
    DEVICES,
)
OF_FACTS = (
    Check("state graph", facts.state_graph, "state_graph() has the states, moves and rewards found here"),
    Check("log_Z", facts.log_partition, "the sum over all states"),
    Check("modes", facts.modes, "mode_index is in range; so are the shares mode_mass, where it is given"),
    Check("samples", facts.samples, "drawn as often as R / Z says"),
)
NAMES = Check("names", facts.names, "different, one for each")
SIZES_OF_A_DENSITY = Check("sizes", density_values.sizes, "dim is a whole number")
OF_POINTS = (
    Check("values", density_values.log_rewards, "log_reward is a finite float64, or -inf, near and far"),
    Check("determinism", answers.determinism, "asked twice, the same"),
    Check("one row, one point", answers.independence, "alone, in a batch and along two leading axes, the same"),
    Check("score", density_values.score, "the gradient of log_reward by finite differences and by autograd"),
    INPUTS,
    DEVICES,
)
OF_DENSITY_FACTS = (
    Check("log_Z", density_facts.log_partition, "the integral"),
    Check("modes", density_facts.modes, "mode_index is in range; mode_mass, where it is given, are shares"),
    Check("samples", density_facts.samples, "finite, of the right shape, drawn from R / Z"),
)


def check_target(target: Any, most_states: int, n_walks: int, seed: int) -> Report:
    """Ask a target everything that it owes, and return what was found; gfn_vi.check_target explains the arguments."""
    told: set[str] = set()
    made: list[Finding] = []

    def look(subject: Any, *checks: Check) -> bool:
        """Make the checks, and return whether all has been well so far."""
        for check in checks:
            made.extend(found_by(check, subject, told))
        return all(finding.verdict != "fault" for finding in made)

    def report(scope: str) -> Report:
        return Report(type(target).__name__, scope, tuple(made))

    is_of_points = is_density(target)
    if not look(Asked(target, 1), SIZES_OF_A_DENSITY if is_of_points else SIZES):
        return report("nothing else can be looked at")
    asked = Asked(target, 1 if is_of_points else len(target.state_shape))
    if is_of_points:
        points = Points(asked, seed)
        look(points, *OF_POINTS, *OF_DENSITY_FACTS)
        look(asked, NAMES)
        return report(points.scope)
    try:
        space = Space(asked, Effort(most_states, n_walks, seed))
    except Fault as fault:
        made.append(Finding("moves", "fault", fault.line))
        return report("its moves cannot be followed")
    look(space, *OF_MOVES, REWARDS, *OF_VALUES, *OF_FACTS)
    look(asked, NAMES)
    return report(space.scope)
