"""What the runs measured: the noise of each estimator of the gradient of KL(P_F, P_B), and how far P_F was from the optimum.

noise: sqrt(total variance) of the gradient of one batch. TB and log-variance have twice the expected gradient: both are halved,
so that all estimate the same. gradient: |expected gradient|, where no exact one exists that of sticking the landing on a large
batch; relative: noise / gradient. kl: KL(P_F, P_B) in nats.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures.arms import OBJECTIVES
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.runs.folders import TableError

ESTIMATORS = {
    name: OBJECTIVES[name]
    for name in ("pathwise", "sticking_the_landing", "reverse_kl_leave_one_out", "trajectory_balance", "log_variance")
}
TIMES = {"trajectory_balance": 2.0, "log_variance": 2.0}  # of the expected gradient of KL(P_F, P_B)
SAMPLERS = {"linear_chain": "Linear steps", "diffusion": "Network"}
MIXTURE = "mixture"
# Column -> its short name.
SETTING = {
    "config.target.dim": "dim",
    "config.sampler.n_steps": "n_steps",
    "config.target.mean": "mean",
    "config.target.covariance": "covariance",
}
COLUMNS = ("run", "state", "arm", "seed", "trajectories", "metric", "value", *SETTING)
# The setting from which one thing at a time is changed.
BASE: Mapping[str, float] = {"dim": 4, "n_steps": 4, "mean": 0.3}
MEASURED = ["run", "seed", "trajectories"]


def noises(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each run, seed, moment and estimator: with arm, SETTING, noise, gradient, relative, exact (0 or 1) and kl.

    Of runs on Gaussian targets only the moment before training is there. relative is NaN at the optimum.
    """
    require_columns(table, COLUMNS)
    done = table[table["state"] == "done"].rename(columns=SETTING).astype({"run": str, "arm": str, "metric": str})
    parts = done["metric"].str.extract(r"^gradients/(?P<statistic>\w+)/forward/(?P<estimator>\w+)/on_policy/\d+$")
    rows = pd.concat([done[[*MEASURED, "value"]], parts], axis=1)
    rows = rows[rows["statistic"].isin(["variance", "reference_norm", "exact"])]
    if rows.empty:
        raise TableError("no run that measures gradients is done yet: nothing to draw")
    wide = rows.pivot(index=[*MEASURED, "estimator"], columns="statistic", values="value").reset_index()
    wide = wide.merge(_settings(done), "left", on="run")
    wide["kl"] = _divergence(wide, done)
    times = wide["estimator"].map(TIMES).fillna(1.0)
    wide["noise"] = np.sqrt(wide["variance"]) / times
    # where no exact one exists that is the length on a large batch, which is least noisy without the score of P_F
    landing = wide[wide["estimator"] == "sticking_the_landing"].rename(columns={"reference_norm": "gradient"})
    wide = wide.merge(landing[[*MEASURED, "gradient"]], "left", on=MEASURED)
    wide["relative"] = (wide["noise"] / wide["gradient"]).where(wide["kl"] > 0)
    return wide[wide["arm"].eq(MIXTURE) | wide["trajectories"].eq(0)].drop(columns=["variance", "reference_norm"])


def _settings(done: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each run: arm and SETTING, a mixture without one mean and covariance."""
    runs = done.drop_duplicates("run")[["run", "arm", *SETTING.values()]].astype({"dim": int, "n_steps": int})
    numbers = {name: pd.to_numeric(runs[name].astype(str), errors="coerce") for name in ("mean", "covariance")}
    return runs.assign(**numbers)


def _divergence(rows: pd.DataFrame, done: pd.DataFrame) -> np.ndarray:
    """Return KL(P_F, P_B) of each row: in closed form before training, -ELBO where log Z = 0 along training."""
    mean, covariance, dim = (rows[name].to_numpy(dtype=np.float64) for name in ("mean", "covariance", "dim"))
    of_gaussians = dim / 2 * (np.log(covariance) + (1 + mean**2) / covariance - 1)
    elbo = done.loc[done["metric"] == "elbo", [*MEASURED, "value"]].rename(columns={"value": "elbo"})
    along = -rows[MEASURED].merge(elbo, "left", on=MEASURED)["elbo"].to_numpy(dtype=np.float64)
    return np.where(rows["arm"] == MIXTURE, along, of_gaussians)


def varied(rows: pd.DataFrame, arm: str, what: str) -> pd.DataFrame:
    """Return the rows of an arm in which `what` (dim, n_steps or mean) is varied and the rest is that of BASE."""
    chosen = rows["arm"] == arm
    for key, value in BASE.items():
        if key != what:
            chosen &= rows[key] == value
    return rows[chosen]


def by_setting(rows: pd.DataFrame, what: str, estimator: str, value: str) -> pd.DataFrame:
    """Return the values of an estimator: a row for each setting of `what`, a column for each seed."""
    return rows[rows["estimator"] == estimator].pivot_table(index=what, columns="seed", values=value)
