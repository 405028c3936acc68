"""From the tidy table to curves over replicas: one per arm, or per combination of columns.

The x-axis is trajectories, reward calls, score calls or seconds. Trajectories are the same for all replicas of a sweep; the
others are a replica's own, so its values are interpolated onto a common axis that ends where the first replica ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.groups import config_columns
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.analysis.reading.weights import carried
from gfn_vi.analysis.statistics.estimates import Statistic, interval, with_worst
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE_CALLS = "score_calls"  # a statistic of training, and no column of the table as the others are
X_LABELS = {
    "trajectories": "Trajectories",
    "reward_calls": "Reward evaluations",
    SCORE_CALLS: "Score evaluations",
    "seconds": "Seconds",
}
COLUMNS = {"trajectories": "trajectories", "reward_calls": "reward_calls", SCORE_CALLS: SCORE_CALLS, "seconds": "wall_seconds"}
REPLICA = ["run", "replica"]
BAR = 0.18  # half the width of a statistic's bar, where settings are 1 apart


@dataclass(frozen=True)
class Curve:
    """Replicas of one setting by seed: x [N], values [R, N], the seed of each, and how many became non-finite.

    is_carried: [R, N] False where a value rests on importance weights that do not carry it; None for one that rests on none, or
    whose weights were not recorded.
    """

    x: np.ndarray
    values: np.ndarray
    seeds: tuple[int, ...]
    n_failed: int
    is_carried: np.ndarray | None = None

    @property
    def final(self) -> np.ndarray:
        """The last value of each replica: [R]."""
        return self.values[:, -1]

    @property
    def is_weak(self) -> np.ndarray:
        """Return at which points the value of a replica is not carried by its weights: [N] bool."""
        return np.zeros(len(self.x), dtype=bool) if self.is_carried is None else np.logical_not(self.is_carried.all(axis=0))


def curves(
    table: pd.DataFrame,
    metric: str,
    by: str | Sequence[str] = "arm",
    x: str = "trajectories",
    worst: float | None = None,
) -> dict[Any, Curve]:
    """Label -> curve of `metric` over the finished runs; a label is a value of `by`, or a tuple of values of several columns.

    x: trajectories, reward_calls, score_calls (densities only) or seconds. worst: takes the place of values that are not finite,
    and of all values from the evaluation at which a replica was frozen on; None: they stay. Raises TableError for a missing
    column, for a label whose runs have not recorded the metric, for two replicas of a label with one seed, and for replicas
    evaluated at different trajectories.
    """
    keys = [by] if isinstance(by, str) else list(by)
    if x not in X_LABELS:
        raise TableError(f"x={x}: expected {', '.join(X_LABELS)}")
    if x == SCORE_CALLS:
        table = with_score_calls(table)
    require_columns(table, ["run", "state", "seed", "replica", "trajectories", "metric", "value", COLUMNS[x], *keys])
    done = table[(table["state"] == "done") & table[keys[0]].notna()]
    if done.empty:
        raise TableError(f"no run with {keys[0]} is done yet: nothing to draw")
    if worst is not None:
        done = done.assign(value=done["value"].where(done["trajectories"] < frozen_since(done, done)))
    groups = done.groupby(keys if len(keys) > 1 else keys[0], observed=True, dropna=False, sort=True)
    return {
        label: _curve(group[group["metric"] == metric], label, metric, x, worst, carried(group, metric))
        for label, group in groups
    }


def frozen_since(table: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return for each of the rows the trajectories at which its replica was first recorded as frozen in `table`; inf: never."""
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)]
    since = frozen.groupby(REPLICA, observed=True, as_index=False)["trajectories"].min()
    return rows[REPLICA].merge(since, "left", on=REPLICA)["trajectories"].fillna(np.inf).to_numpy(dtype=np.float64)


