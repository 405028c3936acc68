"""Which metric a run is judged by, as the run itself says."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.headline import Headline, headline_from
from gfn_vi.runs.directory import RunDirectory


def headline_of(status: Mapping[str, Any] | None) -> Headline | None:
    """The headline that status.json tells; None for a run that has none, or whose status is missing or damaged."""
    entry = (status or {}).get("headline")
    try:
        return None if entry is None else headline_from(entry, "headline")
    except ConfigError:
        return None


def headline_value(path: Path) -> float | None:
    """Return the mean over replicas of a run's last recorded headline metric; None where the run has none.

    The headline's worst value stands for a run with a replica that was frozen or whose number is not finite.
    """
    headline = headline_of(RunDirectory(path).status())
    if headline is None:
        return None
    last: dict[str, dict[str, float]] = {headline.metric: {}, "frozen": {}}
    with open(path / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"] in last:
                last[row["metric"]][row["replica"]] = float(row["value"])
    values = list(last[headline.metric].values())
    if not values:
        return None
    mean = sum(values) / len(values)
    return headline.worst if any(last["frozen"].values()) or not math.isfinite(mean) else mean
