"""Numbers beside a figure: where each group of runs ended, the area under its curve, and which group beats which.

A group is what final_values compares: an arm, or an arm with one value of what else its runs differ in, over all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from gfn_vi.analysis.reading.curves import Curve, curves
from gfn_vi.analysis.statistics.estimates import area_under_curve, interval, probability_of_improvement
from gfn_vi.analysis.statistics.final_values import STATISTICS, group_labels, measures, telling_keys
from gfn_vi.core.headline import Headline

DIGITS = "%.4g"


def grouped_curves(table: pd.DataFrame, measure: Headline) -> dict[str, Curve]:
    """Return group -> curve of the measure over its finished runs, the worst value in place of what is not finite."""
    replica = ["run", "replica"]  # and not the run alone: rates may differ between its replicas
    found = table[(table["state"] == "done") & (table["metric"] == measure.metric)].drop_duplicates(replica)
    labels = pd.Series(group_labels(found[["arm", *telling_keys(table)]]).to_numpy(), pd.MultiIndex.from_frame(found[replica]))
    rows = table.assign(group=labels.reindex(pd.MultiIndex.from_frame(table[replica])).to_numpy())
    return curves(rows[rows["group"].notna()], measure.metric, by="group", worst=measure.worst)


def summary(found: Mapping[str, Curve]) -> pd.DataFrame:
    """One row per group and measure (final, area: mean height over training), with mean, median and interquartile mean.

    Each statistic has the bounds of its 95% bootstrap interval beside it; NaN for a single replica.
    """
    rows: list[dict[str, Any]] = []
    for group, curve in found.items():
        measured = {"final": curve.final}
        if len(curve.x) > 1:  # one evaluation has no area
            measured["area"] = area_under_curve(curve.x, curve.values)
        for measure, values in measured.items():
            row: dict[str, Any] = {"group": group, "measure": measure, "replicas": len(values), "failed": curve.n_failed}
            for statistic in STATISTICS:
                low, estimate, high = map(float, interval(values, statistic))
                row |= {statistic: estimate, f"{statistic}_low": low, f"{statistic}_high": high}
            rows.append(row | {"trajectories": int(curve.x[-1])})
    return pd.DataFrame(rows)


def improvements(found: Mapping[str, Curve], lower_is_better: bool) -> pd.DataFrame:
    """One row per ordered pair: the probability that a replica of `group` ends better than one of `than`, with its interval."""
    rows = []
    for a, b in combinations(found, 2):  # of the same draws the other way round is the complement
        low, estimate, high = map(float, probability_of_improvement(found[a].final, found[b].final, lower_is_better))
        rows += [(a, b, estimate, low, high), (b, a, 1 - estimate, 1 - high, 1 - low)]
    place = {name: position for position, name in enumerate(found)}
    rows.sort(key=lambda row: (place[row[0]], place[row[1]]))
    return pd.DataFrame(rows, columns=["group", "than", "probability", "low", "high"])


def write_summary(table: pd.DataFrame, folder: Path, headlines: Sequence[Headline]) -> list[Path]:
    """Write summary.csv and improvement.csv of the measures that finished runs have recorded to `folder`; return their paths."""
    present = set(table.loc[table["state"] == "done", "metric"])
    found = {measure: grouped_curves(table, measure) for measure in measures(headlines) if measure.metric in present}
    if not found:
        return []
    tables = {
        "summary.csv": [summary(groups).assign(metric=measure.metric) for measure, groups in found.items()],
        "improvement.csv": [
            improvements(groups, measure.direction == "minimize").assign(metric=measure.metric)
            for measure, groups in found.items()
        ],
    }
    for name, parts in tables.items():
        whole = pd.concat(parts)
        whole.insert(0, "metric", whole.pop("metric"))
        whole.to_csv(folder / name, index=False, float_format=DIGITS)
    return [folder / name for name in tables]
