"""What a run has recorded so far, one record for each update at which something was: what mirrors of metrics.csv show."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from gfn_vi.runs.files import METRICS


class Record(NamedTuple):
    """All numbers that were recorded after `step` updates: metric -> one value per replica."""

    step: int
    trajectories: int
    metrics: dict[str, list[float]]


def recorded(directory: Path) -> list[Record]:
    """Return the records of a run in order; [] without any. Training statistics and measurements of one step are one record."""
    found: list[Record] = []
    try:
        with open(directory / METRICS, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                step = int(row["step"])
                if not found or found[-1].step != step:
                    found.append(Record(step, int(row["trajectories"]), {}))
                found[-1].metrics.setdefault(row["metric"], []).append(float(row["value"]))  # replicas are in order
    except FileNotFoundError:
        return []
    return found
