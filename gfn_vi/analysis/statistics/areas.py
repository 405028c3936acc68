"""The area under a run's JSD curve: what the second stage of a search compares."""

from __future__ import annotations

import math
from pathlib import Path

from gfn_vi.analysis.statistics.estimates import area_under_curve, with_worst
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_run

WORST = math.log(2)


def jsd_area(run: Path) -> float:
    """Mean exact JSD (nats) over the training of the run at `run` and over its replicas; frozen ones count as log 2.

    TableError where it has no curve.
    """
    metrics = read_run(run).metrics
    table = None if metrics is None else metrics.to_pandas()
    jsd = None if table is None else table[table["metric"] == "jsd"]
    if table is None or jsd is None or jsd["trajectories"].nunique() < 2:
        raise TableError(f"{run} has no curve of the exact JSD: search with evaluation=exact on an enumerable target")
    curves = jsd.pivot(index="replica", columns="trajectories", values="value")
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)].groupby("replica")["trajectories"].min()
    for replica, since in frozen.items():
        curves.loc[replica, curves.columns >= since] = WORST
    return float(area_under_curve(curves.columns.to_numpy(), with_worst(curves.to_numpy(), WORST)).mean())
