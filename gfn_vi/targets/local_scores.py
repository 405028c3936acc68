"""Local scores that are computed once: log R(G) = sum over j of [local(j, Pa_j) + log prior(|Pa_j|)] - the same of no parents.

A set of parents is a bitmask, so those of a batch of graphs are one integer product. Each node has a table of slots: of d <= 11
nodes slot = mask, and all are filled at the start; of more, slot = hash(mask), and a set that is not found there is computed and
takes the slot (a direct-mapped cache: lookups take one gather and never wait for a sort). Beyond 62 nodes a mask is no integer
of 64 bits: everything is computed when asked for.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor

from gfn_vi.targets.graph_priors import GraphPrior
from gfn_vi.targets.graph_scores import LocalScore

# Up to here all d 2^(d-1) sets are computed at the start (11264 at d = 11: under a second), which later saves asking an
# accelerator whether anything is missing. d = 12 would double it, and most of its sets are never visited.
MOST_NODES_OF_A_FULL_TABLE = 11
# Masks are integers of 64 bits; -1 marks an empty slot.
MOST_NODES_OF_A_MASK = 62
# Of all nodes together, 24 bytes each (100 MB): a long run on many nodes visits more sets than memory can hold.
MOST_SLOTS = 2**22
FIRST_SLOTS = 2**10
# Elements of the matrices [M, d, d] of one evaluation, 32 MB.
MOST_ELEMENTS = 2**22
# An odd number near 2^64 / golden ratio (Knuth's multiplicative hash), as a signed integer.
MULTIPLIER = -7046029254386353131


class LocalScores:
    """Scores of graphs from remembered local scores; adjacency [..., d, d] of any type, 1 at [i, j] for i -> j."""

    def __init__(self, local: LocalScore, prior: GraphPrior, n_nodes: int, max_parents: int) -> None:
        """local: of one table; prior: by numbers of parents; graphs with a node of more than max_parents have log R = -inf."""
        self.local, self.prior, self.n_nodes, self.max_parents = local, prior, n_nodes, max_parents
        self.device = torch.device("cpu")
        self._powers = 2 ** torch.arange(min(n_nodes, MOST_NODES_OF_A_MASK))
        self._nodes = torch.arange(n_nodes)
        nobody = torch.zeros(n_nodes, n_nodes, dtype=torch.bool)
        self._empty = self.local(self._nodes, nobody) + self._log_prior(nobody)  # [d]
        self._complete = n_nodes <= MOST_NODES_OF_A_FULL_TABLE
        self._n_stored = 0
        self._allocate(2**n_nodes if self._complete else FIRST_SLOTS)
        if self._complete:
            masks = torch.arange(2**n_nodes).expand(n_nodes, -1)
            nodes = self._nodes[:, None].expand_as(masks)
            self._values = self._evaluate(nodes.flatten(), self._parents(masks.flatten()))

    def total(self, adjacency: Tensor) -> Tensor:
        """log R, score and prior relative to the graph without edges: [..., d, d] -> [...] float64."""
        return self._lookup(adjacency)[..., 1].sum(-1)

    def log_likelihood(self, adjacency: Tensor) -> Tensor:
        """The score alone, relative to nothing: [..., d, d] -> [...] float64."""
        return self._lookup(adjacency)[..., 0].sum(-1)

    def to(self, device: Any) -> Self:
        """A copy with its tensors on `device`."""
        moved = copy.copy(self)
        for name, value in vars(moved).items():
            if isinstance(value, Tensor):
                # a clone: two copies must not fill one table
                setattr(moved, name, value.to(device, copy=True))
        moved.local = self.local.to(device)
        moved.device = torch.device(device)
        return moved

    def _log_prior(self, parents: Tensor) -> Tensor:
        return self.prior(parents.sum(-1), self.n_nodes)

    def _parents(self, masks: Tensor) -> Tensor:
        """[M] -> [M, d] bool."""
        return (masks[:, None] & self._powers) != 0

    def _evaluate(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """(local score, its part of log R) of what may be a set of parents, -inf of what may not: [M], [M, d] -> [M, 2]."""
        values = torch.full((len(nodes), 2), -torch.inf, dtype=torch.float64, device=nodes.device)
        allowed = (parents.sum(-1) <= self.max_parents) & ~parents.gather(1, nodes[:, None])[:, 0]
        for rows in allowed.nonzero()[:, 0].split(max(1, MOST_ELEMENTS // (self.n_nodes + 1) ** 2)):
            local = self.local(nodes[rows], parents[rows])
            relative = local + self._log_prior(parents[rows]) - self._empty[nodes[rows]]
            values[rows] = torch.stack([local, relative], 1)
        return values

    def _lookup(self, adjacency: Tensor) -> Tensor:
        """[..., d, d] -> [..., d, 2]."""
        d = self.n_nodes
        if d > MOST_NODES_OF_A_MASK:
            parents = adjacency.transpose(-1, -2).reshape(-1, d) > 0
            nodes = self._nodes.expand(*adjacency.shape[:-2], d).flatten()
            return self._evaluate(nodes, parents).view(*adjacency.shape[:-1], 2)
        masks = (adjacency * self._powers[:, None]).sum(-2)  # [..., d]
        slots = self._slots(masks, self._nodes)
        values = self._values[slots]
        if self._complete:
            return values
        missing = self._masks[slots] != masks
        if bool(missing.any()):
            nodes = self._nodes.expand_as(masks)[missing]
            wanted, inverse = torch.unique(torch.stack([nodes, masks[missing]]), dim=1, return_inverse=True)
            computed = self._evaluate(wanted[0], self._parents(wanted[1]))
            self._store(wanted[0], wanted[1], computed)
            values[missing] = computed[inverse]
        return values

    # -- the table ----------------------------------------------------------------------------------------------------

    def _allocate(self, n_slots: int) -> None:
        """Empty slots, n_slots (a power of 2) for each node, one node after the other."""
        self._n_slots, size = n_slots, self.n_nodes * n_slots
        self._masks = torch.full((size,), -1, device=self.device)
        self._values = torch.empty(size, 2, dtype=torch.float64, device=self.device)

    def _slots(self, masks: Tensor, nodes: Tensor) -> Tensor:
        """Where the sets of parents of the nodes belong: [...] long."""
        if self._complete:
            return masks + nodes * self._n_slots
        bits = self._n_slots.bit_length() - 1
        return ((masks * MULTIPLIER >> 64 - bits) & self._n_slots - 1) + nodes * self._n_slots

    def _store(self, nodes: Tensor, masks: Tensor, values: Tensor) -> None:
        """Different sets [M] and their values [M, 2]; the last of those that share a slot stays."""
        # a quarter full, one set in eight meets another in its slot: then the table grows
        while 4 * (self._n_stored + len(nodes)) > len(self._masks) and 4 * len(self._masks) <= MOST_SLOTS:
            old = (self._masks >= 0).nonzero()[:, 0]
            kept, known, owner = self._masks[old], self._values[old], old // self._n_slots
            self._allocate(4 * self._n_slots)
            self._write(owner, kept, known)
        self._write(nodes, masks, values)
        self._n_stored = int((self._masks >= 0).sum())

    def _write(self, nodes: Tensor, masks: Tensor, values: Tensor) -> None:
        slots = self._slots(masks, nodes)
        self._masks[slots] = masks
        # which of two sets in one slot was written is not defined, so look before writing the value
        stayed = self._masks[slots] == masks
        self._values[slots[stayed]] = values[stayed]
