"""The settings of the experiment and what was measured of each.

A setting is an arm on a density. An arm is the name of an objective, with a suffix for where its trajectories come from; another
name, as of an arm that was added, is an objective of its own that no panel of explorations has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import arms
from gfn_vi.analysis.reading.curves import REPLICA, SCORE_CALLS, Curve, curves
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.analysis.statistics.estimates import STATISTICS, interval
from gfn_vi.core.headline import Headline

TARGET, FUNNEL_S = "target", "config.target.s"
DENSITIES = {
    "gmm25": "25 Gaussians",
    "many_well": "Many wells",
    "funnel_3": "Funnel, $s = 3$",
    "funnel_1": "Funnel, $s = 1$",
    "log_gaussian_cox": "Cox process",
}
OBJECTIVES = {
    "trajectory_balance": arms.OBJECTIVES["trajectory_balance"],
    "log_variance": arms.OBJECTIVES["log_variance"],
    "subtrajectory_balance": arms.OBJECTIVES["subtrajectory_balance"],
    "detailed_balance": arms.OBJECTIVES["detailed_balance"],
    "reverse_kl": arms.OBJECTIVES["reverse_kl_score"],  # its gradient can be taken in three ways here
    "pathwise": arms.OBJECTIVES["pathwise"],
    "sticking_the_landing": arms.OBJECTIVES["sticking_the_landing"],
    "forward_kl": arms.OBJECTIVES["forward_kl"],
}
EXPLORATIONS = {suffix: title for suffix, title in arms.EXPLORATIONS.items() if suffix != arms.OFF_POLICY}
ARMS = tuple(objective + exploration for exploration in EXPLORATIONS for objective in OBJECTIVES)

GAP = Headline("bound_gap", "minimize", np.inf, "EUBO - ELBO")
ELBO = Headline("sampled_elbo", "maximize", -np.inf, "ELBO")
# What a density may lack is optional: metric -> the value that counts for a replica that became non-finite.
OPTIONAL = {
    GAP.metric: GAP.worst,
    "sampled_log_Z_error": np.inf,
    "w2": np.inf,
    "w2_floor": None,
    "mode_mass_error": 1.0,
    "well_error": 1.0,
}


class Setting(NamedTuple):
    """Replicas of one arm on one density along training.

    measured: metric -> curve, of those that the density has; elbo and log_Z (the reweighted estimate): in nats.
    n_failed: number of replicas that became non-finite; reward_calls, score_calls: evaluations for training until the end, [R].
    """

    measured: Mapping[str, Curve]
    elbo: Curve
    log_Z: Curve
    n_failed: int
    reward_calls: np.ndarray
    score_calls: np.ndarray

    @property
    def reweighted_error(self) -> np.ndarray:
        """|log Z - its reweighted estimate| at the end in nats, [R]; NaN where nobody knows log Z."""
        error = self.measured.get("sampled_log_Z_error")
        return np.full(len(self.elbo.final), np.nan) if error is None else np.abs(error.final)

    @property
    def bound_error(self) -> np.ndarray:
        """|log Z - ELBO| at the end in nats, [R]; NaN where nobody knows log Z. The sampled ELBO may be above log Z."""
        error = self.measured.get("sampled_log_Z_error")
        if error is None:
            return np.full(len(self.elbo.final), np.nan)
        # of a replica that failed both are infinite; the first evaluation is before training
        log_Z = self.log_Z.values[:, 0] - error.values[:, 0]
        return np.abs(log_Z - self.elbo.final)

    @property
    def n_weak(self) -> int | None:
        """Return of how many replicas weights do not carry the reweighted estimate; None: that was not recorded."""
        return None if self.log_Z.is_carried is None else int((~self.log_Z.is_carried[:, -1]).sum())

    @property
    def untrained(self) -> Setting:
        """Return the same replicas as they were before training, at the first evaluation."""
        measured = {metric: _first(curve) for metric, curve in self.measured.items()}
        return self._replace(measured=measured, elbo=_first(self.elbo), log_Z=_first(self.log_Z))

    def final(self, metric: str) -> np.ndarray:
        """Return the last values of a metric, [R]; NaN where the density does not have it."""
        return self.measured[metric].final if metric in self.measured else np.full(len(self.elbo.final), np.nan)


Settings = dict[tuple[str, str], Setting]


def settings(table: pd.DataFrame) -> Settings:
    """(arm, density) -> what its finished runs have measured, in the order of DENSITIES and ARMS, others after them."""
    named = with_density(table)
    by = ["arm", "density"]
    elbo = curves(named, ELBO.metric, by, worst=ELBO.worst)
    log_Z = curves(named, "sampled_log_Z", by, worst=-np.inf)
    optional = {metric: _curves_where_recorded(named, metric, by, worst) for metric, worst in OPTIONAL.items()}
    found = {}
    for key in sorted(elbo, key=_position):
        arm, density = map(str, key)
        measured = {metric: of[key] for metric, of in optional.items() if key in of}
        rows = named[(named["arm"] == arm) & (named["density"] == density) & (named["state"] == "done")]
        calls = rows.groupby(REPLICA, observed=True)["reward_calls"].max().to_numpy(dtype=np.float64)
        scores = rows[rows["metric"] == SCORE_CALLS].groupby(REPLICA, observed=True)["value"].max().to_numpy(dtype=np.float64)
        frozen = rows[(rows["metric"] == "frozen") & (rows["value"] != 0)]
        n_failed = max(len(frozen.drop_duplicates(REPLICA)), elbo[key].n_failed)
        found[arm, density] = Setting(measured, elbo[key], log_Z[key], n_failed, calls, scores)
    return found


def with_density(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column density: the target, and which funnel."""
    require_columns(table, ["run", "arm", TARGET, FUNNEL_S])
    s = table[FUNNEL_S].astype(np.float64)
    density = table[TARGET].astype(str) + s.map("_{:g}".format).where(s.notna(), "")
    return table.assign(density=density)


