"""Local scores that are computed once: log R(G) = sum over j of [local(j, Pa_j) + log prior(|Pa_j|)] - the same of no parents.

A set of parents is a bitmask, and those of a batch of graphs are one product of matrices. Values lie in a table of slots: of
d <= 11 nodes every pair of node and mask has its own, and all are filled at the start; of more, the slot is a hash of the pair,
and a pair that is not found there is computed and takes the slot (a direct-mapped cache: a lookup is one gather, nothing is ever
sorted but what is missing, and memory is bounded). Beyond 57 nodes a pair is no integer of 64 bits, and nothing is remembered.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor

from gfn_vi.core.patience import told_if_slow
from gfn_vi.targets.dags.priors import GraphPrior
from gfn_vi.targets.dags.scores import LocalScore

# Up to here all d 2^(d-1) sets are computed at the start (11264 at d = 11, about a second), which saves asking an accelerator at
# every step whether something is missing. d = 12 has twice as many, most of which no run visits.
MOST_NODES_OF_A_FULL_TABLE = 11
# A key is mask * 64 + node in 63 bits; -1 marks an empty slot.
MOST_NODES_OF_A_KEY = 57
# Sums of different powers of 2 below 2^24 are exact in float32, whose products of matrices are ten times those of integers.
MOST_NODES_OF_A_FLOAT = 24
# Of the cache, 24 bytes each (100 MB): a long run on many nodes visits more sets than memory can hold.
MOST_SLOTS = 2**22
FIRST_SLOTS = 2**14
# Elements of the matrices [M, d + 1, d + 1] of one evaluation: 32 MB.
MOST_ELEMENTS = 2**22
# An odd number near 2^64 / golden ratio (Knuth's multiplicative hash), as a signed integer.
MULTIPLIER = -7046029254386353131


class LocalScores:
    """Scores of graphs from remembered local scores.

    A graph is its adjacency matrix [..., d, d] of 0 and 1 in any type, with 1 at [i, j] for i -> j.
    """

    def __init__(self, local: LocalScore, prior: GraphPrior, n_nodes: int, max_parents: int) -> None:
        """local: the score of one table; prior: by numbers of parents; max_parents: graphs with a node of more score -inf."""
        self.local, self.prior, self.n_nodes, self.max_parents = local, prior, n_nodes, max_parents
        self._nodes = torch.arange(n_nodes)
        self._powers = 2 ** torch.arange(n_nodes)
        # [d d, d]: a flat adjacency matrix times this is the masks of its columns
        few = n_nodes if n_nodes <= MOST_NODES_OF_A_FLOAT else 0
        self._float_powers = torch.diag_embed(self._powers[:few, None].float().expand(few, few)).flatten(0, 1)
        nobody = torch.zeros(n_nodes, n_nodes, dtype=torch.bool)
        self._empty = self.local(self._nodes, nobody) + self._log_prior(nobody)  # [d]
        self._is_complete = n_nodes <= MOST_NODES_OF_A_FULL_TABLE
        self._n_stored = 0
        if self._is_complete:
            masks, nodes = torch.arange(2**n_nodes).expand(n_nodes, -1), self._nodes[:, None].expand(-1, 2**n_nodes)
            self._keys = self._nodes.new_empty(0)
            with told_if_slow(f"scoring {n_nodes * 2 ** (n_nodes - 1):,} sets of parents of {n_nodes} nodes"):
                self._values = self._evaluate(nodes.flatten(), self._parents(masks.flatten()))
        else:
            self._allocate(FIRST_SLOTS)

    def total(self, adjacency: Tensor) -> Tensor:
        """Return log R, score and prior relative to the graph without edges: [..., d, d] -> [...] float64."""
        return self._look_up(adjacency, 1).sum(-1)

    def log_likelihood(self, adjacency: Tensor) -> Tensor:
        """Return the score alone, log p(data | G): [..., d, d] -> [...] float64."""
        return self._look_up(adjacency, 0).sum(-1)

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`; what it remembers from now on is its own."""
        moved = copy.copy(self)
        for name, value in vars(moved).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device, copy=True))
        moved.local = self.local.to(device)
        return moved

    def _log_prior(self, parents: Tensor) -> Tensor:
        return self.prior(parents.sum(-1), self.n_nodes)

    def _parents(self, masks: Tensor) -> Tensor:
        """Return the sets of parents that masks stand for: [M] -> [M, d] bool."""
        return (masks[:, None] & self._powers) != 0

    def _masks(self, adjacency: Tensor) -> Tensor:
        """Return the parents of each node as a bitmask: [..., d, d] -> [..., d] long."""
        if self.n_nodes <= MOST_NODES_OF_A_FLOAT:
            return (adjacency.flatten(-2).float() @ self._float_powers).long()
        return (adjacency * self._powers[:, None]).sum(-2)

    def _evaluate(self, nodes: Tensor, parents: Tensor) -> Tensor:
        """Return local scores in row 0 and the parts of log R in row 1: [M], [M, d] -> [2, M] float64.

        They are -inf where these cannot be the parents of the node.
        """
        values = torch.full((2, len(nodes)), -torch.inf, dtype=torch.float64, device=nodes.device)
        allowed = (parents.sum(-1) <= self.max_parents) & ~parents.gather(1, nodes[:, None])[:, 0]
        for these in allowed.nonzero()[:, 0].split(max(1, MOST_ELEMENTS // (self.n_nodes + 1) ** 2)):
            local = self.local(nodes[these], parents[these])
            values[0, these] = local
            values[1, these] = local + self._log_prior(parents[these]) - self._empty[nodes[these]]
        return values

    def _look_up(self, adjacency: Tensor, row: int) -> Tensor:
        """Return row `row` of the values, looked up or computed: [..., d, d] -> [..., d]."""
        if self.n_nodes > MOST_NODES_OF_A_KEY:
            return self._without_memory(adjacency, row)
        masks = self._masks(adjacency)
        if self._is_complete:
            slots = masks + (self._nodes << self.n_nodes)
            return self._values[row].index_select(0, slots.flatten()).view(masks.shape)
        keys = (masks * 64 + self._nodes).flatten()
        slots = self._slots(keys)
        values = self._values[row].index_select(0, slots)
        missing = (self._keys.index_select(0, slots) != keys).nonzero()[:, 0]
        if len(missing) > 0:
            wanted, inverse = torch.unique(keys[missing], return_inverse=True)
            computed = self._evaluate(wanted % 64, self._parents(wanted // 64))
            self._store(wanted, computed)
            values[missing] = computed[row, inverse]
        return values.view(masks.shape)

    def _without_memory(self, adjacency: Tensor, row: int) -> Tensor:
        """Return row `row` of the values: each set of parents, of which graphs of one trajectory share most, is computed once."""
        parents = adjacency.transpose(-1, -2).reshape(-1, self.n_nodes).long()
        nodes = self._nodes.repeat(len(parents) // self.n_nodes)
        pairs, inverse = torch.unique(torch.cat([nodes[:, None], parents], 1), dim=0, return_inverse=True)
        return self._evaluate(pairs[:, 0], pairs[:, 1:] > 0)[row, inverse].view(adjacency.shape[:-1])

    # -- the cache ----------------------------------------------------------------------------------------------------

    def _allocate(self, n_slots: int) -> None:
        """Make a table of empty slots, whose number is a power of 2."""
        self._keys = self._nodes.new_full((n_slots,), -1)
        self._values = self._empty.new_empty(2, n_slots)

    def _slots(self, keys: Tensor) -> Tensor:
        """Return the slot of each key, the top bits of a product, which depend on all bits of the key: [...] -> [...] long."""
        bits = len(self._keys).bit_length() - 1
        return (keys * MULTIPLIER >> (64 - bits)) & (len(self._keys) - 1)

    def _store(self, keys: Tensor, values: Tensor) -> None:
        """Remember the values [2, M] of different keys [M].

        A quarter full, the table takes four times the slots, while that is allowed.
        """
        while 4 * (self._n_stored + len(keys)) > len(self._keys) < MOST_SLOTS:
            full = (self._keys >= 0).nonzero()[:, 0]
            old_keys, old_values = self._keys[full], self._values[:, full]
            self._allocate(4 * len(self._keys))
            self._write(old_keys, old_values)
        self._write(keys, values)
        self._n_stored = int((self._keys >= 0).sum())

    def _write(self, keys: Tensor, values: Tensor) -> None:
        slots = self._slots(keys)
        self._keys[slots] = keys
        # of several keys in one slot any may have been written last: only that one's value follows
        stayed = (self._keys[slots] == keys).nonzero()[:, 0]
        self._values[:, slots[stayed]] = values[:, stayed]
