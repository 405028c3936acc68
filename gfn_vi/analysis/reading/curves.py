"""From the tidy table to curves over replicas: one per arm, or per combination of columns.

The x-axis is trajectories, reward calls or seconds. Trajectories are the same for all replicas of a sweep; the other two
are a replica's own, so its values are interpolated onto a common axis that ends where the first replica ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.analysis.statistics.estimates import Statistic, interval, with_worst
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X_LABELS = {"trajectories": "Trajectories", "reward_calls": "Reward evaluations", "seconds": "Seconds"}
COLUMNS = {"trajectories": "trajectories", "reward_calls": "reward_calls", "seconds": "wall_seconds"}
REPLICA = ["run", "replica"]


@dataclass(frozen=True)
class Curve:
    """Replicas of one setting by seed: x [N], values [R, N], the seed of each, and how many became non-finite."""

    x: np.ndarray
    values: np.ndarray
    seeds: tuple[int, ...]
    n_failed: int

    @property
    def final(self) -> np.ndarray:
        """The last value of each replica: [R]."""
        return self.values[:, -1]


def curves(
    table: pd.DataFrame,
    metric: str,
    by: str | Sequence[str] = "arm",
    x: str = "trajectories",
    worst: float | None = None,
) -> dict[Any, Curve]:
    """Label -> curve of `metric` over the finished runs; a label is a value of `by`, or a tuple of values of several columns.

    x: trajectories, reward_calls, or seconds. worst: takes the place of values that are not finite, and of all values from the
    evaluation at which a replica was frozen on; None: they stay. Raises TableError for a missing column, for a label whose
    runs have not recorded the metric, for two replicas of a label with one seed, and for replicas evaluated at different
    trajectories.
    """
    keys = [by] if isinstance(by, str) else list(by)
    if x not in X_LABELS:
        raise TableError(f"x={x}: expected {', '.join(X_LABELS)}")
    require_columns(table, ["run", "state", "seed", "replica", "trajectories", "metric", "value", COLUMNS[x], *keys])
    done = table[(table["state"] == "done") & table[keys[0]].notna()]
    if done.empty:
        raise TableError(f"no run with {keys[0]} is done yet: nothing to draw")
    frozen = _frozen_since(done)
    groups = done.groupby(keys if len(keys) > 1 else keys[0], observed=True, dropna=False, sort=True)
    return {label: _curve(group[group["metric"] == metric], label, metric, x, worst, frozen) for label, group in groups}


def _frozen_since(table: pd.DataFrame) -> dict[tuple[str, int], int]:
    """(run, replica) -> the trajectories at which it was first recorded as frozen."""
    rows = table[(table["metric"] == "frozen") & (table["value"] != 0)]
    found: dict[tuple[str, int], int] = {}
    for run, replica, seen in zip(rows["run"], rows["replica"], rows["trajectories"], strict=True):
        found[str(run), int(replica)] = min(int(seen), found.get((str(run), int(replica)), int(seen)))
    return found


def _curve(
    rows: pd.DataFrame, label: object, metric: str, x: str, worst: float | None, frozen: dict[tuple[str, int], int]
) -> Curve:
    if rows.empty:
        raise TableError(f"the runs of {_words(label)} have not recorded {metric}")
    replicas = rows[[*REPLICA, "seed"]].drop_duplicates()
    twice = replicas[replicas.duplicated("seed", keep=False)]
    if not twice.empty:
        runs = ", ".join(sorted(set(map(str, twice["run"]))))
        of_both = rows[rows["run"].isin(set(twice["run"]))]
        names = [name for name in map(str, of_both.columns) if name.startswith("config.") and name != "config.seed"]
        differ = [name for name in names if of_both[name].nunique(dropna=False) > 1]
        how = f"; they differ in {', '.join(differ)}" if differ else ""
        raise TableError(f"{_words(label)} has the same seed twice (runs {runs}){how}: keep one run, move the others away")
    by_seed = list(replicas.sort_values("seed")[REPLICA].itertuples(index=False, name=None))
    values = rows.pivot(index=REPLICA, columns="trajectories", values="value").loc[by_seed]
    if values.isna().to_numpy().any() and len(rows) < values.size:
        raise TableError(
            f"the replicas of {_words(label)} have recorded {metric} at different numbers of trajectories: "
            "draw runs with one evaluation.every and one trainer.n_trajectories"
        )
    found = values.to_numpy(dtype=np.float64)
    if worst is not None:
        since = np.array([frozen.get((str(run), int(replica)), np.inf) for run, replica in values.index])
        found = np.where(values.columns.to_numpy()[None] >= since[:, None], np.nan, found)
    n_failed = int((~np.isfinite(found)).any(1).sum())
    if worst is not None:
        found = with_worst(found, worst)
    seeds = replicas.set_index(REPLICA)["seed"].loc[values.index]
    axis = values.columns.to_numpy(dtype=np.float64)
    if x != "trajectories":
        own = rows.pivot(index=REPLICA, columns="trajectories", values=COLUMNS[x]).loc[by_seed].to_numpy(dtype=np.float64)
        if not ((np.diff(own, axis=1) >= 0).all() and own[:, 0].max() < own[:, -1].min()):
            raise TableError(f"{COLUMNS[x]} of {_words(label)} does not grow along all replicas: use x=trajectories")
        axis, found = _on_common_axis(own, found)
    return Curve(axis, found, tuple(map(int, seeds)), n_failed)


def _on_common_axis(own: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [R, N] at each replica's own x [R, N] -> (x [N] up to the shortest replica's end, values there [R, N])."""
    axis = np.linspace(own[:, 0].max(), own[:, -1].min(), own.shape[1])
    return axis, np.stack([np.interp(axis, mine, heights) for mine, heights in zip(own, values, strict=True)])


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
) -> None:
    """The statistic over replicas as a line, its 95% bootstrap interval as a band."""
    low, estimate, high = interval(curve.values, statistic)
    axes.plot(curve.x, estimate, color=color, label=label, linestyle=linestyle)
    if band:
        axes.fill_between(curve.x, low, high, color=color, alpha=style.BAND_ALPHA, linewidth=0)


def n_failed(found: Iterable[Curve]) -> str:
    """A sentence for a title: how many replicas are drawn at the worst value; empty if none is."""
    count = sum(curve.n_failed for curve in found)
    return f"Replicas that failed, drawn at the worst value: {count}" if count else ""
