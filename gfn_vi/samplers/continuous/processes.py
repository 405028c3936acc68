"""Reference processes in time, and what a grid of times makes of them.

A step is x_{k+1} ~ N(a_k x_k + g_k f(x_k, t_k), q_k^2 I) with f the learned drift. The bridge process is a Brownian motion from
the source: a = 1, g = h (the step in time), q^2 = sigma^2 h. The variance-preserving process starts from N(0, s^2 I) and keeps
it: b = 1 - exp(-sigma^2 h), a^2 = 1 - b, q^2 = s^2 b, and g = q^2, so that f stands for a difference of scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.seeds import is_whole

PROCESSES = ("bridge", "variance_preserving")
NOISES = ("constant", "linear", "geometric")


@dataclass(frozen=True)
class Discretization:
    """shrinkage a, noise q, gain g, moves (0 for a start that is not learned, else 1) [T]; times of states in [0, 1] [T + 1]."""

    shrinkage: list[float]
    noise: list[float]
    gain: list[float]
    moves: list[float]
    times: list[float]


@dataclass(frozen=True)
class Process:
    """A process before a grid is chosen; see configs/sampler/diffusion.yaml for the keys."""

    kind: str
    start_std: float | None
    end_time: float
    noise: str
    sigma: float
    sigma_end: float | None

    def __post_init__(self) -> None:
        require(self.kind in PROCESSES, "sampler.process", self.kind, f"expected one of {', '.join(PROCESSES)}")
        require(self.noise in NOISES, "sampler.noise", self.noise, f"expected one of {', '.join(NOISES)}")
        positive = "expected a finite positive number"
        require(0 < self.sigma < math.inf, "sampler.sigma", self.sigma, positive)
        require(0 < self.end_time < math.inf, "sampler.end_time", self.end_time, positive)
        if self.noise != "constant" and (self.sigma_end is None or not 0 < self.sigma_end < math.inf):
            raise ConfigError("sampler.sigma_end", self.sigma_end, f"{positive} for sampler.noise={self.noise}")
        if self.kind == "variance_preserving" and self.start_std is None:
            raise ConfigError("sampler.start_std", None, "expected the standard deviation that the process preserves")
        has_start = self.start_std is None or 0 < self.start_std < math.inf
        require(has_start, "sampler.start_std", self.start_std, f"{positive}, or null")

    def on_grid(self, n_steps: int, grid: str | Sequence[float]) -> Discretization:
        """Return the steps; raise ConfigError for a grid that is not increasing or not of n_steps, a start included."""
        times = self.times(n_steps, grid)
        n_intervals = len(times) - 1
        progress = [(time - times[0]) / (times[-1] - times[0]) for time in times]
        steps = [b - a for a, b in pairwise(times)]
        levels = [self._sigma(passed) for passed in progress[:-1]]
        if self.kind == "bridge":
            shrinkage, gain = [1.0] * n_intervals, steps
            stds = [level * math.sqrt(h) for level, h in zip(levels, steps, strict=True)]
        else:
            assert self.start_std is not None
            rates = [-math.expm1(-(level**2) * h) for level, h in zip(levels, steps, strict=True)]
            shrinkage = [math.sqrt(1 - b) for b in rates]
            stds = [self.start_std * math.sqrt(b) for b in rates]
            gain = [std**2 for std in stds]
        moves = [1.0] * n_intervals
        if self.start_std is None:
            return Discretization(shrinkage, stds, gain, moves, progress)
        return Discretization([1.0, *shrinkage], [self.start_std, *stds], [0.0, *gain], [0.0, *moves], [0.0, *progress])

    def times(self, n_steps: int, grid: str | Sequence[float]) -> list[float]:
        """Return the times between which the process moves, one less where n_steps has a start; errors are those of on_grid."""
        n_intervals = n_steps - (self.start_std is not None)
        enough = is_whole(n_steps) and n_intervals >= 1
        require(enough, "sampler.n_steps", n_steps, "expected a whole number >= 1, or >= 2 with sampler.start_std")
        if isinstance(grid, str):
            require(grid == "uniform", "sampler.grid", grid, "expected uniform, or a list of increasing times")
            return [self.end_time * i / n_intervals for i in range(n_intervals + 1)]
        times = [float(time) for time in grid]
        start = "" if self.start_std is None else ", whose first step, from sampler.start_std, takes no time"
        advice = f"expected {n_intervals + 1} for sampler.n_steps={n_steps}{start}"
        require(len(times) == n_intervals + 1, "sampler.grid", f"{len(times)} times", advice)
        rising = all(math.isfinite(time) for time in times) and all(a < b for a, b in pairwise(times))
        require(rising, "sampler.grid", times, "expected increasing times")
        return times

    def _sigma(self, passed: float) -> float:
        """Return sigma when the share `passed` of the time has passed."""
        if self.sigma_end is None or self.noise == "constant":
            return self.sigma
        if self.noise == "linear":
            return self.sigma + (self.sigma_end - self.sigma) * passed
        return float(self.sigma ** (1 - passed) * self.sigma_end**passed)
