"""What a search compares: the last value of each run's headline, or of a metric that hydra.sweeper.metric names.

A study minimizes; of a metric to be maximized it is told the negative, so that its storage needs no direction before a run
has said what it is judged by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.core.headline import Headline
from gfn_vi.runs.last_values import headline_value
from gfn_vi.runs.state import look

METRIC = "hydra.sweeper.metric"
DIRECTIONS = {"minimize": 1, "maximize": -1}


class Judge:
    """A reader of how good a run is. metric and direction: those of hydra.sweeper, None for what the run says."""

    def __init__(self, metric: str | None, direction: str | None) -> None:
        """Raises ConfigError for a direction that is none."""
        expected = f"expected one of {', '.join(DIRECTIONS)}, or null for that of the run's headline"
        require(direction is None or direction in DIRECTIONS, "hydra.sweeper.direction", direction, expected)
        self.metric, self.direction = metric, direction
        self._declared: Headline | None = None  # of the named metric, where a metric of the runs declares it

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a named metric that the runs would not record, and one of which nobody says what is better.

        config: of one run, resolved. Where that run cannot be built, nothing is refused: its trial says why. Raises ConfigError.
        """
        if self.metric is None:
            return
        from gfn_vi.build import find_recorded

        try:
            self._declared = find_recorded(OmegaConf.create(dict(config)), self.metric, METRIC)
        except Exception as error:  # of a user's own class it may be any
            if isinstance(error, ConfigError) and error.key == METRIC:
                raise
            return
        self._named(self._declared)

    def headline(self, run: Path) -> Headline:
        """Return what the run is judged by.

        Raises ConfigError for a named metric without a direction, RunError for a run that has no headline.
        """
        own = look(run).headline
        if self.metric is not None and (own is None or own.metric != self.metric):
            return self._named(self._declared)
        if own is None:
            raise RunError(f"{run} names no headline to search by: set hydra.sweeper.metric and hydra.sweeper.direction")
        return self._directed(own)

    def _named(self, declared: Headline | None) -> Headline:
        """Return the headline of the named metric, whose direction comes from hydra.sweeper or from who declares it."""
        why = f"{self.metric} is no headline of the runs: say whether to minimize or maximize it"
        require(declared is not None or self.direction is not None, "hydra.sweeper.direction", self.direction, why)
        return self._directed(declared or Headline(str(self.metric), "minimize", math.inf, str(self.metric)))

    def _directed(self, headline: Headline) -> Headline:
        if self.direction in (None, headline.direction):
            return headline
        worst = math.inf * DIRECTIONS[str(self.direction)]
        return replace(headline, direction=self.direction, worst=worst)  # type: ignore[arg-type]

    def loss(self, run: Path) -> float:
        """Return the study's loss: less is better, infinite where a replica froze or became non-finite. Raises RunError."""
        headline = self.headline(run)
        value = headline_value(run, replace(headline, worst=math.inf * headline.sign))
        if value is None:
            raise RunError(f"{run} has not recorded {headline.metric}: choose another hydra.sweeper.metric or evaluation")
        return headline.sign * value
