"""Permutations under the Mallows model, built position by position from the items that are left.

    log R(x) = -theta * (number of pairs i < j with x_i > x_j)         the Kendall tau distance to the identity; Mallows 1957
    log Z = sum over j = 1..n of log[(1 - e^(-j theta)) / (1 - e^(-theta))],   log n! at theta = 0

A state has one cell per position: 0 while it is empty, 1 + its item once it is taken (items are 0..n-1). Action k puts item k
into the first empty position, the last action stops, and only a full permutation can stop. The space is a tree: backward action
0 takes the last item back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.targets.base import BaseTarget


class Permutations(BaseTarget):
    """Orders of `n_items` items; log R = -theta * inversions."""

    every_state_stops = False

    def __init__(self, n_items: int, theta: float, max_enumerated_states: int) -> None:
        """theta: per inversion, >= 0; max_enumerated_states: exact metrics while there are no more states, parts included."""
        require(n_items >= 2, "target.n_items", n_items, "expected a whole number >= 2")
        require(0 <= theta < math.inf, "target.theta", theta, "expected a finite number >= 0")
        self.n_items, self.theta, self.max_enumerated_states = n_items, theta, max_enumerated_states
        self.n_actions, self.n_backward_actions, self.horizon = n_items + 1, 1, n_items + 1
        self.state_shape, self.n_features = (n_items,), n_items * (n_items + 1)
        self._contents = torch.arange(1, n_items + 1)
        self._offsets = torch.arange(n_items) * (n_items + 1)
        self._later = torch.ones(n_items, n_items, dtype=torch.bool).triu(1)

    def forward_mask(self, states: Tensor) -> Tensor:
        """Items that are left; stopping once there are none."""
        left = (states[..., None] != self._contents).all(-2)
        return torch.cat([left, ~left.any(-1, keepdim=True)], -1)

    def backward_mask(self, states: Tensor) -> Tensor:
        """The last item can be taken back."""
        return states[..., :1] > 0

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Put the item into the first empty position; the stop action changes nothing."""
        position = (states > 0).sum(-1, keepdim=True).clamp(max=self.n_items - 1)
        after = states.scatter(-1, position, actions[..., None] + 1)
        return states.where(actions[..., None] == self.n_items, after)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Empty the last position that is taken."""
        return states.scatter(-1, self._last(states), 0)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """The only one, 0."""
        return torch.zeros_like(actions)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """The item at the last position that is taken."""
        return (states.gather(-1, self._last(states))[..., 0] - 1).clamp(min=0)

    def _last(self, states: Tensor) -> Tensor:
        return ((states > 0).sum(-1, keepdim=True) - 1).clamp(min=0)

    def features(self, states: Tensor) -> Tensor:
        """K-hot, one index per position: position * (n_items + 1) + content."""
        return states + self._offsets

    def inversions(self, states: Tensor) -> Tensor:
        """Pairs of positions i < j with the larger item at i: [...] long."""
        return ((states[..., :, None] > states[..., None, :]) & self._later).sum((-2, -1))

    def log_reward(self, states: Tensor) -> Tensor:
        """-theta * inversions in float64, -inf for unfinished permutations: [...]."""
        log_reward = -self.theta * self.inversions(states).double()
        return log_reward.masked_fill((states == 0).any(-1), -torch.inf)

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def log_Z(self) -> float:
        """log sum of rewards, by the product formula."""
        if self.theta == 0:
            return math.lgamma(self.n_items + 1)
        one = math.expm1(-self.theta)
        return sum(math.log(math.expm1(-j * self.theta) / one) for j in range(1, self.n_items + 1))

    @property
    def n_modes(self) -> int | None:
        """One, the identity; at theta = 0 every permutation is a mode, and None stands for more than can be listed."""
        return 1 if self.theta > 0 else super().n_modes

    def mode_index(self, states: Tensor) -> Tensor:
        """0 for the identity, -1 elsewhere: [...] long. Needs n_modes."""
        return (states == self._contents).all(-1).long() - 1 if self.theta > 0 else super().mode_index(states)

    @property
    def n_states(self) -> int:
        """Number of states: n! / 0! + n! / 1! + ... + n! / n!, by how many items are left."""
        return sum(math.perm(self.n_items, k) for k in range(self.n_items + 1))

    @property
    def enumerable(self) -> bool:
        """Whether there are at most max_enumerated_states states; known without listing them."""
        return self.n_states <= self.max_enumerated_states

    def state_graph(self) -> StateGraph:
        """All states; refused before any is listed where they are too many."""
        found = f"there are {self.n_states} states, more than that; raise it if memory allows"
        require(self.enumerable, "target.max_enumerated_states", self.max_enumerated_states, found)
        return super().state_graph()
