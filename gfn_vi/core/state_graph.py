"""An enumerated pointed graph: states in topological levels, edges as index arrays, log-rewards. Tensors only.

The level of a state is the length of the longest path to it from the source (state 0), so every edge goes to a higher
level, and a pass over the levels visits every edge once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class StateGraph:
    """States S in topological order, edges E sorted by the level of their target; stop edges are not listed.

    states [S, *state]; source, target, forward_action, backward_action [E] long;
    log_reward [S] float64, -inf where the stop action is illegal;
    level_offsets: level k is states[level_offsets[k]:level_offsets[k + 1]];
    in_offsets: the edges into level k are in_offsets[k]:in_offsets[k + 1];
    out_order [E]: edges sorted by the level of their source; out_offsets: the same as in_offsets for that order.
    """

    states: Tensor
    source: Tensor
    target: Tensor
    forward_action: Tensor
    backward_action: Tensor
    log_reward: Tensor
    level_offsets: tuple[int, ...]
    in_offsets: tuple[int, ...]
    out_order: Tensor
    out_offsets: tuple[int, ...]
    n_actions: int
    n_backward_actions: int

    @property
    def n_states(self) -> int:
        """Return the number of states S."""
        return self.states.shape[0]

    @property
    def n_levels(self) -> int:
        """Return the number of topological levels."""
        return len(self.level_offsets) - 1

    @cached_property
    def log_partition(self) -> Tensor:
        """Return the log of the sum of all rewards, a scalar in float64."""
        return torch.logsumexp(self.log_reward, 0)

    @cached_property
    def log_target(self) -> Tensor:
        """Return the log-probability of each state under the normalized target: [S] float64."""
        return self.log_reward - self.log_partition

    @cached_property
    def forward_mask(self) -> Tensor:
        """Return which actions are legal at each state, the stop action last: [S, A] bool."""
        mask = torch.zeros(self.n_states, self.n_actions, dtype=torch.bool, device=self.states.device)
        mask[self.source, self.forward_action] = True
        mask[:, -1] = self.log_reward > -torch.inf
        return mask

    @cached_property
    def backward_mask(self) -> Tensor:
        """Return which backward actions are legal at each state: [S, A'] bool."""
        mask = torch.zeros(self.n_states, self.n_backward_actions, dtype=torch.bool, device=self.states.device)
        mask[self.target, self.backward_action] = True
        return mask

    @cached_property
    def next_state(self) -> Tensor:
        """Return the row of the state that each action leads to: [S, A] long; the state itself where illegal, and S for stop."""
        table = torch.arange(self.n_states, device=self.states.device)[:, None].repeat(1, self.n_actions)
        table[self.source, self.forward_action] = self.target
        table[:, -1] = self.n_states
        return table

    @cached_property
    def walk_table(self) -> Tensor:
        """Return next_state in blocks of S + 1 rows, one per action: [A (S + 1)] long; row S is the end and leads to itself."""
        return torch.nn.functional.pad(self.next_state.T, (0, 1), value=self.n_states).reshape(-1)

    @cached_property
    def walk_states(self) -> Tensor:
        """Return the states and, in row S, which stands for the end, any state: [S + 1, *state]."""
        return torch.cat([self.states, self.states[:1]])

    @cached_property
    def in_levels(self) -> list[tuple[Tensor, Tensor]]:
        """Return (source, target) [E_k] long of the edges into each level except the first."""
        return [(self.source[a:b], self.target[a:b]) for a, b in pairwise(self.in_offsets[1:])]

    @cached_property
    def out_levels(self) -> list[tuple[Tensor, Tensor]]:
        """Return (source, target) [E_k] long of the edges out of each level except the last, in the order of out_order."""
        source, target = self.source[self.out_order], self.target[self.out_order]
        return [(source[a:b], target[a:b]) for a, b in pairwise(self.out_offsets[:-1])]

    @cached_property
    def modes(self) -> tuple[Tensor, int]:
        """Return the connected regions of top reward: (label of each state [S] long, -1 outside of all; number of regions).

        Top means equal to the largest log-reward up to 1e-9; two states are connected by an edge between them.
        """
        top = self.log_reward >= self.log_reward.max() - 1e-9
        rows = top.nonzero().squeeze(1)
        label = torch.where(top, torch.arange(self.n_states, device=top.device), self.n_states)
        inside = top[self.source] & top[self.target]
        a, b = self.source[inside], self.target[inside]
        while True:
            low = torch.minimum(label[a], label[b])
            spread = label.scatter_reduce(0, a, low, "amin").scatter_reduce(0, b, low, "amin")
            if torch.equal(spread, label):
                break
            label = spread
        names, compact = torch.unique(label[rows], return_inverse=True)
        out = torch.full_like(label, -1)
        out[rows] = compact
        return out, len(names)

    def to(self, device: torch.device | str) -> StateGraph:
        """Return a copy on `device`."""
        return replace(
            self,
            states=self.states.to(device),
            source=self.source.to(device),
            target=self.target.to(device),
            forward_action=self.forward_action.to(device),
            backward_action=self.backward_action.to(device),
            log_reward=self.log_reward.to(device),
            out_order=self.out_order.to(device),
        )


def build_state_graph(
    states: Tensor,
    source: Tensor,
    target: Tensor,
    forward_action: Tensor,
    backward_action: Tensor,
    log_reward: Tensor,
    n_actions: int,
    n_backward_actions: int,
) -> tuple[StateGraph, Tensor]:
    """Sort states by level and edges by level; state 0 is the source. Returns the graph and rank [S]: old row -> new row.

    The arguments have the shapes of the fields of StateGraph. Raises ValueError where the graph has a cycle.
    """
    n_states, device = states.shape[0], states.device
    level = torch.zeros(n_states, dtype=torch.long, device=device)
    for _ in range(n_states):
        deeper = level.scatter_reduce(0, target, level[source] + 1, "amax")
        if torch.equal(deeper, level):
            break
        level = deeper
    else:
        raise ValueError("the state graph has a cycle: no topological order exists")
    order = torch.argsort(level, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n_states, device=device)
    by_target = torch.argsort(level[target], stable=True)
    source, target = source[by_target], target[by_target]
    out_order = torch.argsort(level[source], stable=True)
    n_levels = int(level.max()) + 1

    def offsets(levels: Tensor) -> tuple[int, ...]:
        counts = torch.bincount(levels, minlength=n_levels)
        return (0, *(int(c) for c in counts.cumsum(0)))

    graph = StateGraph(
        states=states[order],
        source=rank[source],
        target=rank[target],
        forward_action=forward_action[by_target],
        backward_action=backward_action[by_target],
        log_reward=log_reward[order].double(),
        level_offsets=offsets(level),
        in_offsets=offsets(level[target]),
        out_order=out_order,
        out_offsets=offsets(level[source]),
        n_actions=n_actions,
        n_backward_actions=n_backward_actions,
    )
    return graph, rank
