"""Permutations under the Mallows model, built position by position from the items that are left.

    log R(x) = -theta * (number of pairs i < j with x_i > x_j)         the Kendall tau distance to the identity; Mallows 1957
    log Z = sum over j = 1..n of log[(1 - e^(-j theta)) / (1 - e^(-theta))],   log n! at theta = 0

There is one cell per position (see cells.py), and its symbol is an item, 0..n-1. Positions are filled from first to last, so the
space is a tree, and an item that is taken cannot be taken again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.targets.cells import CellsTarget


class Permutations(CellsTarget):
    """Orders of `n_items` items, with log R = -theta * (number of inversions)."""

    def __init__(self, n_items: int, theta: float, max_enumerated_states: int) -> None:
        """theta: what an inversion costs, >= 0, in nats.

        max_enumerated_states: exact metrics are available while there are no more states, unfinished permutations included.
        """
        require(n_items >= 2, "target.n_items", n_items, "expected a whole number >= 2")
        require(0 <= theta < math.inf, "target.theta", theta, "expected a finite number >= 0")
        super().__init__(n_items, n_items, False, max_enumerated_states)
        self.n_items, self.theta = n_items, theta
        self._contents = torch.arange(1, n_items + 1)
        self._later = torch.ones(n_items, n_items, dtype=torch.bool).triu(1)

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions [..., n_items + 1] bool: every item that is left, or, once there is none, stopping."""
        left = (states[..., None] != self._contents).all(-2)
        return torch.cat([left, ~left.any(-1, keepdim=True)], -1)

    def inversions(self, states: Tensor) -> Tensor:
        """Return the number of pairs of positions i < j with the larger item at i: [..., n_items] -> [...] long."""
        return ((states[..., :, None] > states[..., None, :]) & self._later).sum((-2, -1))

    def log_reward(self, states: Tensor) -> Tensor:
        """Return -theta * inversions, -inf for unfinished permutations: [..., n_items] -> [...] float64."""
        log_reward = -self.theta * self.inversions(states).double()
        return log_reward.masked_fill(self.is_unfinished(states), -torch.inf)

    def texts(self, states: Tensor) -> list[str]:
        """Return the items of each of the permutations [M, n_items] by position, as "2 0 1", with _ for an empty one."""
        return [" ".join(str(content - 1) if content else "_" for content in state) for state in states.tolist()]

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def log_Z(self) -> float:
        """The log of the sum of all rewards, by the product formula."""
        if self.theta == 0:
            return math.lgamma(self.n_items + 1)
        one = math.expm1(-self.theta)
        return sum(math.log(math.expm1(-j * self.theta) / one) for j in range(1, self.n_items + 1))

    @property
    def n_modes(self) -> int | None:
        """Number of modes: 1, the identity; at theta = 0 that of all permutations, None where they are too many to be listed."""
        return 1 if self.theta > 0 else super().n_modes

    def mode_index(self, states: Tensor) -> Tensor:
        """Return 0 for the identity and -1 elsewhere (theta > 0): [..., n_items] -> [...] long. Needs n_modes."""
        return (states == self._contents).all(-1).long() - 1 if self.theta > 0 else super().mode_index(states)

    @property
    def n_states(self) -> int:
        """Number of states: n! / 0! + n! / 1! + ... + n! / n!, one term for each number of items that are left."""
        return sum(math.perm(self.n_items, k) for k in range(self.n_items + 1))
