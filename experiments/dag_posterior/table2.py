"""Table 2 of arXiv 2210.00580 as numbers: the JSD between the exact posterior over graphs and the learned one, by arm and size.

A row is one arm at one size d under one budget: `updates` (after all of them, as published) or `reward_evaluations` (as many
as every arm of that size has made, see budgets.py). Replicas are graphs: each has its own data. A replica that became non-finite
counts as the worst value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.dag_posterior.budgets import Spending, Standing, smallest_totals, spending
from gfn_vi.experiments.measures import WORST_JSD

from gfn_vi.analysis.pictures import arms, style
from gfn_vi.analysis.pictures.arms import SIDES
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.analysis.statistics.estimates import interval

SIZE = "config.target.data.n_nodes"
OBJECTIVES = {
    name: arms.OBJECTIVES[name]
    for name in ("trajectory_balance", "modified_detailed_balance", "log_variance", "reverse_kl", "forward_kl", "wake_sleep")
}
COLORS = dict(zip(OBJECTIVES, (style.palette(6)[n] for n in (0, 1, 5, 2, 3, 4)), strict=True))  # as in the figures of grids
ARMS = tuple(name + side for side in SIDES for name in OBJECTIVES)
ROUNDING = 1e-12  # probabilities that are off by 1e-6, as float32 leaves them, have a JSD of 1e-13: below it nothing is told
UPDATES, REWARD_EVALUATIONS = "updates", "reward_evaluations"
PAPER = {  # arm -> d -> mean and standard deviation over 20 seeds
    "modified_detailed_balance_off_policy": {3: (5.32e-6, 4.15e-6), 4: (2.05e-5, 0.70e-5), 5: (4.65e-4, 1.08e-4)},
    "trajectory_balance_off_policy": {3: (3.70e-7, 2.51e-7), 4: (9.35e-6, 2.99e-6), 5: (5.44e-4, 2.47e-4)},
    "trajectory_balance": {3: (0.022, 0.007), 4: (0.123, 0.028), 5: (0.277, 0.040)},
    "reverse_kl": {3: (0.022, 0.007), 4: (0.125, 0.027), 5: (0.306, 0.042)},
    "reverse_kl_off_policy": {3: (0.014, 0.008), 4: (0.605, 0.019), 5: (0.656, 0.009)},
}
# Worst values of marginals: all probabilities wrong by one; the opposite order.
MARGINALS = {
    f"{of}_{how}": worst for of in ("edge", "path", "markov_blanket") for how, worst in (("rmse", 1.0), ("correlation", -1.0))
}

Settings = dict[tuple[str, int], Spending]  # by arm and size


def settings(table: pd.DataFrame, metric: str = "jsd", worst: float = WORST_JSD) -> Settings:
    """Return what the finished runs recorded, ordered by size, then by the arms above.

    Raises TableError for a missing column.
    """
    require_columns(table, ["arm", SIZE])
    found = {(str(arm), int(size)): of for (arm, size), of in spending(table, metric, ["arm", SIZE], worst).items()}
    order = {arm: place for place, arm in enumerate(ARMS)}
    return dict(sorted(found.items(), key=lambda item: (item[0][1], order.get(item[0][0], len(order)), item[0][0])))


def standings(found: Settings) -> dict[str, dict[tuple[str, int], Standing]]:
    """Return budget -> (arm, size) -> the results of its replicas within that budget."""
    budgets = smallest_totals(found)
    return {
        UPDATES: {key: of.at_end() for key, of in found.items()},
        REWARD_EVALUATIONS: {key: of.within(budgets[key[1]]) for key, of in found.items()},
    }


def jsd_rows(found: Settings) -> pd.DataFrame:
    """Return the columns d, arm, budget, what `described` tells, reward_calls and trajectories (means), paper_mean, paper_std.

    Within a budget that is spent before an arm's first evaluation, nothing is known of it: it has no such row.
    """
    rows = []
    for budget, by_setting in standings(found).items():
        for (arm, size), standing in by_setting.items():
            if budget == UPDATES or standing.is_trained:
                mean, std = PAPER.get(arm, {}).get(size, (math.nan, math.nan)) if budget == UPDATES else (math.nan, math.nan)
                rows.append(
                    {"d": size, "arm": arm, "budget": budget}
                    | described(standing.values)
                    | {"reward_calls": standing.reward_calls.mean(), "trajectories": standing.trajectories.mean()}
                    | {"paper_mean": mean, "paper_std": std}
                )
    return pd.DataFrame(rows).sort_values("d", kind="stable", ignore_index=True)


def marginal_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns d, arm, metric, what `described` tells: learned marginals against the exact ones, after all updates."""
    present = [name for name in MARGINALS if ((table["metric"] == name) & (table["state"] == "done")).any()]
    rows = [
        {"d": size, "arm": arm, "metric": name} | described(of.curve.final)
        for name in present
        for (arm, size), of in settings(table, name, MARGINALS[name]).items()
    ]
    columns = ["d", "arm", "metric", *described(np.zeros(1))]
    return pd.DataFrame(rows, columns=columns).sort_values("d", kind="stable", ignore_index=True)


def described(values: np.ndarray) -> dict[str, Any]:
    """Return n, mean, std (of the sample), median, low and high of replicas [R]; one replica has no spread.

    low, high: the 95% bootstrap interval of the median.
    """
    low, median, high = map(float, interval(values, "median"))
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {"n": len(values), "mean": float(values.mean()), "std": std, "median": median, "low": low, "high": high}


def csv_text(rows: pd.DataFrame) -> str:
    """Return the rows as CSV text, numbers with six digits; what is not known is empty."""
    return rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")
