"""Tables of a report: where finished runs ended, with intervals, as text.

Replicas belong together if their runs differ in nothing but seeds: an arm, or an arm with one value of what else varies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.choices import columns_of_choices
from gfn_vi.analysis.reading.differences import NOT_SET, PREFIX, short
from gfn_vi.analysis.reading.seeds import SEED_KEYS
from gfn_vi.analysis.statistics.estimates import interval, probability_of_improvement, with_worst
from gfn_vi.core.headline import Headline

MODES = Headline("modes_covered", "maximize", 0.0, "modes covered")  # beside the headline, where a run has recorded them
STATISTICS = {"median": "median", "iqm": "interquartile mean", "mean": "mean"}
SEED_COLUMNS = frozenset(f"{PREFIX}{key}" for key in SEED_KEYS)
MOST_GROUPS, MOST_COMPARED = 60, 16


@dataclass(frozen=True)
class Section:
    """A table with a sentence above it; the first cell of a row names it."""

    caption: str
    text: str
    header: list[str]
    rows: list[list[str]]
    narrow: bool = False  # many columns: cells may break


def measures(headlines: Iterable[Headline]) -> list[Headline]:
    """Return what tables show: the headlines of the runs, then the modes that they cover."""
    return [*(headline for headline in headlines if headline.metric != MODES.metric), MODES]


def final_sections(table: pd.DataFrame, headlines: Sequence[Headline]) -> list[Section]:
    """Return for each measure that finished runs recorded its final values by group, for a headline also who beats whom."""
    sections = []
    for measure in measures(headlines):
        words, lower_is_better = measure.words, measure.direction == "minimize"
        groups = final_values(table, measure.metric, measure.worst)
        if groups:
            sections.append(_values(groups, f"Final {words}", lower_is_better))
        if measure in headlines and 1 < len(groups) <= MOST_COMPARED and min(len(v) for v in groups.values()) > 1:
            sections.append(_comparison(groups, words, lower_is_better))
    return sections


def final_values(table: pd.DataFrame, metric: str, worst: float) -> dict[str, np.ndarray]:
    """Group -> the last recorded value of each of its replicas; `worst` for one that is not finite or has been frozen."""
    rows = table[(table["metric"] == metric) & (table["state"] == "done")]
    if rows.empty:
        return {}
    last = rows[rows["step"] == rows.groupby("run", observed=True)["step"].transform("max")]
    labels = group_labels(last[["arm", *telling_keys(table)]])
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)][["run", "replica"]].drop_duplicates()
    stopped = pd.MultiIndex.from_frame(last[["run", "replica"]]).isin(pd.MultiIndex.from_frame(frozen))
    values = pd.Series(with_worst(np.where(stopped, np.nan, last["value"]), worst), last.index)
    return {str(name): of_group.to_numpy() for name, of_group in values.groupby(labels)}


def telling_keys(table: pd.DataFrame) -> list[str]:
    """Return the columns in which groups may differ: choices, and keys of the configuration that are no seeds."""
    keys = [name for name in map(str, table.columns) if name.startswith(PREFIX) and name not in SEED_COLUMNS]
    return [*columns_of_choices(table), *keys]


def group_labels(configs: pd.DataFrame) -> pd.Series:
    """Return for each row its arm, and of the other columns as few as tell the groups of that arm apart."""
    texts = configs.astype(object).map(lambda value: NOT_SET if pd.isna(value) else short(value))
    distinct = texts.drop_duplicates()
    labels: dict[tuple[str, ...], str] = {}
    for arm, of_arm in distinct.groupby("arm"):
        told_by = telling_columns(of_arm.drop(columns="arm"))
        for key in of_arm.itertuples(index=False, name=None):
            row = dict(zip(map(str, texts.columns), key, strict=True))
            words = [f"{name.removeprefix(PREFIX)}={row[name]}" for name in told_by if row[name] != NOT_SET]
            labels[key] = " ".join([*([] if arm == NOT_SET else [str(arm)]), *words]) or "no arm"
    return pd.Series([labels[key] for key in texts.itertuples(index=False, name=None)], configs.index)


def telling_columns(distinct: pd.DataFrame) -> list[str]:
    """Return the columns in which the rows differ: one if one is enough, or all of them; choices before anything else.

    Of several keys that are enough a name goes first, then the target.
    """
    differing = [str(name) for name in distinct.columns if distinct[name].nunique(dropna=False) > 1]
    choices = [name for name in differing if not name.startswith(PREFIX)]
    keys = [name for name in differing if name.startswith(PREFIX)]
    keys.sort(key=lambda name: (not name.endswith("_name"), not name.startswith(f"{PREFIX}target.")))
    for names in [*([name] for name in choices), choices, *([name] for name in keys)]:
        if names and len(distinct[names].drop_duplicates()) == len(distinct):
            return names
    return differing


def _values(groups: Mapping[str, np.ndarray], caption: str, lower_is_better: bool) -> Section:
    names = sorted(groups, key=lambda name: float(np.median(groups[name])) * (1 if lower_is_better else -1))
    better = "lower" if lower_is_better else "higher"
    text = (
        f"Over replicas of finished runs, with 95% bootstrap intervals (a single replica has none); {better} is better, the best "
        "median is first. A replica that became non-finite counts as the worst value."
    )
    if len(names) > MOST_GROUPS:
        text += f" The first {MOST_GROUPS} of {len(names)}; the others are in table.csv."
    header = ["", *STATISTICS.values(), "replicas"]
    rows = [[name, *_estimates(groups[name]), str(len(groups[name]))] for name in names[:MOST_GROUPS]]
    return Section(caption, text, header, rows)


def _estimates(values: np.ndarray) -> list[str]:
    return [in_words(*map(float, interval(values, statistic))) for statistic in STATISTICS]


def in_words(low: float, estimate: float, high: float) -> str:
    """One replica has no interval."""
    return f"{estimate:.3g}" if math.isnan(low) else f"{estimate:.3g} ({low:.3g} to {high:.3g})"


def _comparison(groups: Mapping[str, np.ndarray], words: str, lower_is_better: bool) -> Section:
    names = sorted(groups, key=lambda name: float(np.median(groups[name])) * (1 if lower_is_better else -1))
    text = (
        "The probability that a replica of the row ends better than one of the column, with its 95% bootstrap interval: "
        "above 1/2 the row is better; an interval that holds 1/2 does not decide."
    )
    rows = [[row, *(_beats(groups, row, column, lower_is_better) for column in names)] for row in names]
    return Section(f"Probability of improvement, {words}", text, ["", *names], rows, narrow=True)


def _beats(groups: Mapping[str, np.ndarray], row: str, column: str, lower_is_better: bool) -> str:
    if row == column:
        return ""
    low, estimate, high = map(float, probability_of_improvement(groups[row], groups[column], lower_is_better))
    return f"{estimate:.2f} ({low:.2f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high:.2f})"  # a line break before the interval
