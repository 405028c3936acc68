"""Trajectories that are made to stop early, with the density of what is then drawn (arXiv 2210.00580, section 4.2).

With probability p a trajectory of the source gets a length K, uniform over shortest..longest, and stops after K moves where it
is longer and may stop there. A trajectory tau of n moves has probability q(tau) under the source, stop step included, and
m(tau) without that step. It is drawn

    pi(tau) = q(tau) [ 1 - p + p P(K = k for some k > n, or some k < n after which tau may not stop) ]  +  p P(K = n) m(tau)

The published code took q for pi; `counts_stops: false` does that (deviation=uncounted_early_stops).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Exploration
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.base import BaseExploration


class EarlyStop(BaseExploration):
    """A source of trajectories some of which are cut at a random length; of discrete targets."""

    tilts = frozenset({"discrete"})

    def __init__(self, source: Exploration, probability: float, shortest: int, longest: int | None, counts_stops: bool) -> None:
        """probability: of a length, per trajectory; shortest, longest: moves before the stop, None: as many as can be.

        counts_stops: whether the density is that of what was drawn; False: that of the source, as the published code has it.
        """
        require(0 <= probability <= 1, "exploration.probability", probability, "expected a probability in [0, 1]")
        require(shortest >= 0, "exploration.shortest", shortest, "expected a whole number of moves >= 0")
        ordered = longest is None or longest >= shortest
        require(ordered, "exploration.longest", longest, f"expected a whole number >= exploration.shortest={shortest}, or null")
        require(source.has_density, "exploration.source", type(source).__name__, "has no density: use on_policy")
        self.source, self.probability, self.counts_stops = source, probability, counts_stops
        self.shortest, self.longest = shortest, longest
        self.needs_moves = max(shortest, getattr(source, "needs_moves", 0))
        self.is_on_policy = source.is_on_policy and probability == 0
        self.replays_trajectories = getattr(source, "replays_trajectories", False)

    def collect(self, sampler: Any, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return `batch` trajectories per replica, those with a length cut where they can be: [R, batch]."""
        drawn = self.source.collect(sampler, batch, rng, seen)
        uniform = rng.uniform(batch, 2)
        low, high = self._lengths(sampler)
        length = low + (uniform[..., 1] * (high - low + 1)).long().clamp(max=high - low)
        steps = torch.arange(drawn.mask.shape[2], device=length.device)
        here = (steps == length[..., None]) & drawn.mask & self._may_stop(sampler, drawn)
        cut = here.any(-1) & (uniform[..., 0] < self.probability)
        cut &= drawn.mask.sum(-1) - 1 > length
        drawn = _stopped(drawn, length, cut, sampler.target.n_actions - 1)
        drawn = replace(drawn, log_reward=_rewards(sampler, drawn, cut))
        return replace(drawn, log_behavior=self.log_density(sampler, drawn, seen))

    def log_density(self, sampler: Any, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return log pi of the trajectories: [R, B]."""
        whole = self.source.log_density(sampler, trajectories, seen)
        if whole is None or not self.counts_stops or self.probability == 0:
            return whole
        mask = trajectories.mask
        n = mask.sum(-1) - 1
        steps = torch.arange(mask.shape[2], device=mask.device)
        without_stop = self.source.log_density(sampler, replace(trajectories, mask=mask & (steps < n[..., None])), seen)
        assert without_stop is not None
        low, high = self._lengths(sampler)
        possible = (steps >= low) & (steps <= high)
        passed = (possible & (steps < n[..., None]) & ~self._may_stop(sampler, trajectories)).sum(-1)
        later = (high - n.clamp(min=low - 1)).clamp(min=0)
        share = (passed + later).to(whole.dtype) / (high - low + 1)
        at = ((n >= low) & (n <= high)).to(whole.dtype) / (high - low + 1)
        p = self.probability
        return torch.logaddexp(whole + (1 - p + p * share).log(), without_stop + (p * at).log())

    def _lengths(self, sampler: Any) -> tuple[int, int]:
        most = sampler.target.horizon - 1
        return self.shortest, most if self.longest is None else min(self.longest, most)

    @staticmethod
    def _may_stop(sampler: Any, trajectories: Trajectories) -> Tensor:
        """Return whether each step could have been a stop: [R, B, T] bool."""
        if sampler.target.every_state_stops:
            return torch.ones_like(trajectories.mask)
        may: Tensor = sampler.target.forward_mask(trajectories.states[:, :, :-1])[..., -1]
        return may

    def statistics(self) -> dict[str, Tensor]:
        """Return the statistics of the source, each [R]."""
        return self.source.statistics()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the source."""
        return self.source.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.source.load_state_dict(state)


def _stopped(drawn: Trajectories, length: Tensor, cut: Tensor, stop: int) -> Trajectories:
    """Return the trajectories, those of cut [R, B] with a stop after length [R, B] moves."""
    steps = torch.arange(drawn.mask.shape[2], device=length.device)
    after, at = steps > length[..., None], steps == length[..., None]
    index = torch.arange(len(steps) + 1, device=length.device).minimum(length[..., None])
    axes = drawn.states.shape[3:]
    last = drawn.states.gather(2, index.view(*index.shape, *[1] * len(axes)).expand(*index.shape, *axes))
    chosen = cut[..., None]
    return replace(
        drawn,
        states=torch.where(cut.view(*cut.shape, 1, *[1] * len(axes)), last, drawn.states),
        actions=drawn.actions.masked_fill(chosen & after, 0).masked_fill(chosen & at, stop),
        mask=drawn.mask & ~(chosen & after),
    )


def _rewards(sampler: Any, drawn: Trajectories, cut: Tensor) -> Tensor:
    """Return log R of the objects, asked for again where trajectories were cut: [R, B]."""
    most = int(cut.sum(1).max()) if cut.device.type == "cpu" else cut.shape[1]
    if most == 0:
        return drawn.log_reward
    first = cut.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    objects = drawn.select(first).terminal_states()
    again = sampler.log_reward(objects).where(cut.gather(1, first), drawn.log_reward.gather(1, first))
    return drawn.log_reward.scatter(1, first, again)
