"""What the runs recorded of each gradient estimator, and which estimators are one.

Estimators see the same batches, so those that are proportional by theory have the same cosine and the same signal-to-noise ratio,
up to rounding. Which ones are is found from these numbers, never from a list.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures.arms import OBJECTIVES, uncapitalized
from gfn_vi.analysis.reading.curves import Curve
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.runs.reading import TableError

COLUMNS = ("state", "arm", "seed", "trajectories", "metric", "value")
PARTS = ("prefix", "statistic", "role", "estimator", "behavior", "batch")  # of a metric's name
ROLES = ("forward", "backward")
TB = "trajectory_balance"
BASELINES = {
    "reverse_kl_log_Z": "log Z",
    "reverse_kl_leave_one_out": "leave-one-out",
    "reverse_kl_batch_mean": "batch mean",
    "reverse_kl_optimal": "optimal baseline",
    "reverse_kl_none": "no baseline",
}
OTHERS = {name: OBJECTIVES[name] for name in (TB, "log_variance", "forward_kl", "wake_sleep")}
ESTIMATORS = (TB, "log_variance", *BASELINES, "forward_kl", "wake_sleep")
PLAIN = {"reverse_kl_leave_one_out": "reverse_kl_plain", "forward_kl": "forward_kl_plain"}  # the same with weights as they are
SCALE_FREE = ("cosine", "snr")  # no positive factor changes them
SAME = 1e-3  # largest difference in either of them between estimators that are one; float32 leaves 1e-5

Group = tuple[str, ...]


def statistics_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per recorded statistic, with <prefix>/<statistic>/<role>/<estimator>/<behavior>/<batch> in columns."""
    require_columns(table, COLUMNS)
    rows = table[(table["state"] == "done") & table["metric"].astype(str).str.count("/").eq(len(PARTS) - 1)]
    if rows.empty:
        raise TableError("no run that measures gradients is done yet: nothing to draw")
    parts = rows["metric"].astype(str).str.split("/", expand=True)
    parts.columns = pd.Index(PARTS)
    rows = pd.concat([rows[["arm", "seed", "trajectories", "value"]], parts], axis=1)
    return rows.astype({"arm": str, "batch": int, "value": float})


def chosen(rows: pd.DataFrame, arm: str, **wanted: str) -> pd.DataFrame:
    """Return the rows of an arm whose columns have the wanted values; TableError where there are none."""
    found = rows[rows["arm"] == arm]
    for column, value in wanted.items():
        found = found[found[column] == value]
    if found.empty:
        told = ", ".join(f"{column} {value}" for column, value in wanted.items()) or "gradients"
        raise TableError(f"the arm {arm} has recorded nothing of {told}: run it to its end, with these")
    return found


def roles_of(rows: pd.DataFrame, arm: str) -> list[str]:
    """Return whose gradients an arm has measured: forward is P_F, backward P_B."""
    return [role for role in ROLES if ((rows["arm"] == arm) & (rows["role"] == role)).any()]


def at_end(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the rows of an arm's last measurement."""
    of_arm = rows[rows["arm"] == arm]
    return of_arm[of_arm["trajectories"] == of_arm["trajectories"].max()]


def curves_along(rows: pd.DataFrame, x: str) -> dict[str, Curve]:
    """Return estimator -> curve over the column `x` of one statistic; a replica each row, by seed."""
    found = {}
    for estimator, of in rows.groupby("estimator"):
        values = of.pivot(index="seed", columns=x, values="value")
        if not np.isfinite(values.to_numpy()).all():
            raise TableError(f"a replica has no finite number of {estimator} at some {x}: its gradients cannot be compared")
        x_values, seeds = values.columns.to_numpy(dtype=np.float64), tuple(map(int, values.index))
        found[str(estimator)] = Curve(x_values, values.to_numpy(dtype=np.float64), seeds, 0)
    return found


def signal_to_noise(rows: pd.DataFrame, arm: str, role: str) -> pd.DataFrame:
    """Return rows of the exact gradient's norm over the noise of a batch: |g*| / sqrt(total variance)."""
    keys = ["arm", "seed", "trajectories", "prefix", "role", "estimator", "behavior", "batch"]
    variance = chosen(rows, arm, statistic="variance", role=role).set_index(keys)["value"]
    norm = chosen(rows, arm, statistic="reference_norm", role=role).set_index(keys)["value"]
    return (norm / np.sqrt(variance)).rename("value").reset_index()


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the largest difference between two estimators in what no factor changes, over all measurements: [E, E].

    rows: of one arm and role.
    """
    keys = ["statistic", "prefix", "behavior", "batch", "seed", "trajectories"]
    values = rows[rows["statistic"].isin(SCALE_FREE)].pivot(index=keys, columns="estimator", values="value")
    found = values.to_numpy(dtype=np.float64)
    apart = np.abs(found[:, :, None] - found[:, None, :]).max(0)
    return pd.DataFrame(apart, index=values.columns, columns=values.columns)


def equal_groups(apart: pd.DataFrame) -> list[Group]:
    """Return the estimators in groups of equal ones, each in one group, mostly alone; those that are not of ESTIMATORS last.

    The same estimators with plain weights are no groups of their own.
    """
    names = [name for name in ESTIMATORS if name in apart]
    names += sorted(set(apart) - {*ESTIMATORS, *PLAIN.values()})
    groups: list[Group] = []
    for name in names:
        for place, group in enumerate(groups):
            if all(apart.loc[name, other] < SAME for other in group):
                groups[place] = (*group, name)
                break
        else:
            groups.append((name,))
    return groups


def name_of(group: Group, present: Group) -> str:
    """Return the group in words, as in "TB = reverse KL, log Z"; `present`: all estimators that were measured."""
    baselines = [name for name in group if name in BASELINES]
    every = len(baselines) == sum(name in BASELINES for name in present) > 1
    told = "any baseline" if every else " or ".join(BASELINES[name] for name in baselines)
    words = [OTHERS.get(name, f"reverse KL, {told}" if name in BASELINES else name.replace("_", " ")) for name in group]
    first, *rest = dict.fromkeys(words)
    return " = ".join([first[0].upper() + first[1:], *map(uncapitalized, rest)])
