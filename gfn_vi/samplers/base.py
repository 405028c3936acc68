"""The base class of all samplers, over states or over densities: replicas, log Z, counted rewards, and what is offered."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gfn_vi.core.protocols import Target
from gfn_vi.core.types import Need, Role


class BaseSampler(nn.Module):
    """The part that all samplers share: log Z [R] and the count of reward calls [R].

    A subclass rolls out and evaluates (gfn_vi/core/protocols.py: Sampler). tilts: the kind of tilt that rollouts take
    ("discrete", "gaussian"), which an exploration's must be; counters: names of the buffers [R] that count calls;
    has_changing_steps: whether the steps of training differ from batch to batch, so that no trajectory can be replayed.
    """

    reward_calls: Tensor
    tilts: ClassVar[str]
    counters: ClassVar[tuple[str, ...]] = ("reward_calls",)
    has_changing_steps: bool = False

    def __init__(self, target: Target, n_replicas: int, log_Z: float) -> None:
        """n_replicas: R; log_Z: initial value of the learned log-normalizer of every replica, in nats."""
        super().__init__()
        self.target, self.n_replicas = target, n_replicas
        self.log_Z = nn.Parameter(torch.full((n_replicas,), float(log_Z)))
        # evaluations of the reward per replica so far, those for metrics included; a trainer records differences
        self.register_buffer("reward_calls", torch.zeros(n_replicas, dtype=torch.long))

    @property
    def offers(self) -> frozenset[Need]:
        """Return the needs that `evaluate` can meet: score norms of every sampler, and what a subclass adds."""
        return frozenset({Need.SCORE_NORMS})

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of all parameters and log-probabilities."""
        return self.log_Z.dtype

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """Return every parameter exactly once, by role; a subclass adds its networks to {LOG_Z: [log_Z]}."""
        return {Role.LOG_Z: [self.log_Z]}

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R(x) of objects [R, ..., *state] in the parameters' type: [R, ...]; each object is one reward call."""
        log_reward = self.target.log_reward(states).to(self.dtype)
        self.reward_calls += log_reward[0].numel()
        return log_reward

    def statistics(self) -> dict[str, Tensor]:
        """Return the values that are worth recording, each [R]."""
        return {}

    def remedies(self) -> list[str]:
        """Return what to try of the sampler's own keys where its numbers are not finite; none unless a subclass has such keys."""
        return []

    def in_training(self, seen: int) -> Self:
        """Return the sampler that draws and evaluates the batch after `seen` trajectories per replica, with these parameters.

        It is the sampler itself, but for subclasses that train on other steps than they are measured on.
        """
        return self

    def remember(self) -> None:
        """Take note that the last rollout was one of training. What a sampler makes of it may change its speed.

        Numbers stay what they are, up to the order in which sums are rounded.
        """

    def forget(self) -> None:
        """Take note that an update begins: rollouts until now were not of training."""

    def sharing(self) -> AbstractContextManager[None]:
        """Return a context in which parameters do not change, so that `evaluate` may use what a rollout in it has computed."""
        return nullcontext()

    def memory(self) -> dict[str, Any] | None:
        """Return what is remembered of earlier updates; None for nothing."""
        return None

    def recall(self, memory: dict[str, Any] | None) -> None:
        """Continue with the `memory` of another process."""

    def repeated(self, times: int) -> Self:
        """Return a copy with R * times replicas, each replica `times` times in a row; its parameters are its own.

        One batch for each of them then gives `times` gradients at the same parameters in one backward pass.
        """
        twin = copy.deepcopy(self, {id(part): part for part in self._shared_by_copies()})
        twin.n_replicas = self.n_replicas * times
        for parameter in twin.parameters():
            parameter.data = parameter.data.repeat_interleave(times, 0)
        for name in self.counters:
            setattr(twin, name, getattr(twin, name).repeat_interleave(times, 0))
        return twin

    def _shared_by_copies(self) -> list[object]:
        """Return what a copy may share with the original: the target, which nothing changes."""
        return [self.target]
