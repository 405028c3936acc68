"""Bit sequences of a fixed length, written word by word; few of them are modes, and the reward falls with the distance to them.

    R(x) = exp(-beta * min over modes y of Hamming(x, y) / length)                            Malkin et al. 2022, arXiv 2201.13259

A state has one cell per word: 0 while it is empty, 1 + the word read as a binary number once it is written. `order` says which
cell comes next: left_to_right (autoregressive; a tree, with one parent per state) or any (each empty cell can be written).
With M = 2^word symbols, action k writes word k into the first empty cell, or, in any order, action i M + k writes word k into
cell i; the last action stops, and only a full sequence can stop.

The paper draws its modes at random. Here they follow a rule without a seed: bit i of mode k is the parity of the binary digits
that i and k share, so mode k is a Walsh function. At a length 2^m any two of them differ in exactly half of their bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.targets.base import BaseTarget


class BitSequences(BaseTarget):
    """Sequences of `length` bits in words of `word` bits; log R = -beta * distance to the nearest mode / length."""

    every_state_stops = False

    def __init__(
        self,
        length: int,
        word: int,
        order: str,
        beta: float,
        modes: int | Sequence[str],
        mode_distance: int,
        max_enumerated_states: int,
    ) -> None:
        """modes: how many to make by the rule above, or a list of strings of 0 and 1; order: left_to_right or any.

        mode_distance: in bits; a sequence counts as a visit to its nearest mode up to this distance.
        max_enumerated_states: exact metrics are available while there are no more states, unfinished sequences included.
        """
        require(length >= 1, "target.length", length, "expected a whole number >= 1")
        require(1 <= word <= 16, "target.word", word, "expected 1 to 16 bits")
        require(length % word == 0, "target.word", word, f"expected a divisor of length={length}")
        require(order in ("left_to_right", "any"), "target.order", order, "expected left_to_right or any")
        require(0 < beta < math.inf, "target.beta", beta, "expected a positive number")
        require(0 <= mode_distance < length, "target.mode_distance", mode_distance, f"expected 0 to {length - 1} (length - 1)")
        self.max_enumerated_states = max_enumerated_states
        self.length, self.word, self.beta, self.mode_distance = length, word, beta, mode_distance
        self.any_order = order == "any"
        self.n_cells, self.n_words = length // word, 2**word
        self.n_actions = (self.n_cells if self.any_order else 1) * self.n_words + 1
        self.n_backward_actions = self.n_cells if self.any_order else 1
        self.horizon, self.state_shape = self.n_cells + 1, (self.n_cells,)
        self.n_features = self.n_cells * (self.n_words + 1)
        self.modes = _walsh_functions(modes, length) if isinstance(modes, int) else _listed(modes, length)  # [n_modes, length]
        self._mode_signs = 2.0 * self.modes.double() - 1
        # bits of a word as -1 and 1, the first bit on the left; zeros for an empty cell
        bits = torch.arange(self.n_words)[:, None] >> torch.arange(word - 1, -1, -1) & 1
        self._word_signs = torch.cat([torch.zeros(1, word), 2.0 * bits - 1]).double()
        self._offsets = torch.arange(self.n_cells) * (self.n_words + 1)

    def forward_mask(self, states: Tensor) -> Tensor:
        """Any word in a cell that is next; stopping once no cell is empty."""
        empty = states == 0
        unfinished = empty.any(-1, keepdim=True)
        writes = (empty if self.any_order else unfinished).repeat_interleave(self.n_words, -1)
        return torch.cat([writes, ~unfinished], -1)

    def backward_mask(self, states: Tensor) -> Tensor:
        """Any written cell, or, from left to right, the last one."""
        written = states > 0
        return written if self.any_order else written[..., :1]

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Write the word into its cell; the stop action writes nothing."""
        cell = actions // self.n_words if self.any_order else (states > 0).sum(-1)
        written = states.scatter(-1, cell.clamp(max=self.n_cells - 1)[..., None], (actions % self.n_words + 1)[..., None])
        return states.where(actions[..., None] == self.n_actions - 1, written)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Empty the cell."""
        return states.scatter(-1, self._cell_to_empty(states, backward_actions)[..., None], 0)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """The cell that is written; from left to right the only one, 0."""
        return (actions // self.n_words).clamp(max=self.n_backward_actions - 1)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """The word in the cell that is emptied, and, in any order, the cell."""
        cell = self._cell_to_empty(states, backward_actions)
        symbol = (states.gather(-1, cell[..., None])[..., 0] - 1).clamp(min=0)
        return backward_actions * self.n_words + symbol

    def _cell_to_empty(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return backward_actions if self.any_order else ((states > 0).sum(-1) - 1).clamp(min=0)

    def features(self, states: Tensor) -> Tensor:
        """K-hot, one index per cell: cell * (2^word + 1) + content."""
        return states + self._offsets

    def log_reward(self, states: Tensor) -> Tensor:
        """-beta * (distance to the nearest mode) / length in float64, -inf for unfinished sequences: [...]."""
        log_reward = -self.beta * self.distances(states).amin(-1) / self.length
        return log_reward.masked_fill((states == 0).any(-1), -torch.inf)

    def distances(self, states: Tensor) -> Tensor:
        """Hamming distance to each mode: [..., n_modes] float64, whole numbers; a bit that is missing counts one half."""
        signs = self._word_signs[states].flatten(-2)
        return (self.length - signs @ self._mode_signs.T) / 2

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def log_Z(self) -> float | None:
        """log sum of rewards: length * log(1 + exp(-beta / length)) for a single mode, None for several."""
        return self.length * math.log1p(math.exp(-self.beta / self.length)) if len(self.modes) == 1 else None

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.modes)

    def mode_index(self, states: Tensor) -> Tensor:
        """The nearest mode, the first of equally near ones, -1 beyond mode_distance and for unfinished sequences: [...] long."""
        distance, mode = self.distances(states).min(-1)
        return mode.masked_fill((distance > self.mode_distance) | (states == 0).any(-1), -1)

    @property
    def n_states(self) -> int:
        """Number of states: (M + 1)^cells in any order; from left to right 1 + M + ... + M^cells, with M = 2^word."""
        if self.any_order:
            return (self.n_words + 1) ** self.n_cells
        return (self.n_words ** (self.n_cells + 1) - 1) // (self.n_words - 1)

    @property
    def enumerable(self) -> bool:
        """Whether there are at most max_enumerated_states states; known without listing them."""
        return self.n_states <= self.max_enumerated_states

    def state_graph(self) -> StateGraph:
        """All states; refused before any is listed where they are too many."""
        found = f"there are {self.n_states} states, more than that; raise it if memory allows"
        require(self.enumerable, "target.max_enumerated_states", self.max_enumerated_states, found)
        return super().state_graph()


def _walsh_functions(n_modes: int, length: int) -> Tensor:
    """The first n_modes rows of a Hadamard matrix, cut to `length` bits: [n_modes, length] long."""
    most = 2 ** (length - 1).bit_length()
    require(1 <= n_modes <= most, "target.modes", n_modes, f"expected 1 to {most} at length={length}, or a list of sequences")
    return torch.tensor([[(i & k).bit_count() % 2 for i in range(length)] for k in range(n_modes)])


def _listed(modes: Sequence[str], length: int) -> Tensor:
    """The bits of the strings: [n_modes, length] long."""
    for mode in modes:
        legal = isinstance(mode, str) and len(mode) == length and set(mode) <= set("01")
        require(legal, "target.modes", mode, f"expected a string (in quotes) of length={length} characters 0 and 1")
    require(0 < len(set(modes)) == len(modes), "target.modes", list(modes), "expected one mode or more, all different")
    return torch.tensor([[int(bit) for bit in mode] for mode in modes])
