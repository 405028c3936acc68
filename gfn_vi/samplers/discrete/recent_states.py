"""Rollouts on a large graph that evaluate the policy where trajectories are expected, and elsewhere as they get there.

What a sampler visits changes slowly from update to update: on a grid of 128 x 128 a batch of 64 meets some 900 of 16,384 states.
So the policy is evaluated in one batch at the states that training visited lately. The walk looks it up there; a state that is
not there is evaluated, with some that follow it, when a trajectory arrives. The guess decides how fast that is, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.core.log_probability import cumulative
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.samplers.discrete.rollout import Path, graph_walk

# Updates after which a state that was not visited again is no longer expected, and how many states that follow unexpected ones
# are evaluated with them (measured on 64 x 64 and 128 x 128; only speed depends on them).
UPDATES_REMEMBERED, FOLLOWERS = 8, 64
# Below so many states a table of all of them costs less than to find out what to expect; above, the tables of a rollout cost more
# than its steps.
FEWEST_STATES, MOST_STATES = 1_000, 250_000
# What costs a row of a policy network besides: states of the tables that a rollout fills in, and evaluations of unexpected
# states, of which there is one for some eight of these states.
TABLE_COST, SURPRISE_COST = 1 / 16, 1 / 8
# Few rows in a product of matrices are rounded in another way than many.
FEWEST_ROWS = 16


class RecentStates:
    """The states of a graph that training visited lately, for each replica.

    countdown [R, S] uint8: updates until a state is forgotten, 0 where none is expected; None before the first update.
    mean_steps, most_steps: of the trajectories of the last update; n_unexpected: states that it met unexpectedly, in the replica
    that has most.
    """

    def __init__(
        self, countdown: Tensor | None = None, mean_steps: float = 0.0, most_steps: int = 0, n_unexpected: int = 0
    ) -> None:
        self.countdown, self.mean_steps, self.most_steps, self.n_unexpected = countdown, mean_steps, most_steps, n_unexpected

    def remember(self, rows: Tensor, mask: Tensor, n_states: int) -> None:
        """Take in the rows [R, B, T] that the steps of an update start from, where mask [R, B, T]; what is known ages by one."""
        n_replicas, batch, self.most_steps = mask.shape
        before = torch.zeros(n_replicas, n_states, dtype=torch.uint8) if self.countdown is None else self.countdown
        aged = torch.nn.functional.pad(before - (before > 0).to(torch.uint8), (0, 1))  # padding goes to row S
        visited = rows.where(mask, n_states).view(n_replicas, -1)
        self.countdown = aged.scatter_(1, visited, UPDATES_REMEMBERED)[:, :n_states]
        self.n_unexpected = int(((self.countdown == UPDATES_REMEMBERED) & (before == 0)).sum(1).max())
        self.mean_steps = int(mask.sum()) / (n_replicas * batch)

    def expected(self, batch: int, dispatch: int) -> Tensor | None:
        """Return which states are expected, [R, S] bool; None where to evaluate them first is not likely to pay.

        dispatch: what dispatching one step of a rollout costs, in rows of a policy network.
        """
        if self.countdown is None:
            return None
        expected, n_states = self.countdown > 0, self.countdown.shape[1]
        otherwise = min(n_states, self.mean_steps * batch + self.most_steps * dispatch)  # a table of all states, or step by step
        cost = int(expected.sum(1).max()) + TABLE_COST * n_states + SURPRISE_COST * (dispatch + FOLLOWERS) * self.n_unexpected
        return expected if cost < otherwise else None


def expected_rollout(
    graph: StateGraph,
    policy: Callable[[Tensor], Tensor],
    expected: Tensor,
    batch: int,
    horizon: int,
    rng: ReplicaGenerators,
    dtype: torch.dtype,
) -> Path:
    """Return a rollout on a graph, as table_rollout does, with the policy evaluated at `expected` [R, S] first.

    policy: states [R, b, *state] -> log-probabilities [R, b, A] of the behavior policy.
    """
    n_replicas, n_states = expected.shape
    n_actions, width = graph.n_actions, n_states + 1
    offset = (torch.arange(n_replicas) * width)[:, None]
    unknown = torch.ones(n_replicas * width, dtype=torch.bool)
    unknown[offset[:, 0] + n_states] = False  # row S, where ended trajectories stay
    log_probs = torch.zeros(n_replicas * width, n_actions, dtype=dtype)
    cdf = torch.zeros(n_replicas * width, n_actions - 1, dtype=dtype)

    def evaluate(replica: Tensor, row: Tensor) -> None:
        """Look the policy up at rows of replicas, sorted by replica: [n] long each."""
        rows = _padded(replica, row, n_replicas)
        found = policy(graph.states[rows])
        sums = cumulative(found)
        share = sums[..., :-1] / sums[..., -1:]
        flat = (rows + offset).view(-1)
        log_probs.index_copy_(0, flat, found.view(-1, n_actions))
        cdf.index_copy_(0, flat, share.where(~share.isnan(), -1.0).view(-1, n_actions - 1))  # as in table_rollout
        unknown.index_fill_(0, flat, False)

    def draw(rows: Tensor, noise: Tensor) -> tuple[Tensor, None]:
        flat = (rows + offset).view(-1)
        missing = unknown.index_select(0, flat)
        if bool(missing.any()):
            wanted = _with_followers(graph, flat[missing])
            wanted = wanted[unknown[wanted]]
            replica = wanted.div(width, rounding_mode="floor")
            evaluate(replica, wanted - replica * width)
        return (cdf.index_select(0, flat) <= noise.view(-1, 1)).sum(-1).view_as(rows), None

    evaluate(*expected.nonzero(as_tuple=True))
    walk = graph_walk(graph, draw, n_replicas, batch, horizon, rng, dtype, compact=False)
    flat = (walk.rows[..., :-1] + offset[..., None]) * n_actions + walk.actions
    chosen = log_probs.view(-1).index_select(0, flat.reshape(-1)).view(walk.mask.shape)
    return Path(graph.states[walk.rows], walk.actions, walk.mask, (chosen * walk.mask).sum(2))


def _with_followers(graph: StateGraph, rows: Tensor) -> Tensor:
    """Return these rows of all replicas' tables and some that follow them, sorted; replica r has those from r (S + 1) on."""
    width = graph.n_states + 1
    following = graph.walk_table.view(graph.n_actions, width)[:-1]
    found, n_found = [rows], 0
    while n_found < FOLLOWERS and len(found) <= graph.n_levels:
        place = found[-1] % width
        found.append((following.index_select(1, place) + (found[-1] - place)).view(-1))
        n_found += len(found[-1])
    return torch.cat(found).unique()


def _padded(replica: Tensor, row: Tensor, n_replicas: int) -> Tensor:
    """Return the rows [n] of each replica [n], padded by row 0 to the replica that has most: [R, N] long."""
    counts = replica.bincount(minlength=n_replicas)
    rows = torch.zeros(n_replicas, max(int(counts.max()), FEWEST_ROWS), dtype=torch.long)
    rows[replica, torch.arange(len(row)) - (counts.cumsum(0) - counts)[replica]] = row
    return rows
