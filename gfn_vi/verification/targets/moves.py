"""Checks of the moves of a target with states: sizes, masks, steps and their inverses, cycles, the horizon, the way to a stop.

The horizon is the number of steps of the longest trajectory, the stop included; the inverses are those of
gfn_vi/core/protocols.py, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gfn_vi.core.seeds import is_whole
from gfn_vi.verification.targets.asking import Asked, more, written
from gfn_vi.verification.targets.findings import Fault, NotApplicable
from gfn_vi.verification.targets.space import Space, spread

# States of a cycle that are shown; states whose stop action is tried; moves that are undone at once.
MOST_SHOWN, STOPS_TRIED, MOVES_AT_ONCE = 5, 512, 2**16


def sizes(asked: Asked) -> Iterator[Fault]:
    """Numbers of actions, horizon and features are whole, and the shape of a state is a tuple of whole numbers."""
    for name, least in {"n_actions": 1, "n_backward_actions": 1, "horizon": 1, "n_features": 1}.items():
        value = asked.attribute(name)
        if not is_whole(value) or value < least:
            yield Fault(f"{name}={value!r}: set a whole number >= {least}")
    shape = asked.attribute("state_shape")
    if not isinstance(shape, tuple | list) or len(shape) == 0 or not all(is_whole(n) and n >= 1 for n in shape):
        yield Fault(f"state_shape={shape!r}: set a tuple of whole numbers >= 1, such as (2,)")
    if not isinstance(asked.attribute("every_state_stops"), bool):
        yield Fault(f"every_state_stops={asked.attribute('every_state_stops')!r}: set True or False")


def source_state(space: Space) -> Iterator[Fault]:
    """The source is one state, repeated along leading axes, and no step leads back to it."""
    one, many = space.initial(), space.initial(2, 3)
    different = (many != one).flatten(2).any(2)
    if one.dtype != many.dtype or bool(different.any()):
        yield Fault(f"initial() is {written(one)} and initial(2, 3) holds another state: return the one source, repeated")


def masks(space: Space) -> Iterator[Fault]:
    """Only the source has no way back, and every_state_stops says where the stop is legal."""
    if bool(space.backward[0].any()):
        action = int(space.backward[0].nonzero()[0, 0])
        yield Fault(f"backward_mask allows action {action} at the source {space.show(0)}: allow none there")
    orphans = (~space.backward[1:].any(1)).nonzero()[:, 0] + 1
    if len(orphans) > 0:
        line = f"backward_mask allows nothing at {space.show(orphans[0])}{more(len(orphans))}, which is not the source"
        yield Fault(f"{line}: allow what undoes the moves that lead there")
    if space.asked.target.every_state_stops:
        refusing = (~space.stops).nonzero()[:, 0]
        if len(refusing) > 0:
            line = f"every_state_stops is True, and the stop action is illegal at {space.show(refusing[0])}{more(len(refusing))}"
            yield Fault(f"{line}: set every_state_stops = False, or allow it")
    elif space.complete and bool(space.stops.all()):
        line = f"every_state_stops is False, and the stop action is legal at all states, as at {space.show(0)}"
        yield Fault(f"{line}: set it to True, or some objectives are refused", harmless=True)


def steps(space: Space) -> Iterator[Fault]:
    """The stop action leaves a state as it is, and every other action leads to another state."""
    rows = spread(len(space.states), STOPS_TRIED)
    states = space.states[rows]
    stop = torch.full((len(rows),), space.n_actions - 1)
    after = space.step(states, stop)
    moved = (after != states).flatten(1).any(1).nonzero()[:, 0]
    if len(moved) > 0:
        way = f"leads from {written(states[moved[0]])} to {written(after[moved[0]])}"
        line = f"step with the stop action {space.n_actions - 1} {way}"
        yield Fault(f"{line}: leave the state as it is")
    undo = space.asked.tensor("backward_action", (), torch.long, states, stop)
    outside = ((undo < 0) | (undo >= space.n_backward_actions)).nonzero()[:, 0]
    if len(outside) > 0:
        line = f"backward_action of the stop action is {int(undo[outside[0]])} at {written(states[outside[0]])}"
        yield Fault(f"{line}: return any index from 0 to n_backward_actions - 1 = {space.n_backward_actions - 1}")
    still = (space.source == space.target).nonzero()[:, 0]
    if len(still) > 0:
        edge = still[0]
        line = f"action {int(space.action[edge])} leads from {space.show(space.source[edge])} to the same state"
        yield Fault(f"{line}{more(len(still), 'move')}: forbid it there in forward_mask")


def one_action_to_a_child(space: Space) -> Iterator[Fault]:
    """No two actions of a state lead to one child, and no two backward actions to one parent."""
    n = len(space.states)
    pairs, place = torch.unique(space.source * n + space.target, return_inverse=True)
    twice = (torch.bincount(place, minlength=len(pairs)) > 1).nonzero()[:, 0]
    if len(twice) > 0:
        edges = (place == twice[0]).nonzero()[:2, 0]
        a, b = (int(space.action[edge]) for edge in edges)
        parent, child = space.show(space.source[edges[0]]), space.show(space.target[edges[0]])
        line = f"actions {a} and {b} both lead from {parent} to {child}{more(len(twice), 'pair')}"
        yield Fault(f"{line}: allow one of them in forward_mask")


def _undone_forward(space: Space, part: slice) -> Iterator[Fault]:
    """A move and its inverse: the backward action is legal and leads back, and its forward action is the move."""
    source, action, target = space.source[part], space.action[part], space.target[part]
    before, after = space.states[source], space.states[target]
    undo = space.asked.tensor("backward_action", (), torch.long, before, action)

    def says(edge: Tensor) -> str:
        where = f"action {int(action[edge])} leads from {space.show(source[edge])} to {space.show(target[edge])}"
        return f"{where}, backward_action says {int(undo[edge])}"

    outside = ((undo < 0) | (undo >= space.n_backward_actions)).nonzero()[:, 0]
    if len(outside) > 0:
        line = f"{says(outside[0])}{more(len(outside), 'move')}"
        yield Fault(f"{line}: return an index from 0 to n_backward_actions - 1 = {space.n_backward_actions - 1}")
        return
    illegal = (~space.backward[target].gather(1, undo[:, None].long())[:, 0]).nonzero()[:, 0]
    if len(illegal) > 0:
        line = f"{says(illegal[0])}, and backward_mask forbids that at the child{more(len(illegal), 'move')}"
        yield Fault(f"{line}: allow it in backward_mask, or return the one that is legal")
    legal = space.backward[target].gather(1, undo[:, None].long())[:, 0].nonzero()[:, 0]
    if len(legal) == 0:
        return
    parents = space.backstep(after[legal], undo[legal])
    wrong = (parents != before[legal]).flatten(1).any(1).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"{says(legal[wrong[0]])}, and backstep by that leads to {written(parents[wrong[0]])}{more(len(wrong), 'move')}"
        yield Fault(f"{line}: make backstep(step(s, a), backward_action(s, a)) the state s itself")
        return
    again = space.asked.tensor("forward_action", (), torch.long, after[legal], undo[legal])
    wrong = (again != action[legal]).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"{says(legal[wrong[0]])}, and forward_action of that is {int(again[wrong[0]])}{more(len(wrong), 'move')}"
        yield Fault(f"{line}: return the action that leads from the parent to the child")


def inverses_of_moves(space: Space) -> Iterator[Fault]:
    """The parent of a child, by the backward action that undoes the move, is the state."""
    if len(space.source) == 0:
        raise NotApplicable("no state has a move")
    yield from _first_of_each(
        _undone_forward(space, slice(start, start + MOVES_AT_ONCE)) for start in range(0, len(space.source), MOVES_AT_ONCE)
    )


def _undone_backward(space: Space, rows: Tensor, undo: Tensor, parents: Tensor) -> Iterator[Fault]:
    states = space.states[rows]
    action = space.asked.tensor("forward_action", (), torch.long, states, undo)

    def says(edge: Tensor) -> str:
        where = f"backward action {int(undo[edge])} leads from {space.show(rows[edge])} to {written(parents[edge])}"
        return f"{where}, forward_action says {int(action[edge])}"

    outside = ((action < 0) | (action >= space.n_actions - 1)).nonzero()[:, 0]
    if len(outside) > 0:
        line = f"{says(outside[0])}{more(len(outside), 'step')}"
        yield Fault(f"{line}: return an action from 0 to n_actions - 2 = {space.n_actions - 2}, the last one stops")
        return
    legal = space.asked.tensor("forward_mask", (space.n_actions,), torch.bool, parents).gather(1, action[:, None].long())[:, 0]
    illegal = (~legal).nonzero()[:, 0]
    if len(illegal) > 0:
        line = f"{says(illegal[0])}, and forward_mask forbids that at the parent{more(len(illegal), 'step')}"
        yield Fault(f"{line}: forbid the backward action, or allow the move")
    kept = legal.nonzero()[:, 0]
    if len(kept) == 0:
        return
    children = space.step(parents[kept], action[kept])
    wrong = (children != states[kept]).flatten(1).any(1).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"{says(kept[wrong[0]])}, and step by that leads to {written(children[wrong[0]])}{more(len(wrong), 'step')}"
        yield Fault(f"{line}: make step(backstep(s, b), forward_action(s, b)) the state s itself")
        return
    again = space.asked.tensor("backward_action", (), torch.long, parents[kept], action[kept])
    wrong = (again != undo[kept]).nonzero()[:, 0]
    if len(wrong) > 0:
        line = f"{says(kept[wrong[0]])}, and backward_action of that is {int(again[wrong[0]])}{more(len(wrong), 'step')}"
        yield Fault(
            f"{line}: return the backward action that leads back; where two lead to one parent, allow one in backward_mask"
        )


def inverses_of_backward_steps(space: Space) -> Iterator[Fault]:
    """The child of a parent, by the action that the backward action undoes, is the state; every parent can be reached."""
    row, undo = space.backward.nonzero(as_tuple=True)
    if not space.complete:
        kept = torch.randperm(len(row), generator=space.generator)[: max(1, len(space.source))].sort().values
        row, undo = row[kept], undo[kept]
    if len(row) == 0:
        raise NotApplicable("no state has a backward action")
    unreached: list[str] = []

    def parts() -> Iterator[Iterator[Fault]]:
        for rows, undone in zip(row.split(MOVES_AT_ONCE), undo.split(MOVES_AT_ONCE), strict=True):
            parents = space.backstep(space.states[rows], undone)
            if space.complete and not unreached:
                for i, parent in enumerate(parents.flatten(1).tolist()):
                    if tuple(parent) not in space.row_of:
                        step = f"backward action {int(undone[i])} leads from {space.show(rows[i])} to {written(parents[i])}"
                        unreached.append(f"{step}, which no moves from the source lead to: forbid it in backward_mask")
                        break
            yield _undone_backward(space, rows, undone, parents)

    faults = list(_first_of_each(parts()))
    yield from map(Fault, unreached)
    yield from faults
    if space.strays is not None and not faults:
        yield Fault(f"{space.strays}: let every way back end at the source, within horizon - 1 = {space.horizon - 1} steps")


def _first_of_each(parts: Iterator[Iterator[Fault]]) -> Iterator[Fault]:
    """Yield the faults of the first part that has any: the parts are of one kind, and a line for one of them is enough."""
    for part in parts:
        faults = list(part)
        if faults:
            yield from faults
            return


def acyclic(space: Space) -> Iterator[Fault]:
    """No moves lead from a state back to it."""
    behind = (space.level < 0).nonzero()[:, 0]
    if len(behind) == 0:
        return
    # every such state has such a parent, so that going back ends on a cycle
    parent_of = torch.full((len(space.states),), -1)
    kept = space.level[space.source] < 0
    parent_of[space.target[kept]] = space.source[kept]
    way = [int(behind[0])]
    while way.count(way[-1]) == 1:
        way.append(int(parent_of[way[-1]]))
    cycle = way[way.index(way[-1]) :][::-1]
    shown = [space.show(row) for row in (cycle if len(cycle) <= MOST_SHOWN else cycle[:MOST_SHOWN])]
    rest = "" if len(cycle) <= MOST_SHOWN else f" -> ... ({len(cycle) - 1} moves)"
    yield Fault(f"moves lead in a circle, {' -> '.join(shown)}{rest}: forbid one of them; a trajectory may not return")


def horizon(space: Space) -> Iterator[Fault]:
    """The horizon is the number of steps of the longest trajectory, stop included."""
    if bool((space.level < 0).any()):
        raise NotApplicable("moves lead in a circle: there is no longest trajectory")
    says = f"horizon={space.horizon}"
    if not space.complete:
        if space.overlong is not None:
            moves, state = space.overlong
            line = f"a walk of {moves} moves is at {written(state)}, and {says} holds {space.horizon - 1} moves and the stop"
            yield Fault(
                f"{line}: set horizon to the number of moves of the longest trajectory, plus 1, or forbid what has no end"
            )
        return
    longest = int(space.level.argmax())
    needed = int(space.level[longest]) + 1
    if needed > space.horizon:
        line = f"{says}, and the longest trajectory, to {space.show(longest)}, has {needed} steps, stop included"
        yield Fault(f"{line}: set horizon={needed}; as it is, trajectories are cut off without a stop")
    if needed < space.horizon:
        line = f"{says}, and the longest trajectory, to {space.show(longest)}, has only {needed} steps, stop included"
        yield Fault(f"{line}: set horizon={needed}; what is too much costs time and memory", harmless=True)


def way_to_a_stop(space: Space) -> Iterator[Fault]:
    """Every state has moves that lead to one that can stop."""
    allowed = space.forward.any(1)
    ends = space.stops | (allowed & ~space.followed)
    while True:
        before = int(ends.sum())
        ends[space.source[ends[space.target]]] = True
        if int(ends.sum()) == before:
            break
    lost = (~ends).nonzero()[:, 0]
    if len(lost) == 0:
        return
    stuck = lost[~allowed[lost]]
    if len(stuck) == len(lost):
        line = f"forward_mask allows nothing at {space.show(lost[0])}{more(len(lost))}"
    else:
        line = f"no moves lead from {space.show(lost[0])} to a state that can stop{more(len(lost))}"
        line += f", and forward_mask allows nothing at {space.show(stuck[0])}" if len(stuck) > 0 else ""
    yield Fault(f"{line}: allow the stop action there or behind it, or forbid the move that leads there")
