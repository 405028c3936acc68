"""P_F and versions of it with other probabilities of actions.

The density of what was drawn is the product of the tilted step probabilities.

Schedules count trajectories per replica. A tilt maps log-probabilities [..., A] to log-probabilities [..., A].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.log_probability import masked_log_softmax, uniform_log_probs
from gfn_vi.core.protocols import DiscreteTilt, Sampler, Tilt
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.schedules import Schedule, as_schedule
from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.base import BaseExploration


class OnPolicy(BaseExploration):
    """On-policy training: the trajectories are drawn from P_F itself."""

    is_on_policy = True

    @property
    def only_rolls_out(self) -> bool:
        """Return True, but for a subclass that collects in a way of its own."""
        return type(self).collect is OnPolicy.collect

    def tilt(self, n_trajectories: int) -> Tilt | None:
        """Return how the policy is changed after `n_trajectories` trajectories per replica; None where it is not changed."""
        return None

    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return `batch` trajectories per replica, drawn with the tilt of this moment: [R, batch]."""
        return sampler.rollout(batch, rng, self.tilt(seen))

    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return log pi of the trajectories under the tilt of this moment: [R, B]."""
        return sampler.log_density(trajectories, self.tilt(seen))


class EpsilonUniform(OnPolicy):
    """A policy whose steps are uniform over the legal actions with probability epsilon; the density is that of the mixture."""

    is_on_policy, tilts = False, frozenset({"discrete"})

    def __init__(self, epsilon: float | Schedule) -> None:
        """epsilon: probability of a uniform step, in [0, 1]."""
        self.epsilon = as_schedule(epsilon)
        for end in (self.epsilon.start, self.epsilon.end):
            require(0 <= end <= 1, "exploration.epsilon", end, "expected a probability in [0, 1]")

    def tilt(self, n_trajectories: int) -> DiscreteTilt | None:
        """Return the tilt to log((1 - epsilon) P_F + epsilon uniform); None at epsilon = 0."""
        epsilon = self.epsilon.value(n_trajectories)
        if epsilon == 0:
            return None

        def mix(log_probs: Tensor, mask: Tensor) -> Tensor:
            uniform = uniform_log_probs(mask, log_probs.dtype) + math.log(epsilon)
            return uniform if epsilon == 1 else torch.logaddexp(log_probs + math.log1p(-epsilon), uniform)

        return mix


class Tempered(OnPolicy):
    """A policy whose step probabilities are proportional to P_F^(1 / temperature)."""

    is_on_policy, tilts = False, frozenset({"discrete"})

    def __init__(self, temperature: float | Schedule) -> None:
        """temperature: positive; a temperature above 1 makes the policy more uniform."""
        self.temperature = as_schedule(temperature)
        require(self.temperature.start > 0, "exploration.temperature", self.temperature.start, "expected a positive number")
        if self.temperature.shape != "constant":
            require(self.temperature.end > 0, "exploration.temperature.end", self.temperature.end, "expected a positive number")

    def tilt(self, n_trajectories: int) -> DiscreteTilt | None:
        """Return the tilt that divides the logits by the temperature; None at temperature 1."""
        temperature = self.temperature.value(n_trajectories)
        if temperature == 1:
            return None
        return lambda log_probs, mask: masked_log_softmax(log_probs / temperature, mask)


class StopBias(OnPolicy):
    """A policy with a constant subtracted from the stop logit, so that trajectories are longer (arXiv 2210.00580, section 4.1).

    There the constant is annealed to 0.
    """

    is_on_policy, tilts = False, frozenset({"discrete"})

    def __init__(self, bias: float | Schedule) -> None:
        """bias: nats subtracted from the stop logit; where stopping is the only legal action it changes nothing."""
        self.bias = as_schedule(bias)

    def tilt(self, n_trajectories: int) -> DiscreteTilt | None:
        """Return the tilt that subtracts the bias from the stop logit; None at bias 0."""
        bias = self.bias.value(n_trajectories)
        if bias == 0:
            return None

        def shift(log_probs: Tensor, mask: Tensor) -> Tensor:
            # an addition, not an assignment in place: log_probs may be needed again
            change = torch.zeros(log_probs.shape[-1], dtype=log_probs.dtype, device=log_probs.device)
            return masked_log_softmax(log_probs - torch.nn.functional.pad(change[:-1], (0, 1), value=bias), mask)

        return shift
