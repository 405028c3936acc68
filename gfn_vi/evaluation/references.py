"""Reference samples stand for exact ones where nobody can draw those: chains of a Markov chain Monte Carlo method, checked.

Whoever computes a number from them can only be as right as they are. So they are refused where chains disagree or are too short
(Vehtari et al. 2021, arXiv 1903.08008), how good they are is recorded beside the numbers, and errors of means account for how few
independent samples the chains are worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import ReplicaGenerators

KEY = "evaluation.references"
FACTS = ("reference_r_hat", "reference_ess", "reference_divergent")

Chains = Mapping[str, Tensor]
"""The samples [C, N, d] of C chains, their log_reward [C, N], divergent [C, N] bool; r_hat [d] and ess [d]. All on the CPU."""

Keep = Callable[[Callable[[], Chains], Callable[[Chains], bool]], Chains]
"""(draw, fits) -> chains that were kept before and fit, or those that draw() returns, which are kept from now on."""


def keep_nothing(draw: Callable[[], Chains], fits: Callable[[Chains], bool]) -> Chains:
    """Return chains that are drawn anew, for a program that has no folder to keep them in."""
    return draw()


class BaseChains(ABC):
    """A method that draws chains, and how good they have to be; each is one YAML in configs/reference.

    n_chains, n_samples: chains, and samples that each of them keeps; largest_r_hat, smallest_ess, largest_divergent: limits.
    """

    n_chains: int
    n_samples: int
    largest_r_hat: float
    smallest_ess: float
    largest_divergent: float

    @abstractmethod
    def draw(self, target: DensityTarget) -> Chains:
        """Draw all chains from a target on the CPU, with what their convergence is judged by."""


def recorded_facts(target: object) -> tuple[str, ...]:
    """Return what is recorded of references: nothing of a target whose samples are exact."""
    return () if getattr(target, "has_exact_samples", False) else FACTS


class References:
    """Samples of one target, drawn or read when they are first asked for, and refused where they are not good enough."""

    def __init__(self, method: BaseChains, target: DensityTarget, n_samples: int, keep: Keep) -> None:
        """n_samples: of a metric, per replica; a distance and its floor take twice as many. keep: where chains are kept."""
        on_cpu: Any = target.to("cpu")
        self.method, self.target, self.keep = method, on_cpu, keep
        self.size = method.n_chains * method.n_samples
        expected = (
            f"expected {-(-2 * n_samples // method.n_chains)} or more: metrics compare two different sets of "
            f"evaluation.n_samples={n_samples} of {method.n_chains} chains"
        )
        require(self.size >= 2 * n_samples, f"{KEY}.n_samples", method.n_samples, expected)
        self._samples: Tensor | None = None
        self._facts: dict[str, float] = {}

    def prepare(self) -> None:
        """Draw or read the chains, unless they are here. Raises ConfigError where they are not good enough."""
        if self._samples is None:
            found = self.keep(lambda: self.method.draw(self.target), self._fit)
            self._check(found)
            self._samples = found["samples"].flatten(0, 1)

    def sets(self, n_sets: int, n: int, rng: ReplicaGenerators) -> list[Tensor]:
        """Return n_sets sets of n samples per replica, all of them different ones, at random: [R, n, d] each."""
        self.prepare()
        assert self._samples is not None
        chosen = rng.uniform(self.size).argsort(-1)[:, : n_sets * n]
        samples = self._samples.to(rng.device, rng.dtype)[chosen]
        return list(samples.split(n, 1))

    def inflation(self, n: int) -> float:
        """Return by what the standard error of a mean over n of them exceeds that over n independent samples.

        Of a chain of N that are worth E independent ones, n are drawn without replacement: the variance of their mean is
        v / n (1 - n / N) + v / E.
        """
        self.prepare()
        worth = min(self._facts["reference_ess"], self.size)
        return (1 + n * (1 / worth - 1 / self.size)) ** 0.5

    def facts(self) -> dict[str, float]:
        """Return how good they are: the largest R-hat and the smallest effective sample size of a coordinate, and divergences."""
        self.prepare()
        return self._facts

    def _fit(self, found: Chains) -> bool:
        """Return whether chains are those of this target as it is now: a function of the user's may have changed."""
        log_reward = self.target.log_reward(found["samples"].flatten(0, 1)).detach()
        return torch.allclose(log_reward, found["log_reward"].flatten(), rtol=1e-6, atol=1e-6)

    def _check(self, found: Chains) -> None:
        r_hat, ess, method = found["r_hat"], found["ess"], self.method
        names = getattr(self.target, "coordinate_names", None) or [f"x_{i}" for i in range(len(r_hat))]
        worst, shortest = names[int(r_hat.argmax())], names[int(ess.argmin())]  # NaN, of a chain that stands still, is both
        self._facts = dict(
            zip(FACTS, (float(r_hat.max()), float(ess.min()), float(found["divergent"].double().mean())), strict=True)
        )
        largest, smallest, divergent = self._facts.values()
        longer = f"use more {KEY}.n_samples and {KEY}.n_warmup, or reference@{KEY}=null"
        alike = f"chains disagree, R-hat is {largest:.3g} of {worst} (at most {method.largest_r_hat:g})"
        require(largest <= method.largest_r_hat, KEY, type(method).__name__, f"{alike}; {longer}")
        few = f"{self.size} samples are worth {smallest:.0f} independent ones of {shortest} (at least {method.smallest_ess:g})"
        require(smallest >= method.smallest_ess, KEY, type(method).__name__, f"{few}; {longer}")
        failed = f"{divergent:.1%} of the steps diverged (at most {method.largest_divergent:.1%})"
        closer = f"{failed}; use {KEY}.acceptance=0.95, or reference@{KEY}=null"
        require(divergent <= method.largest_divergent, KEY, type(method).__name__, closer)
