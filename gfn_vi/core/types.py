"""The data that flows through the house: trajectories (what happened) and evaluations (what the parameters say of it).

Axes in this order everywhere: R replica, B trajectory, T step (padded), then the rest. Natural logarithms. The stop
action is the last of the A forward actions and is a step of its own, whose backward step has probability 1. After the
end the last state repeats, `mask` is False and every log-probability is exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import torch
from torch import Tensor


class Need(Enum):
    """A need of an objective: what sampler and exploration must give it beyond log_pf, log_pb, log_reward and log_Z."""

    FLOW = "learned state flows"
    STOP_FLOW = "log R(s) - log P_F(stop | s) at every visited state"
    INFLOW = "the flow into every visited state, summed over its parents"
    BEHAVIOR = "the density of the behavior policy"
    ON_POLICY = "trajectories drawn from P_F itself"
    SCORE_NORMS = "squared norms of the score of every trajectory"
    PATHWISE = "gradients through the reward along the noise"
    STICKING_THE_LANDING = "gradients along the noise without the score of P_F"


class Role(Enum):
    """The part that a parameter plays; each role is a parameter group with a learning rate of its own."""

    FORWARD = "forward"
    BACKWARD = "backward"
    FLOW = "flow"
    LOG_Z = "log_Z"


def _shapes(data: Any) -> str:
    """Return the fields of a dataclass that are tensors as name, shape and type: a notebook shows it in a few lines."""
    tensors = {field.name: getattr(data, field.name) for field in fields(data)}
    told = [f"{name} {list(x.shape)} {str(x.dtype).removeprefix('torch.')}" for name, x in tensors.items() if x is not None]
    return f"{type(data).__name__}({', '.join(told)})"


@dataclass(frozen=True, repr=False)
class Trajectories:
    """Trajectories as they were drawn; they carry no gradient.

    states [R, B, T+1, *state]; actions [R, B, T] long or [R, B, T, d] float; mask [R, B, T] bool; log_reward [R, B];
    log_behavior [R, B]: log-density of tau under what really drew it (of a mixture, the mixture), None if unknown.
    """

    states: Tensor
    actions: Tensor
    mask: Tensor
    log_reward: Tensor
    log_behavior: Tensor | None

    def __repr__(self) -> str:
        return _shapes(self)

    @property
    def batch(self) -> int:
        """Return the number of trajectories B per replica."""
        return self.mask.shape[1]

    def terminal_states(self) -> Tensor:
        """Return the objects x that the trajectories end in: [R, B, *state]."""
        return self.states[:, :, -1]

    def map(self, function: Callable[[Tensor], Tensor]) -> Trajectories:
        """Return the trajectories with `function` applied to every field [R, B, ...]; an unknown density stays unknown."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        mapped: dict[str, Any] = {name: None if value is None else function(value) for name, value in values.items()}
        return Trajectories(**mapped)

    def select(self, index: Tensor) -> Trajectories:
        """Return the trajectories with numbers index [R, b] long in each replica: [R, b]."""
        return self.map(lambda x: x[torch.arange(x.shape[0], device=x.device)[:, None], index])


def pad_steps(trajectories: Trajectories, steps: int) -> Trajectories:
    """Return the same trajectories padded to `steps` >= T steps: the last state repeats, the mask is False."""
    extra = steps - trajectories.mask.shape[2]
    if extra == 0:
        return trajectories

    def zeros(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(*x.shape[:2], extra, *x.shape[3:])], 2)

    last = trajectories.states[:, :, -1:].expand(-1, -1, extra, *trajectories.states.shape[3:])
    return Trajectories(
        torch.cat([trajectories.states, last], 2),
        zeros(trajectories.actions),
        zeros(trajectories.mask),
        trajectories.log_reward,
        trajectories.log_behavior,
    )


def concatenate(parts: list[Trajectories]) -> Trajectories:
    """Return the parts [R, B_k] joined along B, padded to the longest; log_behavior survives only if every part has one."""
    if len(parts) == 1:
        return parts[0]
    steps = max(p.mask.shape[2] for p in parts)
    padded = [pad_steps(p, steps) for p in parts]
    behaviors = [p.log_behavior for p in padded]
    known = [b for b in behaviors if b is not None]
    return Trajectories(
        torch.cat([p.states for p in padded], 1),
        torch.cat([p.actions for p in padded], 1),
        torch.cat([p.mask for p in padded], 1),
        torch.cat([p.log_reward for p in padded], 1),
        torch.cat(known, 1) if len(known) == len(behaviors) else None,
    )


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The values that the current parameters give to trajectories; they are differentiable.

    log_pf, log_pb [R, B, T]; log_reward [R, B]; log_Z [R]; log_behavior [R, B] or None; mask [R, B, T] bool.
    The rest is present when the objective declares the need:
    log_flow [R, B, T+1]: log F(s_t), with F(s_0) = Z (learned flows) and F = R after the stop step;
    log_inflow [R, B, T]: log of the sum over parents p of F(p) P_F(s_t | p), 0 where s_t has no parent;
    score_norm_pf, score_norm_pb [R, B]: squared Euclidean norm of the gradient of log P_F(tau), log P_B(tau | x).
    With Need.PATHWISE the values are the same and their gradients those of trajectories that move with the parameters, the noise
    held fixed, the reward included; with Need.STICKING_THE_LANDING they leave out the parameters of log P_F itself.
    """

    log_pf: Tensor
    log_pb: Tensor
    log_reward: Tensor
    log_Z: Tensor
    log_behavior: Tensor | None
    mask: Tensor
    log_flow: Tensor | None = None
    log_inflow: Tensor | None = None
    score_norm_pf: Tensor | None = None
    score_norm_pb: Tensor | None = None

    def __repr__(self) -> str:
        return _shapes(self)

    @property
    def trajectory_log_pf(self) -> Tensor:
        """Return log P_F(tau) of each trajectory: [R, B]."""
        return self.log_pf.sum(-1)

    @property
    def trajectory_log_pb(self) -> Tensor:
        """Return log P_B(tau | x) of each trajectory: [R, B]."""
        return self.log_pb.sum(-1)

    def log_ratio(self) -> Tensor:
        """Return l(tau) = log P_F(tau) - log P_B(tau | x) - log R(x) of each trajectory: [R, B]."""
        return (self.log_pf - self.log_pb).sum(-1) - self.log_reward

    def residual(self) -> Tensor:
        """Return the balance residual u(tau) = l(tau) + log Z of each trajectory: [R, B]."""
        return self.log_ratio() + self.log_Z[:, None]
