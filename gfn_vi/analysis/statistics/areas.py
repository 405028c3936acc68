"""The area under the curve of a run's headline: what the second stage of a search compares."""

from __future__ import annotations

from pathlib import Path

from gfn_vi.analysis.statistics.estimates import area_under_curve, with_worst
from gfn_vi.core.headline import Headline
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.headline import headline_of
from gfn_vi.runs.reading import read_run


def headline_area(run: Path, headline: Headline | None = None) -> float:
    """Return the mean of a metric over the training of the run at `run` and over its replicas, in the units of the metric.

    headline: the metric, by default what the run itself is judged by. A replica counts as the headline's worst from the
    evaluation on at which it was frozen, and where it is not finite. Raises TableError for a run without a headline or a curve.
    """
    judged_by = headline or headline_of(RunDirectory(run).status())
    if judged_by is None:
        raise TableError(f"{run} does not say which metric it is judged by: name one")
    metrics = read_run(run).metrics
    table = None if metrics is None else metrics.to_pandas()
    found = None if table is None else table[table["metric"] == judged_by.metric]
    if table is None or found is None or found["trajectories"].nunique() < 2:
        raise TableError(f"{run} has no curve of the {judged_by.words}: choose an evaluation that records {judged_by.metric}")
    curves = found.pivot(index="replica", columns="trajectories", values="value")
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)].groupby("replica")["trajectories"].min()
    for replica, since in frozen.items():
        curves.loc[replica, curves.columns >= since] = judged_by.worst
    return float(area_under_curve(curves.columns.to_numpy(), with_worst(curves.to_numpy(), judged_by.worst)).mean())
