"""What a search compares: the last value of each run's headline, or of a metric that hydra.sweeper.metric names.

A study minimizes; of a metric to be maximized it is told the negative, so that its storage needs no direction before a run
has said what it is judged by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from omegaconf import OmegaConf

from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.core.headline import Direction, Headline
from gfn_vi.runs.last_values import headline_value
from gfn_vi.runs.state import look

METRIC = "hydra.sweeper.metric"
DIRECTION = "hydra.sweeper.direction"


class Judge:
    """A reader of how good a run is. metric and direction: those of hydra.sweeper, None for what the run says."""

    def __init__(self, metric: str | None, direction: str | None) -> None:
        self.metric, self.direction = metric, direction
        self._declared: Headline | None = None  # of the named metric, where a metric of the runs declares it

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a named metric that the runs would not record, one of which nobody says what is better, and a wrong direction.

        config: of one run, resolved. Where that run cannot be built, it refuses nothing: its trial says why. Raises ConfigError.
        """
        expected = f"expected one of {', '.join(get_args(Direction))}, or null for that of the run's headline"
        require(self.direction in (None, *get_args(Direction)), DIRECTION, self.direction, expected)
        if self.metric is None and self.direction is None:
            return
        from gfn_vi.build import find_recorded

        try:
            declared = find_recorded(OmegaConf.create(dict(config)), self.metric, METRIC)
        except Exception as error:  # of a user's own class it may be any
            if isinstance(error, ConfigError) and error.key == METRIC:
                raise
            return
        if self.metric is not None:
            self._declared = declared
            self._named(declared)
        elif declared is not None:
            self._directed(declared)

    def declared_sign(self) -> int | None:
        """Return 1 where less of the named metric is better, -1 where more is; None where only the run says it."""
        if self._declared is not None:
            return self._declared.sign
        return None if self.direction is None else 1 if self.direction == "minimize" else -1

    def headline(self, run: Path) -> Headline:
        """Return what the run is judged by.

        Raises ConfigError for a named metric without a direction and for a direction against the headline's, RunError for a run
        that has no headline.
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
        require(declared is not None or self.direction is not None, DIRECTION, "null", why)
        if declared is not None:
            return self._directed(declared)
        worst = -math.inf if self.direction == "maximize" else math.inf
        return Headline(str(self.metric), self.direction, worst, str(self.metric))  # type: ignore[arg-type]

    def _directed(self, headline: Headline) -> Headline:
        """Return the headline as it is. Raises ConfigError where hydra.sweeper says the opposite direction."""
        why = f"a {headline.better_is} {headline.metric} is better: leave this key out, or name another {METRIC}"
        require(self.direction in (None, headline.direction), DIRECTION, self.direction, why)
        return headline

    def loss(self, run: Path) -> float:
        """Return the study's loss: less is better, infinite where a replica froze or became non-finite. Raises RunError."""
        headline = self.headline(run)
        value = headline_value(run, replace(headline, worst=math.inf * headline.sign))
        if value is None:
            raise RunError(f"{run} has not recorded {headline.metric}: choose another hydra.sweeper.metric or evaluation")
        return headline.sign * value
