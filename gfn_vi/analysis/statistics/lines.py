"""The lines of a plot in numbers: a statistic over replicas with its interval, for each setting, along training or at its end.

A replica is the unit: whole replicas are resampled (statistics/estimates.py), never the rows of one. What one replica cannot say
is left open: where a replica has no finite value and no worst value is known to stand for it, the line has a gap.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gfn_vi.analysis.reading.curves import X_LABELS, Curve, curves
from gfn_vi.analysis.reading.groups import ALL_RUNS, NOT_SET, key_in_words, short
from gfn_vi.analysis.reading.targets import by_number
from gfn_vi.analysis.statistics.estimates import Interval, interval
from gfn_vi.core.errors import is_number
from gfn_vi.runs.folders import TableError

CLOCK = "x"
LINE = "line"  # a column of labels, for errors


@dataclass(frozen=True)
class Lines:
    """numbers: a row per point: a column per role with its value as text, x, low, estimate, high, replicas, failed, reliable.

    n_replicas: label of a setting -> its replicas; failed: label -> those that became non-finite or were frozen; cells: label ->
    role (x among them, where it is a setting) -> its value as text.
    """

    numbers: pd.DataFrame
    n_replicas: dict[str, int]
    failed: dict[str, int]
    cells: dict[str, dict[str, str]]


def in_text(column: pd.Series) -> pd.Series:
    """Return the values as texts for people, "-" where there is none."""
    values = column.astype(object)
    return values.map(lambda value: NOT_SET if pd.isna(value) else short(value))


def lines(table: pd.DataFrame, y: str, x: str, roles: Mapping[str, str], statistic: str, worst: float | None) -> Lines:
    """Return the lines of `y` over the finished runs of the table; x: a clock of X_LABELS, or a column of settings.

    worst: stands for a replica that is not finite or was frozen; None: nothing can. Raises TableError as `curves` does.
    """
    by = dict(roles) if x in X_LABELS else {CLOCK: x, **roles}
    texts = pd.DataFrame({role: in_text(table[column]) for role, column in by.items()}, table.index)
    names = [key_in_words(column) for column in by.values()]
    labels = pd.Series([_label(names, of) for of in texts.itertuples(index=False)], table.index, dtype="category")
    found = curves(
        table.assign(**{LINE: labels}), y, LINE, x if x in X_LABELS else "trajectories", math.nan if worst is None else worst
    )
    cells = texts.assign(**{LINE: labels}).drop_duplicates(LINE).set_index(LINE)
    values = table.assign(**{LINE: labels}).drop_duplicates(LINE).set_index(LINE)
    parts = []
    for label, curve in found.items():
        shown = curve if x in X_LABELS else _end(curve)
        low, estimate, high = finite_interval(shown.values, statistic)
        points = {CLOCK: shown.x, "low": low, "estimate": estimate, "high": high, "reliable": ~shown.is_weak}
        of_line = pd.DataFrame(points | {"replicas": len(curve.seeds), "failed": curve.n_failed})
        for role in roles:
            of_line[role] = str(cells.at[label, role])
        if x not in X_LABELS:
            of_line[CLOCK] = values[x].loc[[label]].to_numpy()
        parts.append(of_line)
    numbers = pd.concat(parts, ignore_index=True)
    names = [*roles, CLOCK, "low", "estimate", "high", "replicas", "failed", "reliable"]
    failed = {str(label): curve.n_failed for label, curve in found.items() if curve.n_failed}
    n_replicas = {str(label): len(curve.seeds) for label, curve in found.items()}
    called = {str(label): {role: str(cells.at[label, role]) for role in by} for label in found}
    return Lines(numbers[names], n_replicas, failed, called)


def finite_interval(values: np.ndarray, statistic: str) -> Interval:
    """Return the statistic of `values` [R, N] over replicas with its interval; NaN at the points where one is not finite."""
    known = np.isfinite(values).all(0)
    parts = [np.full(values.shape[1], np.nan) for _ in range(3)]
    if known.any():
        for part, of_known in zip(parts, interval(values[:, known], statistic), strict=True):
            part[known] = of_known
    return Interval(*parts)


def recording(table: pd.DataFrame, y: str, say: Callable[[str], object]) -> pd.DataFrame:
    """Return the rows of finished runs that have recorded `y`, and say how many have not. Raises TableError where none has."""
    done = table[table["state"] == "done"]
    if done.empty:
        raise TableError("no run is done yet: nothing to draw")
    having = set(done.loc[done["metric"] == y, "run"])
    if not having:
        recorded = sorted(map(str, done["metric"].unique()))
        near = difflib.get_close_matches(y, recorded, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise TableError(f"y={y}: no finished run has recorded it{meant}; recorded: {', '.join(recorded)}")
    without = sorted(set(done["run"]) - having)
    if without:
        of = f"{len(without)} of {len(having) + len(without)} runs, such as {without[0]}"
        say(f"left out, since they have not recorded {y}: {of}")
    return done[done["run"].isin(having)]


def order_of(texts: Sequence[str], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the different texts in the wanted order, else sorted: numbers by size, also those within words."""
    if wanted is not None:
        return list(wanted)
    return sorted(set(texts), key=lambda text: (not is_number(text), float(text) if is_number(text) else 0.0, by_number(text)))


def _label(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True)) or ALL_RUNS


def _end(curve: Curve) -> Curve:
    carried = None if curve.is_carried is None else curve.is_carried[:, -1:]
    return Curve(curve.x[-1:], curve.values[:, -1:], curve.seeds, curve.n_failed, carried)
