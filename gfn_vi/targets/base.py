"""What most discrete targets share, so that a new one says only what is its own: states, moves, features, reward.

The state graph is found by following all moves from the source, level by level, so exact metrics work for every target
with at most `max_enumerated_states` states.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.state_graph import StateGraph, build_state_graph


class BaseTarget(ABC):
    """A DiscreteTarget (gfn_vi/core/protocols.py says what each member means) whose states are integer tensors.

    A subclass sets the six attributes declared below and defines the abstract methods; states start as zeros unless it
    overrides `initial`. Tensors in attributes follow `to(device)`.
    """

    n_actions: int
    n_backward_actions: int
    horizon: int
    state_shape: tuple[int, ...]
    n_features: int
    every_state_stops: bool

    # Steps of every trajectory at least, the stop action included: what memory is asked for at least.
    shortest: int = 1
    max_enumerated_states: int = 1_000_000
    # Pairs of a state and an action that are followed at once when states are listed.
    largest_front: ClassVar[int] = 2**22
    device: torch.device = torch.device("cpu")
    # Made on demand, and made again after a move to another device.
    _derived: ClassVar[tuple[str, ...]] = ("_enumeration", "_found", "_multipliers")

    def initial(self, *leading: int) -> Tensor:
        """Return the source state, zeros unless a subclass overrides this: [*leading, *state] long."""
        return torch.zeros(*leading, *self.state_shape, dtype=torch.long, device=self.device)

    @abstractmethod
    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions, the stop action last: [..., *state] -> [..., A] bool."""

    @abstractmethod
    def backward_mask(self, states: Tensor) -> Tensor:
        """Return the legal backward actions, none at the source: [..., *state] -> [..., A'] bool."""

    @abstractmethod
    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the states [..., *state] after legal actions [...]; the stop action leaves the state as it is."""

    @abstractmethod
    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the parents [..., *state] under legal backward actions [...]."""

    @abstractmethod
    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the backward action [...] that undoes `actions` taken from `states`; any index in range for the stop action."""

    @abstractmethod
    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the action [...] that leads from backstep(states, backward_actions) to `states`."""

    @abstractmethod
    def features(self, states: Tensor) -> Tensor:
        """Return the features of states, of one of two kinds.

        [..., K] long: indices below n_features, each of which chooses a row of the first layer; [..., n_features] float: dense.
        """

    @abstractmethod
    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R(x): [..., *state] -> [...] float64.

        It is called on states that can stop, and on all others, too, when the space is listed: values there are not used.
        """

    # -- what follows from these --------------------------------------------------------------------------------------

    @property
    def n_modes(self) -> int | None:
        """Number of connected regions of top reward; None where the space is too large to know."""
        return self.state_graph().modes[1] if self.enumerable else None

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the mode that each state belongs to, -1 for none: [..., *state] -> [...] long. Needs n_modes."""
        return self.state_graph().modes[0][self.state_index(states)]

    @property
    def enumerable(self) -> bool:
        """Whether there are at most max_enumerated_states states."""
        return self._found is not None

    def state_graph(self) -> StateGraph:
        """Return the graph of all states that can be reached from the source. Raises ConfigError where they are too many."""
        return self._enumeration[0]

    def state_index(self, states: Tensor) -> Tensor:
        """Return the row of each state in state_graph().states: [..., *state] -> [...] long; any row for what is no state."""
        _, rank, keys, order = self._enumeration
        return rank[order[torch.searchsorted(keys, self._keys(states)).clamp(max=len(keys) - 1)]]

    def _keys(self, states: Tensor) -> Tensor:
        """Return a number for each state, different for different ones: [..., *state] -> [...] long."""
        return (states.flatten(states.dim() - len(self.state_shape)) * self._multipliers).sum(-1)

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`."""
        moved = copy.copy(self)
        for name in self._derived:
            vars(moved).pop(name, None)
        for name, value in vars(moved).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        moved.device = torch.device(device)
        return moved

    def know_too_large(self) -> None:
        """Take somebody's word that there are more than max_enumerated_states states: none is listed to find that out."""
        vars(self)["_found"] = None

    @property
    def _listing(self) -> str:
        """Return the words that tell who waits that states are being listed."""
        n_states = getattr(self, "n_states", None)
        if isinstance(n_states, int):
            return f"listing {n_states:,} states of {type(self).__name__}"
        return f"listing the states of {type(self).__name__}, up to {self.max_enumerated_states:,}"

    @cached_property
    def _found(self) -> Tensor | None:
        """All states, the source first: [S, *state]; None if there are more than the limit."""
        with told_if_slow(self._listing):
            return self._followed()

    def _followed(self) -> Tensor | None:
        known = front = self.initial(1)
        while len(front) > 0:
            fresh = []
            for part in front.split(max(1, self.largest_front // self.n_actions)):
                row, action = self.forward_mask(part)[:, :-1].nonzero(as_tuple=True)
                children = self.step(part[row], action)
                together = torch.cat([known, children])
                number = self._numbered(together)
                rows = torch.arange(len(together), device=together.device)
                a_row = rows.new_zeros(int(number.max()) + 1).scatter_(0, number, rows)
                is_fresh = torch.ones_like(a_row, dtype=torch.bool).index_fill_(0, number[: len(known)], False)
                fresh.append(together[a_row[is_fresh]])
                known = torch.cat([known, fresh[-1]])
                if len(known) > self.max_enumerated_states:
                    return None
            front = torch.cat(fresh)
        return known

    def _numbered(self, states: Tensor) -> Tensor:
        """Return numbers from 0 that are equal exactly for equal states, which need not be listed: [S, *state] -> [S] long."""
        return torch.unique(states.flatten(1), dim=0, return_inverse=True)[1]

    @cached_property
    def _multipliers(self) -> Tensor:
        """Multipliers of the coordinates of a state, by which every state that is listed has another sum."""
        assert self._found is not None
        flat = self._found.flatten(1)
        extent = [int(top) + 1 for top in (flat.amax(0) - flat.amin(0).clamp(max=0))]
        return torch.tensor([_product(extent[i + 1 :]) for i in range(len(extent))], device=flat.device)

    @cached_property
    def _enumeration(self) -> tuple[StateGraph, Tensor, Tensor, Tensor]:
        """The graph; rank: row in the order found -> row in the graph; sorted keys and their rows: see state_index."""
        states = self._found
        limit = "max_enumerated_states"
        require(states is not None, f"target.{limit}", self.max_enumerated_states, "there are more states than that")
        assert states is not None
        with told_if_slow(self._listing):
            return self._sorted(states)

    def _sorted(self, states: Tensor) -> tuple[StateGraph, Tensor, Tensor, Tensor]:
        keys, order = self._keys(states).sort()
        forward = self.forward_mask(states)
        source, action = forward[:, :-1].nonzero(as_tuple=True)
        target = order[torch.searchsorted(keys, self._keys(self.step(states[source], action)))]
        backward = self.backward_action(states[source], action)
        log_reward = self.log_reward(states).double().masked_fill(~forward[:, -1], -torch.inf)
        graph, rank = build_state_graph(
            states, source, target, action, backward, log_reward, self.n_actions, self.n_backward_actions
        )
        return graph, rank, keys, order


def _product(factors: list[int]) -> int:
    """Return the product. Raises ConfigError where integers of 64 bits could not tell states apart."""
    total = 1
    for factor in factors:
        total *= factor
    require(total < 2**62, "target", total, "states have too many coordinates to be numbered: define enumerable = False")
    return total
