"""Times for training that are not those of evaluation: fewer steps are cheaper, and random times teach the drift all of them.

The parameters are those of a process in time and fit any grid (Berner et al., "From discrete-time policies to continuous-time
diffusion samplers", 2025). Random times depend on the clock of training and on nothing else: every seed has the same, and a run
that was stopped goes on with those it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.samplers.continuous.processes import Process

GRIDS = ("uniform", "random")
# The part of every interval that is that of the uniform grid: without it some steps would be so short that their noise drowns in
# the rounding of the state.
REGULAR = 0.1


class TrainingGrid:
    """The times of each batch, between the same ends as those of evaluation."""

    def __init__(self, kind: str | None, n_steps: int, process: Process, evaluated: Sequence[float]) -> None:
        """kind: "uniform", or "random" with interior times that are sorted uniform numbers; n_steps: T in training.

        evaluated: times of evaluation.
        """
        if kind is None:
            raise ConfigError("sampler.training_grid", None, f"sampler.training_steps needs one of {', '.join(GRIDS)}")
        require(kind in GRIDS, "sampler.training_grid", kind, f"expected one of {', '.join(GRIDS)}, or null")
        has_start = process.start_std is not None
        least = 1 + has_start
        enough = is_whole(n_steps) and n_steps >= least
        require(enough, "sampler.training_steps", n_steps, f"expected a whole number >= {least}, or null")
        self.kind, self.n_steps, self.n_intervals = kind, n_steps, n_steps - has_start
        self.start, self.end = evaluated[0], evaluated[-1]

    def times(self, seen: int) -> list[float]:
        """Return the times of the batch after `seen` trajectories per replica."""
        n = self.n_intervals
        shares = [1 / n] * n
        if self.kind == "random":
            rng = ReplicaGenerators(seen, 1, "training_grid", "cpu", torch.float64)
            inner = rng.uniform(n - 1)[0].sort().values.tolist()
            spacings = [b - a for a, b in zip([0.0, *inner], [*inner, 1.0], strict=True)]
            shares = [REGULAR / n + (1 - REGULAR) * spacing for spacing in spacings]
        passed = [0.0, *accumulate(shares[:-1])]
        return [*(self.start + (self.end - self.start) * share for share in passed), self.end]
