"""The number that a run is judged by, read from its directory."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from gfn_vi.core.headline import Headline
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import METRICS
from gfn_vi.runs.headline import headline_of


def headline_value(path: Path, headline: Headline | None = None) -> float | None:
    """Return the mean over replicas of the last recorded headline metric; None where there is none.

    headline: what to judge by, by default what the run itself says. Where a replica was frozen, or the mean is not finite, the
    headline's `worst` is returned.
    """
    judged_by = headline or headline_of(RunDirectory(path).status())
    if judged_by is None:
        return None
    values = last_values(path, judged_by.metric)
    if not values:
        return None
    mean = sum(values.values()) / len(values)
    return mean if math.isfinite(mean) else judged_by.worst


def last_values(path: Path, metric: str) -> dict[int, float]:
    """Return replica -> last recorded value of the metric, NaN for a replica that was frozen; {} where nothing is recorded."""
    values: dict[int, float] = {}
    frozen: set[int] = set()
    try:
        with open(path / METRICS, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["metric"] == metric:
                    values[int(row["replica"])] = float(row["value"])
                elif row["metric"] == "frozen" and float(row["value"]) != 0:
                    frozen.add(int(row["replica"]))
    except FileNotFoundError:
        return {}
    return {replica: math.nan if replica in frozen else value for replica, value in values.items()}
