"""Targets that break one rule each: what a user gets wrong, and what the check must say of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gfn_vi.targets.base import BaseTarget


class Sound(BaseTarget):
    """A 3 x 3 grid in which every state can stop: action k adds 1 to coordinate k, 2 stops; R = 1 + the sum of both."""

    n_actions, n_backward_actions, horizon, state_shape, n_features, every_state_stops = 3, 2, 5, (2,), 6, True

    def forward_mask(self, states: Tensor) -> Tensor:
        return torch.cat([states < 2, torch.ones_like(states[..., :1]) > 0], -1)

    def backward_mask(self, states: Tensor) -> Tensor:
        return states > 0

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return states + self._one(actions, 3)[..., :2]

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return states - self._one(backward_actions, 2)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        return actions.clamp(max=1)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return backward_actions

    def features(self, states: Tensor) -> Tensor:
        return states + torch.tensor([0, 3])

    def log_reward(self, states: Tensor) -> Tensor:
        return (1 + states.sum(-1).double()).log()

    @staticmethod
    def _one(index: Tensor, n: int) -> Tensor:
        return torch.nn.functional.one_hot(index, n)


class HorizonTooSmall(Sound):
    horizon = 4


class HorizonTooLarge(Sound):
    horizon = 9


class NoStop(Sound):
    """Only the states whose coordinates sum to 2 or less can stop."""

    every_state_stops = False

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 2] = states.sum(-1) < 3
        return mask


class NoWayOn(Sound):
    """The state [2, 2] allows nothing."""

    every_state_stops = False

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 2] = states.sum(-1) < 4
        return mask


class WrongBackwardAction(Sound):
    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        return 1 - actions.clamp(max=1)


class WrongForwardAction(Sound):
    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return 1 - backward_actions


class WrongBackstep(Sound):
    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return states.clamp(max=1) - self._one(backward_actions, 2)


class ForwardMaskTooWide(Sound):
    """Steps beyond the edge are allowed, which backward_mask knows nothing of."""

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 0] = states[..., 0] < 3
        return mask

    def backward_mask(self, states: Tensor) -> Tensor:
        return (states > 0) & (states < 3)


class BackwardMaskTooNarrow(Sound):
    def backward_mask(self, states: Tensor) -> Tensor:
        return (states > 0) & (states.sum(-1, keepdim=True) != 2)


class BackwardMaskTooWide(Sound):
    def backward_mask(self, states: Tensor) -> Tensor:
        return states > -1


class TwoActionsToAChild(Sound):
    """Action 1 adds 1 to coordinate 1, action 0 as well where coordinate 0 is full."""

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 0] |= states[..., 1] < 2
        return mask

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        full = (states[..., 0] == 2) & (actions == 0)
        return super().step(states, torch.where(full, 1, actions))

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        return torch.where((states[..., 0] == 2) & (actions == 0), 1, actions.clamp(max=1))


class Circle(Sound):
    """Coordinates count modulo 3."""

    def forward_mask(self, states: Tensor) -> Tensor:
        return torch.ones(*states.shape[:-1], 3, dtype=torch.bool)

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return super().step(states, actions) % 3


class StaysWhereItIs(Sound):
    """Action 0 at the edge is allowed and does nothing."""

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 0] = True
        return mask

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return super().step(states, actions).clamp(max=2)


class NoEnd(Sound):
    """Coordinate 0 grows for ever."""

    n_features = 1000

    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 0] = True
        return mask


class NanReward(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states).masked_fill((states == 1).all(-1), math.nan)


class ZeroReward(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        return states[..., 0].double().log()


class SingleReward(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states).float()


class RewardOfAnotherShape(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states)[..., None]


class RewardOfTheBatch(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        found = super().log_reward(states)
        return found - found.mean()


class RandomReward(Sound):
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def log_reward(self, states: Tensor) -> Tensor:
        found = super().log_reward(states)
        return found + torch.rand(found.shape, dtype=torch.float64, generator=self.generator)


class RewardRaises(Sound):
    def log_reward(self, states: Tensor) -> Tensor:
        if bool((states == 2).all(-1).any()):
            raise KeyError("corner")
        return super().log_reward(states)


class FeaturesOutOfRange(Sound):
    n_features = 5


class FeaturesTwiceOfThree(Sound):
    """The last two of three are equal."""

    def features(self, states: Tensor) -> Tensor:
        return torch.cat([super().features(states), 3 + states[..., 1:]], -1)


class SourceOfOneAxis(Sound):
    def initial(self, n: int) -> Tensor:  # type: ignore[override]
        return super().initial(n)


class TwoSources(Sound):
    """The second of several is another one."""

    def initial(self, *leading: int) -> Tensor:
        found = super().initial(*leading)
        if len(leading) == 2:
            found[:, 1:] += 1
        return found


class FeaturesTwice(Sound):
    def features(self, states: Tensor) -> Tensor:
        return states


class FeaturesInfinite(Sound):
    n_features = 2

    def features(self, states: Tensor) -> Tensor:
        return 1 / states.float()


class FeaturesOfOneAxis(Sound):
    """Right for [n, 2] and [2], not for [a, b, 2]."""

    def features(self, states: Tensor) -> Tensor:
        found = super().features(states)
        return (
            found.flip(-1).flip(-1)
            if states.dim() < 3
            else found + (states[:1] > 5) + (torch.arange(len(states)) == 1)[:, None, None]
        )


class ChangesItsInput(Sound):
    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        states += self._one(actions, 3)[..., :2]
        return states


class MaskOfNumbers(Sound):
    def backward_mask(self, states: Tensor) -> Tensor:
        return states.clamp(max=1)


class StopMoves(Sound):
    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return super().step(states, actions) + (actions == 2)[..., None] * (states > 1)


class SaysThatAllStop(Sound):
    def forward_mask(self, states: Tensor) -> Tensor:
        mask = super().forward_mask(states)
        mask[..., 2] &= states.sum(-1) > 0
        return mask


class SaysThatNotAllStop(Sound):
    every_state_stops = False


class StepOfAnotherType(Sound):
    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return super().step(states, actions).int()


class SourceOfAnotherShape(Sound):
    def initial(self, *leading: int) -> Tensor:
        return torch.zeros(*leading, 3, dtype=torch.long)


class HorizonOfAnotherType(Sound):
    horizon: Any = 5.0


class AnotherDevice(Sound):
    shift = 0.0

    def log_reward(self, states: Tensor) -> Tensor:
        return super().log_reward(states) + self.shift

    def to(self, device: Any) -> AnotherDevice:
        moved = super().to(device)
        moved.shift = 1.0
        return moved


# Target -> the check that names it, and how its line begins, or what it holds.
BROKEN_MOVES: dict[type[Sound], tuple[str, str]] = {
    HorizonTooSmall: ("horizon", "horizon=4, and the longest trajectory, to [2, 2], has 5 steps, stop included: set horizon=5"),
    HorizonTooLarge: (
        "horizon",
        "horizon=9, and the longest trajectory, to [2, 2], has only 5 steps, stop included: set horizon=5",
    ),
    NoStop: (
        "way to a stop",
        "no moves lead from [2, 1] to a state that can stop (and 2 more states), and forward_mask allows nothing at [2, 2]",
    ),
    NoWayOn: ("way to a stop", "forward_mask allows nothing at [2, 2]: allow the stop action there or behind it"),
    WrongBackwardAction: (
        "inverses of moves",
        "action 0 leads from [0, 0] to [1, 0], backward_action says 1, and backward_mask forbids",
    ),
    WrongForwardAction: (
        "inverses of moves",
        "action 0 leads from [0, 0] to [1, 0], backward_action says 0, and forward_action of that is 1",
    ),
    WrongBackstep: (
        "inverses of moves",
        "action 0 leads from [1, 0] to [2, 0], backward_action says 0, and backstep by that leads to [0, 0]",
    ),
    ForwardMaskTooWide: ("masks", "backward_mask allows nothing at [3, 0], which is not the source: allow what undoes the moves"),
    BackwardMaskTooNarrow: ("masks", "backward_mask allows nothing at [2, 0] (and 2 more states), which is not the source"),
    BackwardMaskTooWide: ("masks", "backward_mask allows action 0 at the source [0, 0]: allow none there"),
    TwoActionsToAChild: ("one action to a child", "actions 0 and 1 both lead from [2, 0] to [2, 1] (and 1 more pair)"),
    Circle: ("no circles", "moves lead in a circle, [0, 2] -> [1, 2] -> [2, 2] -> [0, 2]: forbid one of them"),
    StaysWhereItIs: ("steps", "action 0 leads from [2, 0] to the same state (and 2 more moves): forbid it there in forward_mask"),
    NoEnd: ("horizon", "a walk of 16 moves is at [16, 0], and horizon=5 holds 4 moves and the stop"),
    NanReward: ("rewards", "log_reward is nan at [1, 1], which can stop: return a finite number"),
    ZeroReward: (
        "rewards",
        "log_reward is -inf at [0, 0], which can stop (and 2 more states): forbid the stop action where R = 0",
    ),
    SingleReward: ("rewards", "log_reward returns torch.float32, as at [0, 0]: return torch.float64"),
    RewardOfAnotherShape: ("rewards", "log_reward returns the shape [..., 1], as at [0, 0]: return [...]"),
    RewardOfTheBatch: ("one row, one state", "log_reward says 0.0 alone and -"),
    RandomReward: ("determinism", "log_reward says 0."),
    RewardRaises: ("rewards", "log_reward raises at [2, 2]: KeyError: 'corner' ("),
    FeaturesOutOfRange: (
        "features",
        "features hold the index 5 at [0, 2] (and 2 more states), and n_features=5: return indices from 0",
    ),
    SourceOfOneAxis: ("source", "initial() raises TypeError: "),
    TwoSources: ("source", "initial() is [0, 0] and initial(2, 3) holds another state: return the one source, repeated"),
    FeaturesTwiceOfThree: ("features", "features hold an index twice at [0, 0]: [0, 3, 3] (and 8 more states)"),
    FeaturesTwice: ("features", "features hold an index twice at [0, 0]: [0, 0] (and 2 more states): return different indices"),
    FeaturesInfinite: ("features", "features are inf at [0, 0] (and 4 more states): return finite numbers"),
    FeaturesOfOneAxis: ("one row, one state", "features says something else at "),
    ChangesItsInput: ("inputs", "step changes its input: [0, 0] becomes [1, 0]; work on a copy (states.clone())"),
    MaskOfNumbers: ("masks", "backward_mask returns torch.int64, as at [0, 0]: return torch.bool"),
    StopMoves: ("steps", "step with the stop action 2 leads from [2, 0] to [3, 0]: leave the state as it is"),
    SaysThatAllStop: (
        "masks",
        "every_state_stops is True, and the stop action is illegal at [0, 0]: set every_state_stops = False",
    ),
    SaysThatNotAllStop: (
        "masks",
        "every_state_stops is False, and the stop action is legal at all states, as at [0, 0]: set it to True",
    ),
    StepOfAnotherType: ("moves", "step returns torch.int32, as at [0, 0]: return torch.int64"),
    SourceOfAnotherShape: ("moves", "initial(1) returns [1, 3]: return the source state [1, 2]"),
    HorizonOfAnotherType: ("sizes", "horizon=5.0: set a whole number >= 1"),
    AnotherDevice: ("devices", "log_reward of to('cpu') says something else at [0, 0]: return an equal target"),
}
