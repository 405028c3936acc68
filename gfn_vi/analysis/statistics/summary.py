"""Where each group of runs ended, the area under its curve, and which group beats which: numbers beside a figure.

A group is an arm, or an arm with one value of what else its runs differ in, over all seeds (reading/groups.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.curves import Curve, curves, frozen_since
from gfn_vi.analysis.reading.groups import group_labels
from gfn_vi.analysis.reading.targets import by_target
from gfn_vi.analysis.statistics.estimates import Interval, area_under_curve, interval, probability_of_improvement, with_worst
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_run

MODES = Headline("modes_covered", "maximize", 0.0, "modes covered")  # beside the headline, where a run has recorded them
STATISTICS = {"median": "median", "iqm": "interquartile mean", "mean": "mean"}
WHOLE_RANGE = {"median": 5, "iqm": 4, "mean": 3}  # replicas of which the 95% interval is the range: no more than these
DIGITS = "%.4g"


def measures(headlines: Iterable[Headline]) -> list[Headline]:
    """Return what tables show: the headlines of the runs, then the modes that they cover."""
    return [*(headline for headline in headlines if headline.metric != MODES.metric), MODES]


def final_values(table: pd.DataFrame, metric: str, worst: float) -> dict[str, np.ndarray]:
    """Group -> the last recorded value of each of its replicas; `worst` for one that is not finite or has been frozen."""
    done = table.assign(group=group_labels(table))[table["state"] == "done"]  # groups are called as they are among all runs
    rows = done[done["metric"] == metric]
    if rows.empty:
        return {}
    last = rows[rows["step"] == rows.groupby("run", observed=True)["step"].transform("max")]
    values = with_worst(np.where(np.isfinite(frozen_since(done, last)), np.nan, last["value"]), worst)
    return {str(name): of_group.to_numpy() for name, of_group in pd.Series(values, last.index).groupby(last["group"])}


def grouped_curves(table: pd.DataFrame, measure: Headline) -> dict[str, Curve]:
    """Return group -> curve of the measure over its finished runs, the worst value in place of what is not finite."""
    done = table.assign(group=group_labels(table))[table["state"] == "done"]
    recorded = done[done["run"].isin(set(done.loc[done["metric"] == measure.metric, "run"]))]
    return curves(recorded, measure.metric, by="group", worst=measure.worst)


def areas(found: Mapping[str, Curve]) -> dict[str, np.ndarray]:
    """Return group -> the mean height of each replica's curve over training; a curve of one evaluation has no area."""
    return {group: area_under_curve(curve.x, curve.values) for group, curve in found.items() if len(curve.x) > 1}


def headline_area(path: Path, headline: Headline) -> float:
    """Return the mean of a metric over the training of the run at `path` and over its replicas: what a search compares.

    A replica counts as the headline's worst from the evaluation on at which it was frozen, and where it is not finite. Raises
    TableError for a run without a curve of the metric.
    """
    run = read_run(path)
    table = None if run.metrics is None else run.metrics.to_pandas()
    if table is None or table.loc[table["metric"] == headline.metric, "trajectories"].nunique() < 2:
        raise TableError(f"{path} has no curve of the {headline.words}: choose an evaluation that records {headline.metric}")
    table = table.assign(run=run.name, state="done", seed=table["replica"])
    (curve,) = curves(table, headline.metric, by="run", worst=headline.worst).values()
    return float(area_under_curve(curve.x, curve.values).mean())


def estimates(values: np.ndarray) -> dict[str, Interval]:
    """Return each of STATISTICS over the replicas of a group, with its 95% bootstrap interval; NaN bounds for a single one."""
    return {name: interval(values, name) for name in STATISTICS}


def interval_in_words(counts: Collection[int], statistic: str = "median") -> str:
    """Return what the intervals of groups of so many replicas are: the bootstrap's at 95%, or of few replicas their range.

    The range of n replicas holds the true median, and the center of any symmetric distribution, with probability 1 - 2 / 2^n.
    """
    most = WHOLE_RANGE[statistic]
    few = sorted(n for n in counts if 1 < n <= most)
    if not few:
        return "95% bootstrap interval"
    ends = dict.fromkeys((few[0], few[-1]))
    told = f"range, which holds the true {STATISTICS[statistic]} in {' to '.join(f'{1 - 2 / 2**n:.0%}' for n in ends)} of cases"
    told += "" if statistic == "median" else " if values scatter evenly to both sides"
    return told if max(counts) <= most else f"95% bootstrap interval (of {' to '.join(map(str, ends))} replicas their {told})"


def improvements(groups: Mapping[str, np.ndarray], lower_is_better: bool) -> dict[tuple[str, str], Interval]:
    """Return for each ordered pair of groups the probability that a replica of the first ends better than one of the second."""
    found: dict[tuple[str, str], Interval] = {}
    for a, b in combinations(groups, 2):
        found[a, b] = chance = probability_of_improvement(groups[a], groups[b], lower_is_better)
        found[b, a] = Interval(*(1 - bound for bound in reversed(chance)))  # the same draws, the other way round
    return {(a, b): found[a, b] for a in groups for b in groups if a != b}


def write_summary(table: pd.DataFrame, folder: Path, headlines: Sequence[Headline], blocks: Collection[str] = ()) -> list[Path]:
    """Write summary.csv and improvement.csv of the measures that finished runs have recorded to `folder`; return their paths.

    summary.csv: a row per group and measure (final, area: mean height over training). improvement.csv: a row per ordered pair of
    groups with one target. Where there are several targets a column says which. blocks: as in reading/targets.py.
    """
    targets = by_target(table[table["state"] == "done"], blocks)
    summary: list[dict[str, object]] = []
    improvement: list[dict[str, object]] = []
    for measure, (target, rows) in product(measures(headlines), targets.items()):
        if measure.metric not in set(rows["metric"]):
            continue
        found = grouped_curves(rows, measure)
        of_metric: dict[str, object] = {"metric": measure.metric, **({"target": target} if target else {})}
        finals = {group: curve.final for group, curve in found.items()}
        for group, curve in found.items():
            for name, values in {"final": finals, "area": areas(found)}.items():
                if group in values:
                    row = {"group": group, "measure": name, "replicas": len(values[group]), "failed": curve.n_failed}
                    for statistic, of_group in estimates(values[group]).items():
                        low, estimate, high = map(float, of_group)
                        row |= {statistic: estimate, f"{statistic}_low": low, f"{statistic}_high": high}
                    summary.append(of_metric | row | {"trajectories": int(curve.x[-1])})
        for (a, b), chance in improvements(finals, measure.direction == "minimize").items():
            low, estimate, high = map(float, chance)
            improvement.append(of_metric | {"group": a, "than": b, "probability": estimate, "low": low, "high": high})
    if not summary:
        return []
    pd.DataFrame(summary).to_csv(folder / "summary.csv", index=False, float_format=DIGITS)
    columns = ["metric", *(["target"] if len(targets) > 1 else []), "group", "than", "probability", "low", "high"]
    pd.DataFrame(improvement, columns=columns).to_csv(folder / "improvement.csv", index=False, float_format=DIGITS)
    return [folder / "summary.csv", folder / "improvement.csv"]
