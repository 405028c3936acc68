"""The area under the curve of what a run is judged by: what the second stage of a search compares."""

from __future__ import annotations

from pathlib import Path

from gfn_vi.analysis.statistics.estimates import area_under_curve, with_worst
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_run


def headline_area(run: Path, headline: Headline) -> float:
    """Mean of the headline's metric over the training of the run at `run` and over its replicas, in the metric's units.

    From where a replica was frozen it counts as the headline's worst. TableError where the run has no curve.
    """
    metrics = read_run(run).metrics
    table = None if metrics is None else metrics.to_pandas()
    curve = None if table is None else table[table["metric"] == headline.metric]
    if table is None or curve is None or curve["trajectories"].nunique() < 2:
        raise TableError(f"{run} has no curve of {headline.metric} ({headline.words}): it was measured less than twice")
    curves = curve.pivot(index="replica", columns="trajectories", values="value")
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)].groupby("replica")["trajectories"].min()
    for replica, since in frozen.items():
        curves.loc[replica, curves.columns >= since] = headline.worst
    return float(area_under_curve(curves.columns.to_numpy(), with_worst(curves.to_numpy(), headline.worst)).mean())
