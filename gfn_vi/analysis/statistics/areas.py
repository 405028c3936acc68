"""The area under the curve of a run's headline: what the second stage of a search compares."""

from __future__ import annotations

from pathlib import Path

from gfn_vi.analysis.reading.curves import curves
from gfn_vi.analysis.statistics.estimates import area_under_curve
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_run


def headline_area(path: Path, headline: Headline) -> float:
    """Return the mean of a metric over the training of the run at `path` and over its replicas, in the units of the metric.

    A replica counts as the headline's worst from the evaluation on at which it was frozen, and where it is not finite. Raises
    TableError for a run without a curve of the metric.
    """
    run = read_run(path)
    table = None if run.metrics is None else run.metrics.to_pandas()
    if table is None or table.loc[table["metric"] == headline.metric, "trajectories"].nunique() < 2:
        raise TableError(f"{path} has no curve of the {headline.words}: choose an evaluation that records {headline.metric}")
    table = table.assign(run=run.name, state="done", seed=table["replica"])
    (curve,) = curves(table, headline.metric, by="run", worst=headline.worst).values()
    return float(area_under_curve(curve.x, curve.values).mean())
