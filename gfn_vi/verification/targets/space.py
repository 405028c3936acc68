"""The states of a target that its checks look at: all of them where they can be listed, else those that random walks meet.

They are found by forward_mask and step alone, so that the target's own state graph is something to check, and a wrong one, or a
cycle, stops nobody here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gfn_vi.verification.targets.answers import Questions
from gfn_vi.verification.targets.asking import Asked, raised, written
from gfn_vi.verification.targets.findings import Fault

# Numbers in the states, or in the masks, that are worked on at once.
LARGEST_PART = 2**22
# Listing is given up when even the shortest way to a state is so many times the horizon: the space may have no end.
ENDLESS = 3
# States that are asked twice and in another order.
ASKED_TWICE = 64
# Of random walks: states whose moves are all followed and moves of these, for each walk.
STATES_PER_WALK, MOVES_PER_WALK = 32, 64


def spread(n: int, most: int) -> Tensor:
    """Return at most so many of the numbers below n, the first and the last among them: [m] long."""
    return torch.linspace(0, max(n - 1, 0), min(n, most)).round().long()


@dataclass(frozen=True)
class Effort:
    """How much is looked at. most_states: more are not listed; n_walks: random walks where they cannot be listed, 0 for none.

    seconds: listing that takes longer is given up; None for no limit.
    """

    most_states: int
    n_walks: int
    seed: int
    seconds: float | None = None


class _Rows:
    """States by number: equal states have equal numbers."""

    def __init__(self, source: Tensor) -> None:
        self.row_of: dict[tuple[Any, ...], int] = {}
        self.parts: list[Tensor] = []
        self.add(source)

    def add(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number of each state [n] and the states that are new [m, *state]."""
        rows, fresh = [], []
        for place, key in enumerate(map(tuple, states.flatten(1).tolist())):
            n_known = len(self.row_of)
            row = self.row_of.setdefault(key, n_known)
            if row == n_known:
                fresh.append(place)
            rows.append(row)
        self.parts.append(states[fresh])
        return torch.tensor(rows, dtype=torch.long), self.parts[-1]

    def states(self) -> Tensor:
        return torch.cat(self.parts)


