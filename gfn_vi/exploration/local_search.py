"""Local search: objects that were found are moved along the gradient of log R, and what comes of it is learned from.

Now and then chains of the Metropolis-adjusted Langevin algorithm (mala.py) start from remembered objects; the points that they
move to after the burn-in are remembered, too. Batches get them with new trajectories drawn by P_B, as in Sendera et al.,
"Improved off-policy training of diffusion samplers" (NeurIPS 2024). The sampler counts every reward and score asked for.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensitySampler, Exploration, Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.mala import Points, mala_step
from gfn_vi.exploration.replay import BackwardRollout

# The share of accepted proposals at which such chains mix fastest in many dimensions (Roberts & Rosenthal 1998), and how far, in
# nats per step, the step size moves towards it during the burn-in. A hundred steps can change it by a factor of 5,000.
BEST_ACCEPTANCE, ADAPTATION = 0.574, 0.2


class LocalSearch(BackwardRollout):
    """Backward rollouts to remembered objects, some of which come from chains that climb and explore around others."""

    needs_score = True

    def __init__(
        self,
        source: Exploration,
        fraction: float,
        capacity: int,
        priority: str,
        exponent: float,
        rank_weight: float,
        every: float,
        n_chains: int,
        n_steps: int,
        burn_in: int,
        step_size: float,
    ) -> None:
        """source, ..., rank_weight: see BackwardRollout; every: trajectories per replica between searches.

        n_chains: chains per search and replica; n_steps: of each, of which burn_in only move and adapt the step size.
        """
        super().__init__(source, fraction, capacity, priority, exponent, rank_weight)
        for key, found in (("n_chains", n_chains), ("n_steps", n_steps)):
            require(is_whole(found) and found >= 1, f"exploration.{key}", found, "expected a whole number >= 1")
        shorter = is_whole(burn_in) and 0 <= burn_in < n_steps
        require(shorter, "exploration.burn_in", burn_in, f"expected a whole number >= 0 and below n_steps={n_steps}")
        require(every >= 1, "exploration.every", every, "expected a number of trajectories >= 1")
        require(0 < step_size < math.inf, "exploration.step_size", step_size, "expected a finite positive number")
        self.every, self.n_chains, self.n_steps, self.burn_in = every, n_chains, n_steps, burn_in
        self.step_size = step_size
        self.passed = 0.0  # multiples of `every` on the clock at the last search
        # of each replica, once it has searched: [R] float64
        self.log_step: Tensor | None = None
        self.acceptance: Tensor | None = None

    def remember(self, sampler: Sampler, fresh: Trajectories, rng: ReplicaGenerators, seen: int) -> None:
        """Store the objects that the trajectories end in, and search from what is in memory when the clock says so."""
        super().remember(sampler, fresh, rng, seen)
        if seen // self.every > self.passed:
            self.passed = seen // self.every
            self.search(cast(DensitySampler, sampler), rng, seen)

    @torch.no_grad()
    def search(self, sampler: DensitySampler, rng: ReplicaGenerators, seen: int) -> None:
        """Run chains from remembered objects and remember the points that they move to after the burn-in."""

        def at(states: Tensor) -> Points:
            return Points(states, sampler.log_reward(states), sampler.score(states))

        objects, log_reward = self.memory.draw(self.n_chains, rng)
        points = Points(objects, log_reward, sampler.score(objects))
        log_step = objects.new_full((len(objects),), math.log(self.step_size), dtype=torch.float64)
        if self.log_step is not None:
            log_step = self.log_step.to(objects.device)  # of a checkpoint, it comes from anywhere
        n_moved = torch.zeros_like(log_step)
        for number in range(self.n_steps):
            step_size = log_step.exp().to(objects.dtype)
            noise, uniform = rng.normal(*objects.shape[1:]), rng.uniform(self.n_chains)
            points, moved = mala_step(points, step_size, noise, uniform, at)
            share = moved.double().mean(1)
            if number < self.burn_in:
                log_step = log_step + ADAPTATION * (share - BEST_ACCEPTANCE)
            else:
                n_moved += share
                self.memory.add(points.states, points.log_reward, seen, moved)
        self.log_step, self.acceptance = log_step, n_moved / (self.n_steps - self.burn_in)

    def statistics(self) -> dict[str, Tensor]:
        """Add search_acceptance, the share of proposals accepted after the last burn-in, and search_step_size: each [R]."""
        statistics = super().statistics()
        if self.log_step is not None and self.acceptance is not None:
            statistics |= {"search_acceptance": self.acceptance, "search_step_size": self.log_step.exp()}
        return statistics

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the memory, of the source, of the step sizes and of the clock."""
        own = {"passed": self.passed, "log_step": self.log_step, "acceptance": self.acceptance}
        return super().state_dict() | {"search": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        super().load_state_dict(state)
        own = state["search"]
        self.passed, self.log_step, self.acceptance = own["passed"], own["log_step"], own["acceptance"]
