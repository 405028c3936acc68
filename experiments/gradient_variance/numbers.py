"""The numbers behind the figure of gradient estimators: which are equal, and what each measured at the end of its arm.

A row of numbers.csv is a statistic of an estimator under a behavior, as median and 95% bootstrap interval over replicas:
cosine (with the exact gradient), bias_along (the part of the exact gradient that is missing or too much, in expectation),
signal_to_noise (|exact gradient| / sqrt(total variance)) and times_tb, its ratio to that of TB on the same replica.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from gfn_vi.experiments.gradient_variance.estimators import (
    TB,
    at_end,
    chosen,
    differences,
    equal_groups,
    roles_of,
    signal_to_noise,
)

from gfn_vi.analysis.statistics.estimates import interval


def equal_rows(rows: pd.DataFrame, arms: Iterable[str]) -> pd.DataFrame:
    """Return a row per group of equal estimators: the largest difference of cosine and signal-to-noise ratio inside it."""
    found = []
    for arm in arms:
        for role in roles_of(rows, arm):
            apart = differences(chosen(rows, arm, role=role))
            for group in equal_groups(apart):
                inside = apart.loc[list(group), list(group)].to_numpy().max()
                found.append({"arm": arm, "role": role, "estimators": " ".join(group), "largest_difference": inside})
    return pd.DataFrame(found)


def number_rows(rows: pd.DataFrame, arms: Iterable[str]) -> pd.DataFrame:
    """Return the columns arm, role, estimator, behavior, statistic, median, low and high at the last measurement of each arm."""
    keys = ["arm", "role", "estimator", "behavior"]
    found = []
    for arm in arms:
        last = at_end(rows, arm)
        for role in roles_of(rows, arm):
            parts = [chosen(last, arm, statistic=name, role=role) for name in ("cosine", "bias_along")]
            ratio = signal_to_noise(last, arm, role)
            of_tb = ratio[ratio["estimator"] == TB].set_index(["behavior", "seed"])["value"]
            paired = ratio["value"] / of_tb.reindex(pd.MultiIndex.from_frame(ratio[["behavior", "seed"]])).to_numpy()
            parts += [ratio.assign(statistic="signal_to_noise"), ratio.assign(statistic="times_tb", value=paired)]
            for part in parts:
                for key, of in part.groupby([*keys, "statistic"]):
                    found.append(dict(zip([*keys, "statistic"], key, strict=True)) | _described(of["value"].to_numpy()))
    return pd.DataFrame(found)


def _described(values: np.ndarray) -> dict[str, float]:
    """Return median, low and high of replicas [R]; of one that is not finite all are unknown."""
    if not np.isfinite(values).all():
        return dict.fromkeys(("median", "low", "high"), np.nan)
    low, median, high = map(float, interval(values))
    return {"median": median, "low": low, "high": high}
