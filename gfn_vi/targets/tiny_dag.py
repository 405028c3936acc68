"""A state graph given by its edges, small enough to draw by hand: for tests and teaching.

States are node numbers (node 0 is the source). Edges may skip levels, nodes may have any number of parents and children,
and only the nodes with a reward can stop. Action k takes the k-th outgoing edge of a node in the order listed, the last
action stops; backward action k undoes the k-th incoming edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.state_graph import StateGraph, build_state_graph


class TinyDag:
    """A state graph with the nodes 0..n-1 and the edges and rewards that one lists. States are [..., 1] long."""

    enumerable = True

    def __init__(self, edges: Sequence[Sequence[int]], rewards: Mapping[int, float]) -> None:
        """edges: [[from, to], ...]; rewards: {node: R > 0} for the nodes that can stop.

        Raises ConfigError unless every node can be reached from node 0 and leads to a node with a reward.
        """
        pairs = [(int(a), int(b)) for a, b in edges]
        require(len(pairs) > 0, "target.edges", edges, "expected at least one [from, to] pair")
        require(len(set(pairs)) == len(pairs), "target.edges", pairs, "an edge is listed twice")
        self.n_states = n = 1 + max(max(p) for p in pairs)
        require(min(min(p) for p in pairs) >= 0, "target.edges", pairs, "nodes are numbered from 0")
        for node, reward in rewards.items():
            require(0 <= node < n, "target.rewards", node, f"no such node: nodes are 0..{n - 1}")
            require(reward > 0, "target.rewards", {node: reward}, "expected a positive reward")
        children = [[b for a, b in pairs if a == node] for node in range(n)]
        parents = [[a for a, b in pairs if b == node] for node in range(n)]
        self._check_reach(children, parents, set(rewards))
        width, depth = max(map(len, children)), max(map(len, parents))
        self.n_actions, self.n_backward_actions = width + 1, depth
        self.state_shape, self.n_features = (1,), n
        self.every_state_stops = len(rewards) == n
        self._edges, self._rewards = pairs, dict(rewards)
        self.device = torch.device("cpu")
        self._child = torch.tensor([c + [0] * (width - len(c)) + [node] for node, c in enumerate(children)])
        self._parent = torch.tensor([p + [0] * (depth - len(p)) for p in parents])
        stop = [node in rewards for node in range(n)]
        self._forward_mask = torch.tensor([[k < len(c) for k in range(width)] + [stop[i]] for i, c in enumerate(children)])
        self._backward_mask = torch.tensor([[k < len(p) for k in range(depth)] for p in parents])
        # slot of `a` among the parents of b, and of b among the children of a
        self._backward_action = torch.tensor(
            [[parents[b].index(a) for b in children[a]] + [0] * (width + 1 - len(children[a])) for a in range(n)]
        )
        self._forward_action = torch.tensor(
            [[children[a].index(b) for a in parents[b]] + [0] * (depth - len(parents[b])) for b in range(n)]
        )
        log_reward = [math.log(rewards[i]) if stop[i] else -math.inf for i in range(n)]
        self._log_reward = torch.tensor(log_reward, dtype=torch.float64)
        self._graph, self._rank = self._build()
        self.horizon = self._graph.n_levels

    @staticmethod
    def _check_reach(children: list[list[int]], parents: list[list[int]], stops: set[int]) -> None:
        def reach(start: set[int], along: list[list[int]]) -> set[int]:
            seen, front = set(start), list(start)
            while front:
                new = [m for m in along[front.pop()] if m not in seen]
                seen.update(new)
                front += new
            return seen

        everything = set(range(len(children)))
        if lost := everything - reach({0}, children):
            raise ConfigError("target.edges", sorted(lost), "these nodes cannot be reached from node 0")
        if dead := everything - reach(stops, parents):
            raise ConfigError("target.rewards", sorted(dead), "no node with a reward can be reached from these nodes")

    def _build(self) -> tuple[StateGraph, Tensor]:
        source = torch.tensor([a for a, _ in self._edges])
        target = torch.tensor([b for _, b in self._edges])
        action = torch.tensor([[c for x, c in self._edges if x == a].index(b) for a, b in self._edges])
        backward = self._backward_action[source, action]
        states = torch.arange(self.n_states)[:, None]
        try:
            return build_state_graph(
                states, source, target, action, backward, self._log_reward, self.n_actions, self.n_backward_actions
            )
        except ValueError as error:
            raise ConfigError("target.edges", self._edges, f"expected no cycle: {error}") from error

    def initial(self, *leading: int) -> Tensor:
        """Return node 0, the source: [*leading, 1] long."""
        return torch.zeros(*leading, 1, dtype=torch.long, device=self.device)

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions, the edges that leave a node and then the stop action: [..., 1] -> [..., A] bool."""
        return self._forward_mask[states[..., 0]]

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return the legal backward actions, the edges that enter a node: [..., 1] -> [..., A'] bool."""
        return self._backward_mask[states[..., 0]]

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the nodes [..., 1] to which outgoing edges lead; the stop action stays where it is."""
        return self._child[states[..., 0], actions][..., None]

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the nodes [..., 1] from which incoming edges come."""
        return self._parent[states[..., 0], backward_actions][..., None]

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the place [...] of `states` among the parents of the next node; 0 for the stop action."""
        return self._backward_action[states[..., 0], actions]

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the place [...] of `states` among the children of the parent."""
        return self._forward_action[states[..., 0], backward_actions]

    def features(self, states: Tensor) -> Tensor:
        """Return 1-hot features, the number of the node: [..., 1] long."""
        return states

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R, -inf at nodes that cannot stop: [..., 1] -> [...] float64."""
        return self._log_reward[states[..., 0]]

    @property
    def n_modes(self) -> int:
        """Number of connected regions of top reward."""
        return self._graph.modes[1]

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the mode that each node belongs to, -1 for none: [..., 1] -> [...] long."""
        return self._graph.modes[0][self.state_index(states)]

    def state_graph(self) -> StateGraph:
        """Return the graph, whose states are the nodes in a topological order."""
        return self._graph

    def state_index(self, states: Tensor) -> Tensor:
        """Return the row of each node in state_graph().states: [..., 1] -> [...] long."""
        return self._rank[states[..., 0]]

    def to(self, device: Any) -> TinyDag:
        """Return the same graph with its tensors on `device`."""
        moved = TinyDag(self._edges, self._rewards)
        moved.device = torch.device(device)
        for name, value in list(vars(moved).items()):
            if isinstance(value, (Tensor, StateGraph)):
                setattr(moved, name, value.to(device))
        return moved
