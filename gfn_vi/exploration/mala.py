"""The Metropolis-adjusted Langevin algorithm: chains that leave R / Z as it is (Roberts & Tweedie 1996).

A step proposes x' = x + h grad log R(x) + sqrt(2 h) noise, whose density is q(x' | x), and accepts it with probability
min(1, R(x') q(x | x') / (R(x) q(x' | x))). The step size h is fixed while a chain has to leave R / Z as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Points:
    """The places of chains: states [R, N, d], log R of them [R, N] and its gradients [R, N, d]."""

    states: Tensor
    log_reward: Tensor
    score: Tensor


def log_proposal(start: Points, end: Points, step_size: Tensor) -> Tensor:
    """Return log q(end | start) up to a constant that all have in common: [R, N]; step_size [R] is h."""
    expected = start.states + step_size[:, None, None] * start.score
    return -(end.states - expected).square().sum(-1) / (4 * step_size[:, None])


def log_ratio(old: Points, new: Points, step_size: Tensor) -> Tensor:
    """Return the log of the ratio that is compared with 1 to accept `new` after `old`: [R, N]."""
    backward, forward = log_proposal(new, old, step_size), log_proposal(old, new, step_size)
    return new.log_reward - old.log_reward + backward - forward


def mala_step(
    old: Points, step_size: Tensor, noise: Tensor, uniform: Tensor, at: Callable[[Tensor], Points]
) -> tuple[Points, Tensor]:
    """Return the points after a step, and which chains moved: [R, N] bool.

    step_size [R] is h; noise [R, N, d] standard normal; uniform [R, N] on [0, 1); at: states -> points. What is not a number
    is never accepted.
    """
    h = step_size[:, None, None]
    new = at(old.states + h * old.score + (2 * h).sqrt() * noise)
    moved = uniform.log() < log_ratio(old, new, step_size)
    wide = moved[..., None]
    return (
        Points(
            torch.where(wide, new.states, old.states),
            torch.where(moved, new.log_reward, old.log_reward),
            torch.where(wide, new.score, old.score),
        ),
        moved,
    )
