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
    values: dict[str, float] = {}
    is_frozen = False
    try:
        with open(path / METRICS, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["metric"] == judged_by.metric:
                    values[row["replica"]] = float(row["value"])
                elif row["metric"] == "frozen":
                    is_frozen = is_frozen or float(row["value"]) != 0
    except FileNotFoundError:
        return None
    if not values:
        return None
    mean = sum(values.values()) / len(values)
    return judged_by.worst if is_frozen or not math.isfinite(mean) else mean
