"""Objects that are written cell by cell: what sequences, lattices and permutations share, so that each says only its reward.

A state has one cell per position: 0 while the cell is empty, 1 + k once symbol k is in it. With n cells and M symbols there are
two ways to write:

    in a fixed order: action k writes symbol k into the first empty cell; backward action 0 empties the last written cell (a tree)
    in any order:     action i M + k writes symbol k into cell i; backward action i empties cell i

The last action stops, and it is legal once no cell is empty. In any order n! trajectories lead to each object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.targets.base import BaseTarget


class CellsTarget(BaseTarget):
    """The base of targets with n_cells cells that hold one of n_symbols symbols each; a subclass adds log_reward.

    States are [..., n_cells] long. A subclass in which not every symbol is legal everywhere overrides forward_mask and n_states.
    """

    every_state_stops = False

    def __init__(self, n_cells: int, n_symbols: int, any_order: bool, max_enumerated_states: int) -> None:
        """any_order: whether an action chooses the cell, too.

        max_enumerated_states: exact metrics are available while there are no more states, unfinished objects included.
        """
        self.n_cells, self.n_symbols, self.any_order = n_cells, n_symbols, any_order
        self.max_enumerated_states = max_enumerated_states
        self.n_actions = (n_cells if any_order else 1) * n_symbols + 1
        self.n_backward_actions = n_cells if any_order else 1
        self.horizon = self.shortest = n_cells + 1
        self.state_shape = (n_cells,)
        self.n_features = n_cells * (n_symbols + 1)
        self._offsets = torch.arange(n_cells) * (n_symbols + 1)

    def is_unfinished(self, states: Tensor) -> Tensor:
        """Return whether any cell is empty: [..., n_cells] -> [...] bool."""
        return (states == 0).any(-1)

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions [..., A] bool: every symbol in a cell that is next, or, once no cell is empty, stopping."""
        unfinished = self.is_unfinished(states)[..., None]
        writes = ((states == 0) if self.any_order else unfinished).repeat_interleave(self.n_symbols, -1)
        return torch.cat([writes, ~unfinished], -1)

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return the legal backward actions [..., A'] bool: any written cell, or, in a fixed order, the last written one."""
        return states[..., : self.n_backward_actions] > 0

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the states [..., n_cells] after symbols are written; the stop action writes nothing."""
        cell = actions // self.n_symbols if self.any_order else (states > 0).sum(-1)
        # the stop action and a full state point beyond the last cell; what is written there is not taken
        written = states.scatter(-1, cell.clamp(max=self.n_cells - 1)[..., None], (actions % self.n_symbols + 1)[..., None])
        return states.where(actions[..., None] == self.n_actions - 1, written)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the states [..., n_cells] after cells are emptied."""
        return states.scatter(-1, self._cell_to_empty(states, backward_actions)[..., None], 0)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the backward action [...] that empties the cell which the action writes; 0 in a fixed order."""
        return (actions // self.n_symbols).clamp(max=self.n_backward_actions - 1)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the action [...] that writes the symbol which the backward action removes."""
        cell = self._cell_to_empty(states, backward_actions)
        symbol = (states.gather(-1, cell[..., None])[..., 0] - 1).clamp(min=0)
        return backward_actions * self.n_symbols + symbol

    def _cell_to_empty(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return backward_actions if self.any_order else ((states > 0).sum(-1) - 1).clamp(min=0)

    def features(self, states: Tensor) -> Tensor:
        """Return K-hot features, one index per cell, cell * (n_symbols + 1) + its content: [..., n_cells] long."""
        return states + self._offsets

    @property
    def n_states(self) -> int:
        """Number of states: (M + 1)^n in any order, and 1 + M + ... + M^n in a fixed order."""
        if self.any_order:
            return int((self.n_symbols + 1) ** self.n_cells)
        return sum(self.n_symbols**k for k in range(self.n_cells + 1))

    @property
    def enumerable(self) -> bool:
        """Whether there are at most max_enumerated_states states; this is known without listing them."""
        return self.n_states <= self.max_enumerated_states

    def state_graph(self) -> StateGraph:
        """Return the graph of all states. Raises ConfigError before any is listed where they are too many."""
        found = f"there are {self.n_states} states, more than that; raise it if memory allows"
        require(self.enumerable, "target.max_enumerated_states", self.max_enumerated_states, found)
        return super().state_graph()
