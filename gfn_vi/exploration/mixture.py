"""A batch divided among explorations in fixed shares. The recorded density is the mixture's, not the drawn component's.

With n_k of B trajectories from component k, log pi(tau) = log sum_k (n_k / B) pi_k(tau): the balance heuristic, unbiased
for any deterministic division (Veach & Guibas 1995). The trajectories of a batch are then not identically distributed, so
control variates made of the others (leave_one_out, optimal) are biased by O(1 / B); those of earlier batches are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Exploration, Sampler
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Trajectories, concatenate
from gfn_vi.exploration.base import BaseExploration


def shares(weights: Sequence[float], batch: int) -> list[int]:
    """Return whole numbers with sum `batch`, as proportional to the weights as can be (largest remainders)."""
    total = sum(weights)
    exact = [batch * w / total for w in weights]
    counts = [int(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda k: counts[k] - exact[k])
    for k in by_remainder[: batch - sum(counts)]:
        counts[k] += 1
    return counts


class Mixture(BaseExploration):
    """A mixture of explorations with fixed weights; it has a density if every component has one."""

    def __init__(self, components: Sequence[Exploration], weights: Sequence[float]) -> None:
        """weights: positive, one per component; they need not sum to 1."""
        self.components, self.weights = list(components), [float(w) for w in weights]
        require(len(self.components) > 0, "exploration.components", "[]", "expected at least one exploration")
        require(
            len(self.weights) == len(self.components) and all(w > 0 for w in self.weights),
            "exploration.weights",
            list(weights),
            f"expected {len(self.components)} positive numbers, one per component",
        )
        self._flatten()
        self.has_density = all(c.has_density for c in self.components)
        # a component of a user's own may say nothing of these
        self.tilts = frozenset[str]().union(*(getattr(c, "tilts", ()) for c in self.components))
        self.replays_trajectories = any(getattr(c, "replays_trajectories", False) for c in self.components)
        self.needs_score = any(getattr(c, "needs_score", False) for c in self.components)
        self.needs_moves = max(getattr(c, "needs_moves", 0) for c in self.components)

    def _flatten(self) -> None:
        """Make one mixture of a mixture of mixtures; divided twice, its shares would depend on the order of rounding."""
        flat: list[tuple[Exploration, float]] = []
        for component, weight in zip(self.components, self.weights, strict=True):
            inner = [(component, 1.0)]
            if isinstance(component, Mixture):
                inner = list(zip(component.components, component.weights, strict=True))
            total = sum(w for _, w in inner)
            flat += [(c, weight * w / total) for c, w in inner]
        self.components, self.weights = [c for c, _ in flat], [w for _, w in flat]

    def counts(self, batch: int) -> list[int]:
        """Return how many trajectories of a batch each component draws."""
        return shares(self.weights, batch)

    def collect(self, sampler: Sampler, batch: int, rng: ReplicaGenerators, seen: int) -> Trajectories:
        """Return `batch` trajectories per replica, of which each component draws its share: [R, batch]."""
        counts = self.counts(batch)
        parts = [component.collect(sampler, n, rng, seen) for component, n in zip(self.components, counts, strict=True) if n > 0]
        together = concatenate(parts)
        density = self.log_density(sampler, together, seen) if self.has_density else None
        return replace(together, log_behavior=density)

    def log_density(self, sampler: Sampler, trajectories: Trajectories, seen: int) -> Tensor | None:
        """Return the log of the weighted sum of the components' densities: [R, B]; None where one of them is unknown."""
        batch, terms = trajectories.batch, []
        for component, n in zip(self.components, self.counts(batch), strict=True):
            if n == 0:
                continue
            density = component.log_density(sampler, trajectories, seen)
            if density is None:
                return None
            terms.append(density + math.log(n / batch))
        return torch.logsumexp(torch.stack(terms), 0)

    def statistics(self) -> dict[str, Tensor]:
        """Return the statistics of all components, each [R]."""
        return {k: v for component in self.components for k, v in component.statistics().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all components."""
        return {"components": [c.state_dict() for c in self.components]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        for component, saved in zip(self.components, state["components"], strict=True):
            component.load_state_dict(saved)
