"""A report's table of what was estimated from samples: for a target too large to list, all that there is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from gfn_vi.analysis.statistics.final_values import Section, final_values

ERROR = "_se"  # what the standard error of a metric is called, after the metric's name


def sampled_sections(table: pd.DataFrame) -> list[Section]:
    """One table of the metrics that finished runs recorded with a standard error, by group; none without such metrics."""
    recorded = set(table.loc[table["state"] == "done", "metric"].astype(str))
    metrics = sorted(name for name in recorded if f"{name}{ERROR}" in recorded)
    if not metrics:
        return []
    values = {name: (final_values(table, name, math.nan), final_values(table, f"{name}{ERROR}", math.nan)) for name in metrics}
    groups = sorted({group for found, _ in values.values() for group in found})
    rows = [[group, *(_cell(*(of.get(group) for of in values[name])) for name in metrics)] for group in groups]
    text = (
        "Median over replicas of the last value, +- the median of its standard error over samples (the spread over replicas "
        "is not in it); replicas that became non-finite are left out."
    )
    return [Section("Sampled metrics", text, ["", *metrics], rows, narrow=True)]


def _cell(values: np.ndarray | None, errors: np.ndarray | None) -> str:
    if values is None or errors is None or not (is_sound := np.isfinite(values)).any():
        return ""
    return f"{np.median(values[is_sound]):.3g} +- {np.median(errors[is_sound]):.1g}"