def with_score_calls(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column score_calls: 0 at the start, and between records of this statistic on a straight line.

    Raises TableError where no run counts scores: only samplers of densities do.
    """
    require_columns(table, [*REPLICA, "trajectories", "metric", "value"])
    counted = table[table["metric"] == SCORE_CALLS]
    if counted.empty:
        raise TableError(f"x={SCORE_CALLS}: no run has counted gradients of log R, as samplers of densities do")
    known = {replica: (of["trajectories"], of["value"]) for replica, of in counted.groupby(REPLICA, observed=True)}
    calls = np.full(len(table), np.nan)
    for replica, rows in table.groupby(REPLICA, observed=True).indices.items():
        if replica in known:
            trajectories, values = known[replica]
            calls[rows] = np.interp(table["trajectories"].to_numpy()[rows], [0, *trajectories], [0, *values])
    return table.assign(**{SCORE_CALLS: calls})


def _curve(rows: pd.DataFrame, label: object, metric: str, x: str, worst: float | None, weights: pd.DataFrame | None) -> Curve:
    if rows.empty:
        raise TableError(f"the runs of {_words(label)} have not recorded {metric}")
    seeds = rows.drop_duplicates(REPLICA).set_index(REPLICA)["seed"].sort_values()
    twice = seeds.index[seeds.duplicated(keep=False)].unique("run")
    if len(twice):
        of_both = rows[rows["run"].isin(twice)]
        names = [name for name in config_columns(of_both) if name != "config.seed"]
        differ = [name for name in names if of_both[name].nunique(dropna=False) > 1]
        how = f"; they differ in {', '.join(differ)}" if differ else ""
        runs = ", ".join(sorted(twice))
        raise TableError(f"{_words(label)} has the same seed twice (runs {runs}){how}: keep one run, move the others away")
    values = rows.pivot(index=REPLICA, columns="trajectories", values="value").loc[seeds.index]
    if len(rows) < values.size:
        raise TableError(
            f"the replicas of {_words(label)} have recorded {metric} at different numbers of trajectories: "
            "draw runs with one evaluation.every and one trainer.n_trajectories"
        )
    found, axis = values.to_numpy(dtype=np.float64), values.columns.to_numpy(dtype=np.float64)
    n_failed = int((~np.isfinite(found)).any(1).sum())
    is_carried: np.ndarray | None = None
    if weights is not None:
        is_carried = weights.reindex(index=values.index, columns=values.columns, fill_value=False).to_numpy(dtype=bool)
    if worst is not None:
        if is_carried is not None:
            is_carried = is_carried | ~np.isfinite(found)  # the worst value rests on no weights
        found = with_worst(found, worst)
    if x != "trajectories":
        own = rows.pivot(index=REPLICA, columns="trajectories", values=COLUMNS[x]).loc[seeds.index].to_numpy(dtype=np.float64)
        if not ((np.diff(own, axis=1) >= 0).all() and own[:, 0].max() < own[:, -1].min()):
            raise TableError(f"{COLUMNS[x]} of {_words(label)} does not grow along all replicas: use x=trajectories")
        axis = np.linspace(own[:, 0].max(), own[:, -1].min(), own.shape[1])  # up to the end of the shortest replica
        found = np.stack([np.interp(axis, mine, heights) for mine, heights in zip(own, found, strict=True)])
        if is_carried is not None:  # a value between two evaluations rests on both
            is_carried = np.stack([np.interp(axis, mine, carries) == 1 for mine, carries in zip(own, is_carried, strict=True)])
    return Curve(axis, found, tuple(map(int, seeds)), n_failed, is_carried)


def shared_values(one: Curve, other: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the seeds that both curves have, as pairs of rows in the order of the seeds: [R, N] and [R, N']."""
    shared = sorted(set(one.seeds) & set(other.seeds))
    first, second = (curve.values[[curve.seeds.index(seed) for seed in shared]] for curve in (one, other))
    return first, second


def _words(label: object) -> str:
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


def draw_curve(
    axes: Axes,
    curve: Curve,
    statistic: str | Statistic,
    color: Any,
    label: str,
    linestyle: str = "-",
    band: bool = True,
    marker: str = "",
    first: int = 0,
) -> None:
    """The statistic over replicas as a line, its 95% bootstrap interval as a band.

    Where a replica's value is not carried by its weights, the line has hollow points and no band. marker: drawn at every eighth
    evaluation from the one with the number `first` on, so that lines are told apart without their colors.
    """
    low, estimate, high = interval(curve.values, statistic)
    look: dict[str, Any] = {"linestyle": linestyle, "marker": marker, "markersize": 4, "markevery": (first, 8)}
    axes.plot(curve.x, estimate, color=color, label=label, **look)
    weak = curve.is_weak
    style.mark_weak(axes, curve.x[weak], estimate[weak], color)
    if band:
        axes.fill_between(curve.x, low, high, where=~weak, color=color, alpha=style.BAND_ALPHA, linewidth=0)


def draw_reference(axes: Axes, curve: Curve, statistic: str | Statistic) -> None:
    """Draw the statistic over replicas of a setting to compare with: thin and gray, behind the others."""
    axes.plot(curve.x, interval(curve.values, statistic).estimate, color="0.6", linewidth=0.9, zorder=1)


def draw_replicas(axes: Axes, x: float, values: np.ndarray, statistic: str | Statistic, color: Any, is_filled: bool) -> None:
    """Draw the values [R] of replicas as points above `x`, and the statistic over them as a bar."""
    points: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "alpha": 0.75}
    axes.plot(np.full(len(values), x), values, color=color, markerfacecolor=color if is_filled else "white", **points)
    height = float(interval(values, statistic).estimate)
    axes.plot([x - BAR, x + BAR], [height] * 2, color="0.1", linewidth=1.2, zorder=4)


def n_failed(found: Iterable[Curve]) -> str:
    """A sentence for a title: how many replicas are drawn at the worst value; empty if none is."""
    count = sum(curve.n_failed for curve in found)
    return f"Replicas that failed, drawn at the worst value: {count}" if count else ""
