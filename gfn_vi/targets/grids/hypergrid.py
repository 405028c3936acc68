"""The hypergrid: states are integer points of a D-dimensional cube, an action adds 1 to a coordinate or stops.

Bengio et al. (2021); rewards of arXiv 2210.00580, section 4.1, and others are in rewards.py. Action d < D increments
coordinate d, action D stops; backward action d decrements coordinate d. Every state can stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.state_graph import StateGraph, build_state_graph
from gfn_vi.targets.base import BaseTarget


class Hypergrid(BaseTarget):
    """Grids of D = n_dims coordinates in 0..side-1, with R = r0 + reward(coordinates, side). States are [..., D] long."""

    every_state_stops = True
    _derived: ClassVar[tuple[str, ...]] = ("_listed",)

    def __init__(
        self, n_dims: int, side: int, r0: float, reward: Callable[[Tensor, int], Tensor], max_enumerated_states: int
    ) -> None:
        """r0: floor of R, in its units; reward: what is added, [..., D] -> [...] float64 >= 0.

        max_enumerated_states: exact metrics are available while side ** n_dims does not exceed it.
        """
        require(n_dims >= 1, "target.n_dims", n_dims, "expected a whole number >= 1")
        require(side >= 2, "target.side", side, "expected a whole number >= 2")
        require(0 < r0 < math.inf, "target.r0", r0, "expected a positive number: every state needs R > 0")
        self.n_dims, self.side, self.r0, self.reward = n_dims, side, r0, reward
        self.max_enumerated_states = max_enumerated_states
        self.n_actions, self.n_backward_actions = n_dims + 1, n_dims
        self.horizon = n_dims * (side - 1) + 1
        self.state_shape = (n_dims,)
        self.n_features = n_dims * side
        self.n_states = side**n_dims
        self._offsets = torch.arange(n_dims) * side
        self._unit = torch.cat([torch.eye(n_dims, dtype=torch.long), torch.zeros(1, n_dims, dtype=torch.long)])
        # for the mask: every coordinate, then one that is compared with a limit no state reaches
        self._columns = torch.tensor([*range(n_dims), 0])
        self._limits = torch.tensor([side - 1] * n_dims + [side])

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions [..., D + 1] bool: a coordinate below side - 1 can grow, and stopping is always legal."""
        return states.index_select(-1, self._columns) < self._limits

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return the legal backward actions [..., D] bool: a coordinate above 0 can shrink."""
        return states > 0

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the states [..., D] with 1 added to the chosen coordinate; the stop action adds nothing."""
        return states + self._unit[actions]

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the states [..., D] with 1 subtracted from the chosen coordinate."""
        return states - self._unit[backward_actions]

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the coordinate [...] that `actions` increment; the stop action has none and maps to 0."""
        return actions.where(actions < self.n_dims, 0)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the action [...] that increments the coordinate which the backward action decrements: it has the same index."""
        return backward_actions

    def features(self, states: Tensor) -> Tensor:
        """Return the K-hot features with K = D, whose index is d * side + s_d: [..., D] long."""
        return states + self._offsets

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R of each state: [..., D] -> [...] float64."""
        return (self.r0 + self.reward(states, self.side)).log()

    @property
    def n_modes(self) -> int | None:
        """Number of connected regions of top reward; None where neither a list of all states nor the reward can tell."""
        if self.enumerable:
            return self.state_graph().modes[1]
        count = getattr(self.reward, "n_modes", None)
        return None if count is None else count(self.n_dims, self.side)

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the mode that each state belongs to, -1 for none: [..., D] -> [...] long. Needs n_modes."""
        if self.enumerable:
            return self.state_graph().modes[0][self.state_index(states)]
        return self.reward.mode_index(states, self.side)  # type: ignore[attr-defined]

    @property
    def enumerable(self) -> bool:
        """Whether the number of states is within max_enumerated_states."""
        return self.n_states <= self.max_enumerated_states

    def state_graph(self) -> StateGraph:
        """Return the graph of all side ** n_dims states, ordered by the sum of their coordinates.

        Raises ConfigError where there are more than max_enumerated_states.
        """
        require(
            self.enumerable,
            "target.max_enumerated_states",
            self.max_enumerated_states,
            f"side ** n_dims = {self.n_states} states are more than that; raise it if memory allows",
        )
        return self._listed[0]

    def state_index(self, states: Tensor) -> Tensor:
        """Return the row of each state in state_graph().states: [..., D] -> [...] long."""
        self.state_graph()
        return self._listed[1][(states * self._strides()).sum(-1)]

    def to(self, device: Any) -> Self:
        """Return the same grid with its tensors on `device`; the graph is built again there when it is asked for."""
        moved = super().to(device)
        # a reward with tensors of its own says how to move them
        if hasattr(self.reward, "to"):
            moved.reward = self.reward.to(device)
        return moved

    @cached_property
    def _listed(self) -> tuple[StateGraph, Tensor]:
        """The graph of all states, and the row in it [S] of the state that coordinates with these strides number."""
        with told_if_slow(self._listing):
            return self._listed_now()

    def _listed_now(self) -> tuple[StateGraph, Tensor]:
        axes = [torch.arange(self.side, device=self.device)] * self.n_dims
        states = torch.cartesian_prod(*axes).reshape(-1, self.n_dims)
        source, action = (states < self.side - 1).nonzero(as_tuple=True)
        target = source + self._strides()[action]
        return build_state_graph(
            states, source, target, action, action, self.log_reward(states), self.n_actions, self.n_backward_actions
        )

    def _strides(self) -> Tensor:
        return self.side ** torch.arange(self.n_dims - 1, -1, -1, device=self.device)