def parts(arm: str) -> tuple[str, str | None]:
    """Return the objective and the exploration of an arm; its own name and None of one that is no such pair."""
    objective, exploration = arms.parts(arm)
    return (objective, exploration) if objective in OBJECTIVES and exploration in EXPLORATIONS else (arm, None)


def label_of(objective: str) -> str:
    """Return how people call an objective, or an arm that was added."""
    return OBJECTIVES.get(objective) or arms.label_of(objective)


def spread(values: np.ndarray, statistic: str = "median") -> tuple[float, float, float]:
    """Return low, statistic and high of replicas [R]: the 95% interval, or the range where a replica failed (it is infinite)."""
    if np.isfinite(values).all():
        low, estimate, high = map(float, interval(values, statistic))
        return low, estimate, high
    return float(values.min()), float(STATISTICS[statistic](values, axis=0)), float(values.max())


def _first(curve: Curve) -> Curve:
    return replace(curve, x=curve.x[:1], values=curve.values[:, :1], is_carried=None)


def _position(key: tuple[object, object]) -> tuple[int, int, str]:
    arm, density = map(str, key)
    densities = list(DENSITIES)
    of_density = densities.index(density) if density in densities else len(densities)
    return of_density, ARMS.index(arm) if arm in ARMS else len(ARMS), f"{density} {arm}"


def _curves_where_recorded(
    table: pd.DataFrame, metric: str, by: list[str], worst: float | None
) -> Mapping[tuple[object, object], Curve]:
    """Return the curves of the finished runs that have recorded a metric; {} where none has."""
    done = table[table["state"] == "done"]
    recorded = done[done["run"].isin(set(done.loc[done["metric"] == metric, "run"]))]
    return {} if recorded.empty else curves(recorded, metric, by, worst=worst)
