"""What a search compares: the last value of each run's headline, or of a metric that hydra.sweeper.metric names.

A study minimizes; of a metric to be maximized it is told the negative, so that its storage needs no direction before a run
has said what it is judged by.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from gfn_vi.core.errors import RunError, require
from gfn_vi.core.headline import Headline
from gfn_vi.runs.last_values import headline_value
from gfn_vi.runs.state import look

DIRECTIONS = {"minimize": 1, "maximize": -1}


class Judge:
    """A reader of how good a run is. metric and direction: those of hydra.sweeper, None for what the run says."""

    def __init__(self, metric: str | None, direction: str | None) -> None:
        """Raises ConfigError for a direction that is none."""
        expected = f"expected one of {', '.join(DIRECTIONS)}, or null for that of the run's headline"
        require(direction is None or direction in DIRECTIONS, "hydra.sweeper.direction", direction, expected)
        self.metric, self.direction = metric, direction

    def headline(self, run: Path) -> Headline:
        """Return what the run is judged by.

        Raises ConfigError for a named metric without a direction, RunError for a run that has no headline.
        """
        own = look(run).headline
        if self.metric is not None and (own is None or own.metric != self.metric):
            why = f"{self.metric} is not the headline of the runs: say whether to minimize or maximize it"
            require(self.direction is not None, "hydra.sweeper.direction", self.direction, why)
            assert self.direction is not None
            worst = math.inf * DIRECTIONS[self.direction]
            return Headline(self.metric, self.direction, worst, self.metric)  # type: ignore[arg-type]
        if own is None:
            raise RunError(f"{run} names no headline to search by: set hydra.sweeper.metric and hydra.sweeper.direction")
        if self.direction in (None, own.direction):
            return own
        assert self.direction is not None
        worst = math.inf * DIRECTIONS[self.direction]
        return replace(own, direction=self.direction, worst=worst)  # type: ignore[arg-type]

    def loss(self, run: Path) -> float:
        """Return the study's loss: less is better, infinite where a replica froze or became non-finite. Raises RunError."""
        headline = self.headline(run)
        value = headline_value(run, replace(headline, worst=math.inf * headline.sign))
        if value is None:
            raise RunError(f"{run} has not recorded {headline.metric}: choose another hydra.sweeper.metric or evaluation")
        return headline.sign * value
