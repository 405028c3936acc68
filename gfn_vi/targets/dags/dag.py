"""Directed acyclic graphs over d nodes, built edge by edge: the posterior of structure learning (arXiv 2210.00580, section 4.3).

A state is a uint8 tensor [2, d, d]: the adjacency matrix A (A[i, j] = 1: edge i -> j) and its reflexive transitive closure C
(C[i, j] = 1: i = j, or a directed path leads from i to j). The edge i -> j closes a cycle exactly if C[j, i] = 1, and adding it
connects all that reach i with all that j reaches, C | C[:, i] C[j, :] (Giudici & Castelo 2003, Deleu et al. 2022): one outer
product per step, nothing is searched. Action i d + j adds i -> j, action d d stops; backward action i d + j removes i -> j, so
n edges can be added in n! orders, and under the uniform P_B log P_B(tau | x) = -log n!.

    log R(G) = sum over nodes j of [ local(j, Pa_j) + log prior(|Pa_j|) ]  -  the same of the empty graph
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.targets.base import BaseTarget
from gfn_vi.targets.dags.data import Data
from gfn_vi.targets.dags.kinds import check_kind, remarks_on_kind
from gfn_vi.targets.dags.local_scores import LocalScores
from gfn_vi.targets.dags.priors import GraphPrior
from gfn_vi.targets.dags.scores import Score

# Of the spaces beyond, 6 nodes (3,781,503 graphs) already take minutes and gigabytes to list.
MOST_LISTED_NODES = 5


def n_graphs(n_nodes: int) -> int:
    """Return the number of labeled directed acyclic graphs of so many nodes: 1, 3, 25, 543, 29281, ... (Robinson 1973)."""
    counts = [1]
    for n in range(1, n_nodes + 1):
        terms = ((-1) ** (k + 1) * math.comb(n, k) * 2 ** (k * (n - k)) * counts[n - k] for k in range(1, n + 1))
        counts.append(sum(terms))
    return counts[n_nodes]


class Dag(BaseTarget):
    """The posterior over graphs given a table, with R = p(data | G) p(G), relative to the graph without edges."""

    every_state_stops = True

    def __init__(self, data: Data, score: Score, prior: GraphPrior, max_parents: int | None, max_enumerated_states: int) -> None:
        """data: where the table comes from; score: log p(data | G), of local scores; prior: log p(G), by numbers of parents.

        max_parents: the most parents of a node, None for no limit.
        max_enumerated_states: exact metrics are available while there are no more graphs (without that limit).
        """
        for name, part, member in (("data", data, "table"), ("score", score, "local"), ("prior", prior, "__call__")):
            group = "graph_prior" if name == "prior" else name
            require(hasattr(part, member), f"target.{name}", part, f"expected a choice: {group}@target.{name}=NAME, see --help")
        table = data.table()
        check_kind(table, score)
        self.node_names, self.n_nodes = table.names, len(table.names)
        d = self.n_nodes
        require(d >= 2, "target.data", d, "expected at least 2 columns: a graph needs two nodes")
        most = d - 1 if max_parents is None else max_parents
        require(1 <= most <= d - 1, "target.max_parents", max_parents, f"expected 1 to {d - 1} (number of nodes - 1), or null")
        self.max_parents, self.max_enumerated_states = most, max_enumerated_states
        self._enumerable = d <= MOST_LISTED_NODES and n_graphs(d) <= max_enumerated_states
        self.n_actions, self.n_backward_actions, self.n_features = d * d + 1, d * d, d * d
        self.horizon = sum(min(place, most) for place in range(d)) + 1
        self.state_shape = (2, d, d)
        self.true_graph = None if table.graph is None else table.graph.bool()
        self.n_held_out = len(table.held_out)
        self.remarks = (*table.doubts, *remarks_on_kind(table, score))  # told before the run starts

        def local_scores(rows: Tensor) -> LocalScores:
            return LocalScores(score.local(rows, table.values, table.names), prior, d, most)

        self._scores = local_scores(table.values)
        everything = torch.cat([table.values, table.held_out])
        self._scores_of_all = local_scores(everything) if self.n_held_out > 0 else self._scores
        self._edge = torch.arange(d * d).view(d, d)

    def initial(self, *leading: int) -> Tensor:
        """Return the graph without edges, whose closure is the identity: [*leading, 2, d, d] uint8."""
        states = torch.zeros(*leading, *self.state_shape, dtype=torch.uint8, device=self.device)
        states[..., 1, :, :].diagonal(dim1=-2, dim2=-1).fill_(1)
        return states

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions: [..., 2, d, d] -> [..., d d + 1] bool.

        An edge can be added that is not there, closes no cycle and gives its head no parent too many; stopping is always legal.
        """
        adjacency, closure = states.unbind(-3)
        legal = (adjacency | closure.transpose(-1, -2)) == 0
        if self.max_parents < self.n_nodes - 1:
            legal = legal & (adjacency.sum(-2, keepdim=True) < self.max_parents)
        return torch.nn.functional.pad(legal.flatten(-2), (0, 1), value=True)

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return the legal backward actions, the edges, each of which can be removed: [..., 2, d, d] -> [..., d d] bool."""
        return states[..., 0, :, :].flatten(-2) > 0

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the graphs [..., 2, d, d] with the edges added; the stop action adds nothing.

        All that reach the tail of the edge now reach what its head reaches.
        """
        added = (self._edge == actions[..., None, None]).to(states.dtype)  # [..., d, d], all 0 for the stop action
        closure = states[..., 1, :, :]
        # closure @ added @ closure has one product of a column and a row: taken by sums, not by matrix products of integers
        above = (closure * added.sum(-1, dtype=states.dtype)[..., None, :]).sum(-1, dtype=states.dtype)  # C[:, i]
        below = (closure * added.sum(-2, dtype=states.dtype)[..., :, None]).sum(-2, dtype=states.dtype)  # C[j, :]
        connected = above[..., :, None] * below[..., None, :]
        return torch.stack([states[..., 0, :, :] | added, closure | connected], -3)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the graphs [..., 2, d, d] without the edges; the closure of what is left is found by repeated squaring."""
        removed = (self._edge == backward_actions[..., None, None]).to(states.dtype)
        adjacency = states[..., 0, :, :] & (1 - removed)
        return torch.stack([adjacency, transitive_closure(adjacency)], -3)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the backward action [...] that removes the same edge; the stop action has none and maps to 0."""
        return actions.where(actions < self.n_backward_actions, 0)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the action [...] that adds the same edge."""
        return backward_actions

    def features(self, states: Tensor) -> Tensor:
        """Return the adjacency matrix, row by row: [..., 2, d, d] -> [..., d d] float32."""
        return states[..., 0, :, :].flatten(-2).float()

    def log_reward(self, states: Tensor) -> Tensor:
        """Return score and prior, relative to the graph without edges: [..., 2, d, d] -> [...] float64."""
        return self._scores.total(states[..., 0, :, :])

    @property
    def enumerable(self) -> bool:
        """Whether there are at most MOST_LISTED_NODES nodes and, without a limit on parents, max_enumerated_states graphs."""
        return self._enumerable

    # -- graphs (gfn_vi/core/protocols.py: GraphTarget) ---------------------------------------------------------------

    def adjacency(self, states: Tensor) -> Tensor:
        """Return the edges: [..., 2, d, d] -> [..., d, d] bool."""
        return states[..., 0, :, :] > 0

    def paths(self, states: Tensor) -> Tensor:
        """Return whether a directed path of one edge or more leads from i to j: [..., 2, d, d] -> [..., d, d] bool."""
        return (states[..., 1, :, :] > 0) & (self._edge % (self.n_nodes + 1) != 0)

    def held_out_log_likelihood(self, states: Tensor) -> Tensor:
        """Return log p(held-out rows | training rows, G): [..., 2, d, d] -> [...] float64.

        It is the score of all rows minus that of the training rows.
        """
        adjacency = states[..., 0, :, :]
        return self._scores_of_all.log_likelihood(adjacency) - self._scores.log_likelihood(adjacency)

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`."""
        moved = super().to(device)
        moved._scores, moved._scores_of_all = self._scores.to(device), self._scores_of_all.to(device)
        return moved


def transitive_closure(adjacency: Tensor) -> Tensor:
    """Return 1 where i = j or a directed path leads from i to j, 0 elsewhere: [..., d, d] -> [..., d, d] of the same type.

    The entries of the adjacency matrix are 0 and 1, of any type.
    """
    n_nodes = adjacency.shape[-1]
    reach = adjacency.float() + torch.eye(n_nodes, device=adjacency.device)
    for _ in range(max(1, (n_nodes - 1).bit_length())):
        reach = (reach @ reach).clamp_(max=1.0)
    return reach.to(adjacency.dtype)
