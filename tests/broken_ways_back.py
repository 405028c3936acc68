"""Targets whose moves are undone as they should, and which have backward steps that undo no move."""

from __future__ import annotations

import torch
from broken_targets import Sound
from torch import Tensor


class OneMoreWayBack(Sound):
    """A third backward action at the top, which undoes no move: it leads to a state with another child."""

    n_backward_actions = 3
    parent = (0, 0)

    def backward_mask(self, states: Tensor) -> Tensor:
        return torch.cat([states > 0, (states == 2).all(-1, keepdim=True)], -1)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        usual = super().backstep(states, backward_actions.clamp(max=1))
        return torch.where((backward_actions == 2)[..., None], torch.tensor(self.parent), usual)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return torch.where(backward_actions == 2, 0, backward_actions)


class TwoWaysToAParent(OneMoreWayBack):
    parent = (1, 2)


class WayBackThatIsForbidden(OneMoreWayBack):
    parent = (2, 0)


class WayBackToNowhere(OneMoreWayBack):
    parent = (-1, 2)


class WayBackByTheStop(OneMoreWayBack):
    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return backward_actions


# Target -> the check that names it, and what its line holds.
BROKEN_WAYS_BACK: dict[type[Sound], tuple[str, str]] = {
    OneMoreWayBack: (
        "inverses backward",
        "backward action 2 leads from [2, 2] to [0, 0], forward_action says 0, and step by that leads to [1, 0]",
    ),
    TwoWaysToAParent: (
        "inverses backward",
        "from [2, 2] to [1, 2], forward_action says 0, and backward_action of that is 0: return the backward",
    ),
    WayBackThatIsForbidden: (
        "inverses backward",
        "from [2, 2] to [2, 0], forward_action says 0, and forward_mask forbids that at the parent",
    ),
    WayBackToNowhere: (
        "inverses backward",
        "backward action 2 leads from [2, 2] to [-1, 2], which no moves from the source lead to",
    ),
    WayBackByTheStop: (
        "inverses backward",
        "from [2, 2] to [0, 0], forward_action says 2: return an action from 0 to n_actions - 2 = 1",
    ),
}
