"""Bit sequences of a fixed length, written word by word; few of them are modes, and the reward falls with the distance to them.

    R(x) = exp(-beta * min over modes y of Hamming(x, y) / length)                            Malkin et al. 2022, arXiv 2201.13259

There is one cell per word (see cells.py), whose symbol is the word read as a binary number. `order` says which cell comes next:
left_to_right (autoregressive; a tree) or any (each empty cell can be written).

That paper draws its modes at random. Here they follow a rule without a seed: bit i of mode k is the parity of the binary digits
that i and k share, so mode k is a Walsh function. At a length 2^m any two of them differ in exactly half of their bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.targets.cells import CellsTarget


class BitSequences(CellsTarget):
    """Sequences of `length` bits, in words of `word` bits, with log R = -beta * (distance to the nearest mode) / length."""

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

        length, word: in bits; mode_distance: likewise; a sequence counts as a visit to its nearest mode up to this distance.
        max_enumerated_states: exact metrics are available while there are no more states, unfinished sequences included.
        """
        require(length >= 1, "target.length", length, "expected a whole number >= 1")
        require(1 <= word <= 16, "target.word", word, "expected 1 to 16 bits")
        require(length % word == 0, "target.word", word, f"expected a divisor of length={length}")
        require(order in ("left_to_right", "any"), "target.order", order, "expected left_to_right or any")
        require(0 < beta < math.inf, "target.beta", beta, "expected a positive number")
        require(0 <= mode_distance < length, "target.mode_distance", mode_distance, f"expected 0 to {length - 1} (length - 1)")
        super().__init__(length // word, 2**word, order == "any", max_enumerated_states)
        self.length, self.word, self.beta, self.mode_distance = length, word, beta, mode_distance
        self.modes = _walsh_functions(modes, length) if isinstance(modes, int) else _listed(modes, length)  # [n_modes, length]
        self._mode_signs = 2.0 * self.modes.double() - 1
        # bits of a word as -1 and 1, the first bit on the left; zeros for an empty cell
        bits = torch.arange(self.n_symbols)[:, None] >> torch.arange(word - 1, -1, -1) & 1
        self._word_signs = torch.cat([torch.zeros(1, word), 2.0 * bits - 1]).double()

    def log_reward(self, states: Tensor) -> Tensor:
        """Return the log-reward of each sequence, -inf for unfinished ones: [..., n_cells] -> [...] float64."""
        log_reward = -self.beta * self.distances(states).amin(-1) / self.length
        return log_reward.masked_fill(self.is_unfinished(states), -torch.inf)

    def distances(self, states: Tensor) -> Tensor:
        """Return the Hamming distance to each mode; a missing bit adds one half: [..., n_cells] -> [..., n_modes] float64."""
        signs = self._word_signs[states].flatten(-2)
        return (self.length - signs @ self._mode_signs.T) / 2

    def texts(self, states: Tensor) -> list[str]:
        """Return each of the sequences [M, n_cells] as a string of 0 and 1, with _ for the bits of an empty cell."""
        words = ["_" * self.word, *(f"{symbol:0{self.word}b}" for symbol in range(self.n_symbols))]
        return ["".join(words[content] for content in state) for state in states.tolist()]

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def log_Z(self) -> float | None:
        """The log of the sum of all rewards: length * log(1 + exp(-beta / length)) for a single mode, None for several."""
        return self.length * math.log1p(math.exp(-self.beta / self.length)) if len(self.modes) == 1 else None

    @property
    def n_modes(self) -> int:
        """Number of modes, listed or made by the rule."""
        return len(self.modes)

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the nearest mode of each sequence, the first of equally near ones: [..., n_cells] -> [...] long.

        It is -1 beyond mode_distance and for unfinished sequences.
        """
        distance, mode = self.distances(states).min(-1)
        return mode.masked_fill((distance > self.mode_distance) | self.is_unfinished(states), -1)


def _walsh_functions(n_modes: int, length: int) -> Tensor:
    """Return the first n_modes rows of a Hadamard matrix, cut to `length` bits: [n_modes, length] long. Raises ConfigError."""
    most = 2 ** (length - 1).bit_length()
    require(1 <= n_modes <= most, "target.modes", n_modes, f"expected 1 to {most} at length={length}, or a list of sequences")
    return torch.tensor([[(i & k).bit_count() % 2 for i in range(length)] for k in range(n_modes)])


def _listed(modes: Sequence[str], length: int) -> Tensor:
    """Return the bits of the strings: [n_modes, length] long. Raises ConfigError."""
    for mode in modes:
        legal = isinstance(mode, str) and len(mode) == length and set(mode) <= set("01")
        require(legal, "target.modes", mode, f"expected a string (in quotes) of length={length} characters 0 and 1")
    require(0 < len(set(modes)) == len(modes), "target.modes", list(modes), "expected one mode or more, all different")
    return torch.tensor([[int(bit) for bit in mode] for mode in modes])
