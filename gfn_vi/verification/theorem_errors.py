"""Relative errors of the theorems (gfn_vi/verification/__init__.py) as metrics of a run: what rounding leaves of equations."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.verification.junctions import junction_choices
from gfn_vi.verification.table import by_dynamic_programming
from gfn_vi.verification.windows import n_layers


class TheoremErrors(BaseMetric):
    """The metrics theorem_1 .. theorem_6, by dynamic programming at the current parameters; the run itself is not changed."""

    kind = "exact"

    def __init__(self, n_updates: int) -> None:
        """n_updates: SGD updates of theorem 4, on copies of the sampler."""
        require(n_updates >= 1, "evaluation.metrics.theorems.n_updates", n_updates, "expected a whole number >= 1")
        self.n_updates = n_updates

    def records(self, target: object, exact: bool, sampled: bool) -> list[str]:
        """Return the names of all theorems; one that has nothing to compare is left out."""
        return [f"theorem_{number}" for number in range(1, 7)]

    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the relative error of each theorem: name -> [R] float64; of theorems with several cases the largest."""
        found: dict[str, Tensor] = {}
        with torch.enable_grad():
            junctions = junction_choices(n_layers(moment.state_graph), None, 0)
            for check in by_dynamic_programming(moment.sampler, moment.state_graph, moment.rng, self.n_updates, junctions):
                if check.is_empty:
                    continue
                name, error = f"theorem_{check.theorem}", check.error
                if moment.line:
                    error = error.where(moment.line.resolved, torch.nan)
                found[name] = torch.maximum(found[name], error) if name in found else error
        return found
