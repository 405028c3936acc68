"""Tables of a report as text: where finished runs ended, how soon, who beats whom, what was estimated from samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.curves import REPLICA, frozen_since
from gfn_vi.analysis.reading.groups import group_labels
from gfn_vi.analysis.reading.targets import by_target
from gfn_vi.analysis.reading.weights import carried_at_the_end
from gfn_vi.analysis.statistics.estimates import Interval
from gfn_vi.analysis.statistics.summary import (
    STATISTICS,
    WHOLE_RANGE,
    areas,
    estimates,
    final_values,
    grouped_curves,
    improvements,
    interval_in_words,
    measures,
)
from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import LEGEND, with_error
from gfn_vi.runs.folders import TableError

ERROR = "_se"  # what the standard error of a metric is called, after the metric's name
MOST_GROUPS, MOST_COMPARED, MOST_TARGETS = 60, 16, 12
SPACE = "\N{NO-BREAK SPACE}"  # in an interval, so that a line breaks before it
# Extremes and counts of molecules, which have no standard error (docs/metrics.md).
OF_MOLECULES = ("top_k_value", "top_k_diversity", "modes_drawn", "modes_met", "unique_fraction")


@dataclass(frozen=True)
class Section:
    """A table with a sentence above it; the first cell of a row names it."""

    caption: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    narrow: bool = False  # many columns: cells may break


def sections(table: pd.DataFrame, judged_by: Sequence[Headline], blocks: Collection[str] = ()) -> list[Section]:
    """Return all tables of what the finished runs have recorded, target by target: nothing is compared between targets.

    blocks: keys of targets in which repetitions of one setting differ (reading/targets.py).
    """
    targets = by_target(table[table["state"] == "done"], blocks)
    found: list[Section] = []
    for name, rows in [*targets.items()][:MOST_TARGETS]:
        said = {part.text for part in found}  # not again for every target
        own = _of_target(rows, judged_by, name)
        found += [replace(part, text="") if part.rows and part.text in said else part for part in own]
    if len(targets) > MOST_TARGETS:
        more = f"The first {MOST_TARGETS} of {len(targets)} targets; the numbers of the others are in table.csv."
        found.append(Section("More targets", more))
    return found


def _of_target(rows: pd.DataFrame, judged_by: Sequence[Headline], name: str) -> list[Section]:
    """Return the tables of one target, whose name stands in their captions; it is "" where it is the only one."""
    found = [
        *final_sections(rows, judged_by),
        *sampled_sections(rows),
        *(section for headline in judged_by for section in area_sections(rows, headline)),
    ]
    if not name:
        return found
    return [
        replace(part, caption=f"{part.caption} ({name})", text=part.text if part.rows else f"{name}. {part.text}")
        for part in found
    ]


def final_sections(table: pd.DataFrame, headlines: Sequence[Headline]) -> list[Section]:
    """Return for each measure that finished runs recorded its final values by group, for a headline also who beats whom."""
    found = []
    for measure in measures(headlines):
        groups = final_values(table, measure.metric, measure.worst)
        if not groups:
            continue
        few = [len(values) for values in groups.values() if 1 < len(values) <= WHOLE_RANGE["median"]]
        told = f"; of few replicas that of the median is their {interval_in_words(few)}"
        text = (
            f"Over replicas of finished runs, with 95% bootstrap intervals (a single replica has none{told if few else ''}); "
            f"{measure.better_is} is better, the best median is first. "
            "A replica that became non-finite counts as the worst value."
        )
        weak = _weak_groups(table, measure.metric)
        found.append(_estimated(groups, measure, f"Final {measure.words}", text, weak))
        if measure in headlines and not weak and 1 < len(groups) <= MOST_COMPARED and min(map(len, groups.values())) > 1:
            found.append(_comparison(groups, measure))
    return found


def area_sections(table: pd.DataFrame, headline: Headline) -> list[Section]:
    """Return the headline over all of training, where finished runs can be put on one axis; else why they cannot."""
    caption = f"Area under the curve: mean over training of the {headline.words}"
    if table[(table["metric"] == headline.metric) & (table["state"] == "done")].empty:
        return []
    try:
        groups = areas(grouped_curves(table, headline))
    except (TableError, ValueError) as error:
        return [Section(caption, f"{caption}: not computed; {error}.")]
    text = f"How far, and how soon: {headline.better_is} is better."
    return [_estimated(groups, headline, caption, text, _weak_groups(table, headline.metric))]


def sampled_sections(table: pd.DataFrame) -> list[Section]:
    """One table of the metrics that finished runs recorded with a standard error, by group, and of what they count of molecules.

    None without such metrics. For a target too large to list this is all that there is.
    """
    recorded = set(table.loc[table["state"] == "done", "metric"].astype(str))
    counted = [name for name in OF_MOLECULES if name in recorded]
    metrics = [*sorted(name for name in recorded if f"{name}{ERROR}" in recorded), *counted]
    if not metrics:
        return []
    values = {name: (final_values(table, name, math.nan), final_values(table, f"{name}{ERROR}", math.nan)) for name in metrics}
    groups = sorted({group for found, _ in values.values() for group in found})
    weak = {name: _weak_groups(table, name) for name in metrics}

    def cell(group: str, name: str) -> str:
        found, errors = values[name]
        return _sampled(found.get(group), errors.get(group), group not in weak[name])

    rows = [[group, *(cell(group, name) for name in metrics)] for group in groups]
    text = (
        "Median over replicas of the last value, +- the median of its standard error over samples (the spread over replicas "
        "is not in it), where it has one; replicas that became non-finite are left out."
    )
    if any(weak.values()):
        text += f" {LEGEND}, in one replica or more."
    if counted:
        text += f" {', '.join(counted)} have no standard error, and can be compared at the same number of samples only."
    return [Section("Sampled metrics", text, ["", *metrics], rows, narrow=True)]


def _by_median(groups: Mapping[str, np.ndarray], measure: Headline) -> list[str]:
    """Return the groups, the best median first."""
    return sorted(groups, key=lambda name: measure.sign * float(np.median(groups[name])))


def _estimated(groups: Mapping[str, np.ndarray], measure: Headline, caption: str, text: str, weak: Collection[str]) -> Section:
    """Return the statistics of each group, with their intervals; of `weak` ones, which weights do not carry, without."""

    def words(name: str, found: Interval) -> str:
        return with_error(float(found.estimate), None, is_carried=False) if name in weak else found.in_words()

    rows = [
        [name, *(words(name, found) for found in estimates(groups[name]).values()), str(len(groups[name]))]
        for name in _by_median(groups, measure)[:MOST_GROUPS]
    ]
    if weak:
        text += f" {LEGEND}, in one replica or more."
    if len(groups) > MOST_GROUPS:
        text += f" The first {MOST_GROUPS} of {len(groups)}; the others are in table.csv."
    return Section(caption, text, ["", *STATISTICS.values(), "replicas"], rows)


def _comparison(groups: Mapping[str, np.ndarray], measure: Headline) -> Section:
    text = (
        "The probability that a replica of the row ends better than one of the column, with its 95% bootstrap interval: "
        "above 1/2 the row is better. It decides nothing: of groups of 5 that do not differ, 9.5% have an interval without 1/2, "
        "and every pair is another chance for that. Claims are decided by a test."
    )
    names = _by_median(groups, measure)
    found = improvements({name: groups[name] for name in names}, measure.direction == "minimize")
    rows = [[row, *(found[row, column].in_words(".2f", SPACE) if row != column else "" for column in names)] for row in names]
    return Section(f"Probability of improvement, {measure.words}", text, ["", *names], rows, narrow=True)


def _weak_groups(table: pd.DataFrame, metric: str) -> set[str]:
    """Return the groups of which a sound replica's last value rests on importance weights that do not carry it."""
    carried = carried_at_the_end(table[table["state"] == "done"], metric)
    if carried is None:
        return set()
    weak = carried.index[~carried]
    rows = table.assign(group=group_labels(table))
    rows = rows[(rows["metric"] == metric) & np.isinf(frozen_since(table, rows))].drop_duplicates(REPLICA).set_index(REPLICA)
    return set(rows.loc[rows.index.isin(weak), "group"])


def _sampled(values: np.ndarray | None, errors: np.ndarray | None, is_carried: bool) -> str:
    if values is None or not (is_sound := np.isfinite(values)).any():
        return ""
    error = None if errors is None else float(np.median(errors[is_sound]))
    return with_error(float(np.median(values[is_sound])), error, is_carried)
