"""A state graph given by its edges, small enough to draw by hand: for tests and teaching.

States are node numbers (node 0 is the source). Edges may skip levels, nodes may have any number of parents and children,
and only the nodes with a reward can stop. Action k takes the k-th outgoing edge of a node in the order listed, the last
action stops; backward action k undoes the k-th incoming edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.targets.base import BaseTarget


class TinyDag(BaseTarget):
    """A state graph with the nodes 0..n-1 and the edges and rewards that one lists. States are [..., 1] long."""

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
            require(0 < reward < math.inf, "target.rewards", {node: reward}, "expected a positive, finite reward")
        children = [[b for a, b in pairs if a == node] for node in range(n)]
        parents = [[a for a, b in pairs if b == node] for node in range(n)]
        self._check_reach(children, parents, set(rewards))
        width, depth = max(map(len, children)), max(map(len, parents))
        self.n_actions, self.n_backward_actions = width + 1, depth
        self.state_shape, self.n_features = (1,), n
        self.every_state_stops = len(rewards) == n
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
        try:
            self.horizon = self.state_graph().n_levels
        except ValueError as error:
            raise ConfigError("target.edges", pairs, f"expected no cycle: {error}") from error

    @cached_property
    def _found(self) -> Tensor:
        """All nodes, in their order: [n, 1]; nothing has to be searched for."""
        return torch.arange(self.n_states, device=self.device)[:, None]

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
