"""Rollouts on a large graph that first guess where the trajectories will go, and evaluate the policy only there.

A policy changes little from update to update. So the trajectories are first walked by the policy as it was last evaluated at each
state, with the noise of this rollout; the policy is evaluated in one batch at the states they met, and the few trajectories that
now take another step somewhere are walked again from there, until none does. What is then left was drawn from the present policy
at every step: the guess decides how fast that is, and in what order sums of a gradient are rounded (shared.py), and nothing else.
Of the 16,384 states of a 128 x 128 grid, a batch of 64 meets some 3,200 after 300 updates, and 9% more are evaluated
(docs/benchmark.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfn_vi.core.state_graph import StateGraph
from gfn_vi.samplers.discrete.rollout import Path, finished, table_rollout
from gfn_vi.samplers.discrete.table_walk import TableWalk, drawing_table, whole_table
from gfn_vi.samplers.discrete.visited import take_entries

# Below so many states a table of all of them costs less than a guess.
FEWEST_STATES = 1_000
# Numbers in the table of all replicas, which a checkpoint holds.
LARGEST_TABLE = 5_000_000
# Evaluations that a good guess needs. What more are needed is a debt; once it exceeds the cost of all states, all are evaluated.
FEW_ROUNDS = 3
# Updates after which a guess that did not pay is tried again.
RETRY = 32
# Few rows in a product of matrices are rounded in another way than many.
FEWEST_ROWS = 16

Policy = Callable[[Tensor, list[int]], Tensor]
"""(states [R, N, *state], how many are asked for of each replica) -> log-probabilities [R, N, A] of the behavior policy."""


class Rehearsal:
    """The behavior policy of training as it was last evaluated at each state, and what the last guess by it cost.

    table [R (S + 1), A - 1]: as whole_table makes it; None where the whole of it should be evaluated.
    tilt: name of the kind of tilt that training rolls out with; None before the first update.
    rows, rounds: evaluated states per replica and evaluations of the last guess of trajectories, batch of them per replica.
    debt: rows that bad guesses have cost since all states were evaluated. unused: updates since a guess did not pay.
    """

    def __init__(
        self,
        table: Tensor | None = None,
        tilt: str | None = None,
        rows: float = 0.0,
        rounds: int = 0,
        batch: int = 1,
        debt: float = 0.0,
        unused: int = 0,
    ) -> None:
        self.table, self.tilt, self.rows, self.rounds, self.batch = table, tilt, rows, rounds, batch
        self.debt, self.unused = debt, unused
        self._tilt: str | None = None  # of the last rollout since the last update or begin
        self._latest: dict[str, Any] = {}
        self._before: list[tuple[NDArray[np.intp], Tensor]] = []

    def begin(self, tilt: str | None = None) -> None:
        """Forget what rollouts evaluated that no update followed: measuring changes nothing. tilt: of the rollout that begins."""
        for places, values in reversed(self._before):
            assert self.table is not None
            self.table[places] = values
        self._tilt, self._latest, self._before = tilt, {}, []

    def is_due(self, n_states: int) -> bool:
        """Return whether the rollout that begins should evaluate the policy at all states, for the guesses after it."""
        return self._is_of_training() and (self.table is None or self.debt >= n_states)

    def _is_of_training(self) -> bool:
        return self.tilt is not None and self._tilt == self.tilt

    def pays(self, batch: int, otherwise: float, dispatch: float) -> bool:
        """Return whether a guess is likely to cost less than `otherwise` rows of a policy network per replica.

        dispatch: what an evaluation costs besides its rows, in rows.
        """
        cost = self.rows * batch / self.batch + self.rounds * dispatch
        return self.table is not None and self._is_of_training() and cost < otherwise

    def whole(self, graph: StateGraph, log_probs: Tensor, noise: Tensor) -> Path:
        """Return a rollout by the policy at all states, log_probs [R, S, A], by which the next ones can be guessed."""
        table = whole_table(log_probs)
        self._latest = {"table": table, "rows": 0.0, "rounds": 0, "debt": 0.0}
        return table_rollout(graph, log_probs, noise, table)

    def rollout(self, graph: StateGraph, policy: Policy, noise: Tensor, dispatch: float) -> tuple[Path, Tensor]:
        """Return a rollout on a graph, as table_rollout does for the whole table; noise: noise_block's, [T, R, B].

        With it, where what the policy returned for a state is, if all of it is joined along its states: [R, S] long; -1: nowhere.
        """
        assert self.table is not None
        _, n_replicas, batch = noise.shape
        table, width = self.table, graph.n_states + 1
        walk = TableWalk(graph, table, noise)
        slot = np.full(n_replicas * width, -1, dtype=np.int64)
        slot[graph.n_states :: width] = 0  # the end of each replica: nothing is asked there
        found: list[Tensor] = []
        n_found, n_rows, columns, start = 0, 0, np.arange(n_replicas * batch), 0
        while True:
            places = walk.places(columns, start)
            slot[places[slot[places] == -1]] = -2
            wanted = np.flatnonzero(slot == -2)
            if len(wanted) > 0:
                self._before.append((wanted, table[wanted]))
                log_probs, replica, rank = _evaluated(graph, policy, wanted, n_replicas)
                table[wanted] = drawing_table(log_probs[replica, rank])
                slot[wanted] = n_rows + rank.numpy()
                found.append(log_probs)
                n_found, n_rows = n_found + len(wanted), n_rows + log_probs.shape[1]
            wrong = walk.wrong(places, columns, start)
            moved = wrong.any(0)
            if not moved.any():
                break
            columns, start = columns[moved], start + int(wrong.any(1).argmax())
            walk.walk(columns, start)
        debt = self.debt + max(len(found) - FEW_ROUNDS, 0) * dispatch
        self._latest = {"rows": n_found / n_replicas, "rounds": len(found), "batch": batch, "debt": debt}
        rows, actions = walk.tensors(n_replicas)
        done = finished(rows, actions, graph.n_states)
        slots = torch.from_numpy(slot).view(n_replicas, width)
        starts = slots.gather(1, done.rows[..., :-1].flatten(1)).view(done.mask.shape)
        chosen = take_entries(torch.cat(found, 1), starts, done.actions)
        return Path(graph.states[done.rows], done.actions, done.mask, (chosen * done.mask).sum(2)), slots[:, :-1]

    def adopt(self) -> None:
        """Keep what the last rollout evaluated, which was one of training; without any rollout there is nothing to keep."""
        if self._tilt is None:
            return
        self.tilt, self.unused = self._tilt, 0 if self._latest else self.unused + 1
        vars(self).update(self._latest)
        if self.unused == RETRY:
            self.table, self.unused = None, 0
        self._tilt, self._latest, self._before = None, {}, []

    def memory(self) -> dict[str, Any] | None:
        """Return the arguments of the constructor, to go on in another process; None before the first update."""
        if self.tilt is None:
            return None
        self.begin()
        table = None if self.table is None else self.table.clone()
        return {name: value for name, value in vars(self).items() if not name.startswith("_")} | {"table": table}


def _evaluated(graph: StateGraph, policy: Policy, places: NDArray[np.intp], n_replicas: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-probabilities [R, m, A] at rows of the replicas' tables [n], and where each row's are: replica and rank [n].

    The rows are sorted; replica r has those from r (S + 1) on.
    """
    width = graph.n_states + 1
    rows = torch.from_numpy(places)
    replica = rows.div(width, rounding_mode="floor")
    counts = replica.bincount(minlength=n_replicas)
    rank = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[replica]
    padded = torch.zeros(n_replicas, max(int(counts.max()), FEWEST_ROWS), dtype=torch.long)
    padded[replica, rank] = rows - replica * width
    return policy(graph.states[padded], counts.tolist()), replica, rank