class Space:
    """States [S, *state], the source first, and moves E between them, with what the target says of each.

    row_of: numbers of a state -> its row; source, action, target [E] long: rows of states; followed [S] bool: states all of
    whose moves are there; complete: all states and moves are. overlong: (moves, state) of a walk that the horizon does not
    hold, None without one; strays: a state from which steps back do not come to the source within the horizon, and what it is
    that happens, None without one.
    """

    def __init__(self, asked: Asked, effort: Effort) -> None:
        self.asked, self.effort, self.generator = asked, effort, torch.Generator().manual_seed(effort.seed)
        target = asked.target
        self.n_actions, self.n_backward_actions, self.horizon = target.n_actions, target.n_backward_actions, target.horizon
        self.overlong: tuple[int, Tensor] | None = None
        self.strays: str | None = None
        listed = self._list()
        self.complete = listed
        if not listed and self.overlong is None and effort.n_walks > 0:
            self._walk()
        self.states, self.row_of = self._rows.states(), self._rows.row_of
        moves = [torch.cat(part) if part else torch.zeros(0, dtype=torch.long) for part in zip(*self._moves, strict=True)]
        self.source, self.action, self.target = moves if moves else [torch.zeros(0, dtype=torch.long)] * 3
        self.followed = torch.zeros(len(self.states), dtype=torch.bool)
        self.followed[torch.cat(self._followed)] = True

    @property
    def scope(self) -> str:
        """Return in words what was looked at."""
        n, moves = len(self.states), len(self.source)
        if self.overlong is not None:
            return f"{n} states and {moves} moves, where the horizon was found to be too small; all that is behind them is open"
        if self.complete:
            return f"all {n} states and {moves} moves"
        walks = f"met by {self.effort.n_walks} random walks"
        return f"{n} states and {moves} moves, {walks}; what only a list of all states shows is open"

    @property
    def as_far(self) -> str:
        """Return what limits a check that has found nothing, in words; "" where all states were looked at."""
        return "" if self.complete else ", as far as was looked"

    def show(self, row: Tensor | int) -> str:
        """Return a state as one would write it."""
        return written(self.states[int(row)])

    # -- what the target says of them ---------------------------------------------------------------------------------

    @cached_property
    def forward(self) -> Tensor:
        """The legal actions of all states: [S, A] bool."""
        return self._in_parts("forward_mask", self.n_actions)

    @cached_property
    def backward(self) -> Tensor:
        """The legal backward actions of all states: [S, A'] bool."""
        return self._in_parts("backward_mask", self.n_backward_actions)

    def _in_parts(self, name: str, width: int) -> Tensor:
        per_part = max(1, LARGEST_PART // max(1, width))
        return torch.cat([self.asked.tensor(name, (width,), torch.bool, part) for part in self.states.split(per_part)])

    @cached_property
    def stops(self) -> Tensor:
        """Return which states can stop: [S] bool."""
        return self.forward[:, -1]

    @cached_property
    def log_reward(self) -> Tensor:
        """Log R of all states, which is asked where stopping is legal, and everywhere where all are listed: [S] float64.

        NaN where it was not asked, the last ones where the time was over.
        """
        out = torch.full((len(self.states),), torch.nan, dtype=torch.float64)
        rows = torch.arange(len(self.states)) if self.complete else self.stops.nonzero()[:, 0]
        start, self.n_rewards = time.monotonic(), 0
        size = 1 if self.effort.seconds is not None else 4096
        while self.n_rewards < len(rows):
            part = rows[self.n_rewards : self.n_rewards + size]
            out[part] = self.asked.tensor("log_reward", (), torch.float64, self.states[part])
            self.n_rewards += len(part)
            size = min(4 * size, 4096)
            if self.effort.seconds is not None and time.monotonic() - start > self.effort.seconds:
                break
        self.rewarded = rows[: self.n_rewards]
        return out

    @cached_property
    def level(self) -> Tensor:
        """Length of the longest path from the source to each state, -1 on a cycle and behind one: [S] long."""
        n = len(self.states)
        waiting = torch.bincount(self.target, minlength=n)
        level = torch.full((n,), -1)
        front, k = waiting == 0, 0
        while bool(front.any()):
            level[front] = k
            waiting -= torch.bincount(self.target[front[self.source]], minlength=n)
            front, k = (waiting == 0) & (level < 0), k + 1
        return level

    def questions(self) -> Questions:
        """Return method -> the states that it is asked about again [n, *state], and the question."""
        asked, states = self.asked, self.states[spread(len(self.states), ASKED_TWICE)]
        found: Questions = {
            "forward_mask": (states, lambda given: asked.tensor("forward_mask", (self.n_actions,), torch.bool, given)),
            "backward_mask": (states, lambda given: asked.tensor("backward_mask", (self.n_backward_actions,), torch.bool, given)),
            "features": (states, asked.features),
        }
        _ = self.log_reward
        if len(self.rewarded) > 0:
            rewarded = self.states[self.rewarded[spread(len(self.rewarded), ASKED_TWICE)]]
            found["log_reward"] = (rewarded, lambda given: asked.tensor("log_reward", (), torch.float64, given))
        return found

    # -- how they are found -------------------------------------------------------------------------------------------

    def initial(self, *leading: int) -> Tensor:
        """Return the source state, repeated: [*leading, *state]. Raises Fault for another shape, and for what it raises."""
        try:
            found = self.asked.target.initial(*leading)
        except Exception as error:
            raise Fault(f"initial({', '.join(map(str, leading))}) raises {raised(error)}") from error
        expected = (*leading, *self.asked.target.state_shape)
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Fault(f"initial({', '.join(map(str, leading))}) returns {got}: return the source state {list(expected)}")
        return found

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the states after the actions: [n, *state], of the type of the states."""
        return self.asked.tensor("step", states.shape[1:], states.dtype, states, actions)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the parents under the backward actions: [n, *state], of the type of the states."""
        return self.asked.tensor("backstep", states.shape[1:], states.dtype, states, backward_actions)

    def _mask(self, states: Tensor) -> Tensor:
        return self.asked.tensor("forward_mask", (self.n_actions,), torch.bool, states)[:, :-1]

    def _follow(self, rows: Tensor, states: Tensor) -> Tensor:
        """Follow all moves from the states with these numbers; return the states that are new."""
        row, action = self._mask(states).nonzero(as_tuple=True)
        self._followed.append(rows)
        if len(row) == 0:
            return states[:0]
        target, fresh = self._rows.add(self.step(states[row], action))
        self._moves.append((rows[row], action, target))
        return fresh

    def _begin(self) -> Tensor:
        source = self.initial(1)
        self._rows, self._followed = _Rows(source), [torch.zeros(0, dtype=torch.long)]
        self._moves: list[tuple[Tensor, Tensor, Tensor]] = []
        return source

    def _list(self) -> bool:
        """Follow all moves from the source on; return whether that came to an end."""
        front, first, start, depth = self._begin(), 0, time.monotonic(), 0
        most = max(1, LARGEST_PART // (self.n_actions * max(1, front[0].numel())))
        # where time counts, one state first and then more at once: a slow step is noticed before much is asked of it
        per_part = most if self.effort.seconds is None else 1
        while len(front) > 0:
            fresh, done = [], 0
            while done < len(front):
                part = front[done : done + per_part]
                fresh.append(self._follow(torch.arange(first + done, first + done + len(part)), part))
                done, per_part = done + len(part), min(most, 4 * per_part)
                late = self.effort.seconds is not None and time.monotonic() - start > self.effort.seconds
                if late or len(self._rows.row_of) > self.effort.most_states:
                    return False
            first, front, depth = first + len(front), torch.cat(fresh), depth + 1
            if depth > ENDLESS * self.horizon and len(front) > 0:
                self.overlong = (depth, front[0])
                return False
        return True

    def _walk(self) -> None:
        """Go from the source until nothing but the stop is left, and back, and follow the moves of some states on the way."""
        self._begin()
        n = self.effort.n_walks
        states, ends, visited = self.initial(n), [], []
        for taken in range(self.horizon):
            visited.append(states)
            moves = self._mask(states)
            alive = moves.any(1)
            ends.append(states[~alive])
            states = states[alive]
            if len(states) == 0:
                break
            if taken >= self.horizon - 1:
                self.overlong = (taken + 1, self.step(states[:1], moves[alive][:1].long().argmax(1))[0])
                ends.append(states)
                break
            action = torch.multinomial(moves[alive].double(), 1, generator=self.generator)[:, 0]
            states = self.step(states, action)
        visited += self._walk_back(torch.cat(ends))
        self._rows.add(torch.cat(visited))
        known = self._rows.states()
        order = torch.randperm(len(known), generator=self.generator)[: STATES_PER_WALK * n]
        self._rows = _Rows(known[:1])
        self._rows.add(known[order])
        known = self._rows.states()
        for row in range(len(known)):
            self._follow(torch.tensor([row]), known[row : row + 1])
            if sum(len(part[0]) for part in self._moves) >= MOVES_PER_WALK * n:
                break

    def _walk_back(self, states: Tensor) -> list[Tensor]:
        """Go back from the states by random backward actions; return the states on the way."""
        visited, starts = [], states
        source = self.initial(1)
        for taken in range(self.horizon + 1):
            legal = self.asked.tensor("backward_mask", (self.n_backward_actions,), torch.bool, states)
            alive = legal.any(1)
            lost = ~alive & (states != source).flatten(1).any(1)
            if bool(lost.any()):
                state = written(states[lost][0])
                self.strays = f"going back from {written(starts[lost][0])} ends at {state}, which has no backward action"
            states, starts, legal = states[alive], starts[alive], legal[alive]
            if len(states) == 0:
                break
            if taken >= self.horizon - 1 and self.overlong is None:
                self.strays = f"going back from {written(starts[0])} is not at the source after {taken} steps back"
                break
            action = torch.multinomial(legal.double(), 1, generator=self.generator)[:, 0]
            states = self.backstep(states, action)
            visited.append(states)
        return visited
