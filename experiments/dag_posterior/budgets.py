"""Settings compared at equal updates, which is where curves end, and at equal reward evaluations.

An update that replays remembered trajectories evaluates the reward for the fresh ones only, so that equal updates are not equal
evaluations. Within a budget of evaluations every replica stands at the last evaluation of its metrics that the budget pays for:
nothing is interpolated, so that a setting may stand below the budget by what it spends between two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.curves import Curve, curves
from gfn_vi.runs.folders import TableError


class Standing(NamedTuple):
    """Replicas of one setting at one point of their training, by seed; each [R]."""

    seeds: np.ndarray
    values: np.ndarray
    reward_calls: np.ndarray
    trajectories: np.ndarray

    @property
    def is_trained(self) -> bool:
        """False where a replica has not been evaluated after its first update and before the budget was spent."""
        return bool((self.trajectories > 0).all())


@dataclass(frozen=True)
class Spending:
    """A curve over trajectories, and the reward evaluations [R, N] of each replica at its points."""

    curve: Curve
    reward_calls: np.ndarray

    @property
    def total(self) -> float:
        """The fewest reward evaluations that a replica has made in all."""
        return float(self.reward_calls[:, -1].min())

    def at_end(self) -> Standing:
        """After all updates."""
        return self._at(np.full(len(self.reward_calls), self.reward_calls.shape[1] - 1))

    def within(self, budget: float) -> Standing:
        """At the last evaluation by which no more than `budget` reward evaluations had been made; TableError without one."""
        paid_for = (self.reward_calls <= budget).sum(1)
        if not paid_for.all():
            raise TableError(f"a replica was first evaluated after more than {budget:g} reward evaluations")
        return self._at(paid_for - 1)

    def _at(self, points: np.ndarray) -> Standing:
        rows = np.arange(len(points))
        seeds = np.array(self.curve.seeds)
        return Standing(seeds, self.curve.values[rows, points], self.reward_calls[rows, points], self.curve.x[points])


def spending(table: pd.DataFrame, metric: str, by: Sequence[str], worst: float) -> dict[Any, Spending]:
    """Label -> spending of its finished runs, as `curves` has them; a label whose runs lack the metric is left out."""
    recorded = table[table["run"].isin(set(table.loc[table["metric"] == metric, "run"]))]
    calls = curves(recorded.assign(value=recorded["reward_calls"].astype(float)), metric, by)
    return {label: Spending(curve, calls[label].values) for label, curve in curves(recorded, metric, by, worst=worst).items()}


def smallest_totals(found: Mapping[tuple[str, int], Spending]) -> dict[int, float]:
    """Return size -> the reward evaluations that every arm of that size has made; `found` is keyed by (arm, size)."""
    return {size: min(s.total for (_, of), s in found.items() if of == size) for size in sorted({size for _, size in found})}
