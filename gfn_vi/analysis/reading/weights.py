"""Which recorded numbers rest on importance weights that do not carry them; the rule is in core/reliability.py."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from gfn_vi.core.reliability import WEIGHTS_OF, is_reliable, names_of

ALWAYS = ("frozen", "score_calls")  # metrics that curves of any other metric may ask for
MOMENT = ["run", "replica", "trajectories"]


def rows_behind(table: pd.DataFrame, metrics: Iterable[str], at_end: Iterable[str] = ()) -> pd.DataFrame:
    """Return the rows of the metrics and of what their curves ask for: weights, when replicas were frozen, calls of scores.

    at_end: metrics of which only the last evaluation of each run is kept. What training records between evaluations is left out,
    but for the moments at which replicas were first frozen.
    """
    named = list(metrics)
    weights = [name for metric in named for of in WEIGHTS_OF.get(metric, ()) for name in names_of(of)]
    is_last = table["trajectories"] == table.groupby("run", observed=True)["trajectories"].transform("max")
    kept = table["metric"].isin([*named, *weights]) | (table["metric"].isin(list(at_end)) & is_last)
    frozen = table[(table["metric"] == "frozen") & (table["value"] != 0)]
    first = frozen.groupby(["run", "replica"], observed=True)["trajectories"].min()
    moments = {*table.loc[kept, "trajectories"], *first}
    return table[kept | (table["metric"].isin(ALWAYS) & table["trajectories"].isin(moments))]


def carried(rows: pd.DataFrame, metric: str) -> pd.DataFrame | None:
    """Return for each (run, replica), a row, and each number of trajectories, a column, whether the metric's weights carry it.

    None for a metric that rests on no weights, and where none were recorded; of a moment that lacks them they do not.
    """
    pairs = [names_of(weights) for weights in WEIGHTS_OF.get(metric, ())]
    names = [name for pair in pairs for name in pair]
    found = rows[rows["metric"].isin(names)]
    if found.empty:
        return None
    found = found.astype({"metric": str}).pivot_table("value", MOMENT, "metric", "last", observed=True).reindex(columns=names)
    good = pd.concat([is_reliable(found[n_effective], found[k]) for n_effective, k in pairs], axis=1).all(axis=1)
    return good.unstack("trajectories", fill_value=False)


def carried_at_the_end(rows: pd.DataFrame, metric: str) -> pd.Series | None:
    """Return for each (run, replica) whether the weights behind its last value of the metric carry it; None as above.

    Runs may end at different numbers of trajectories; those without recorded weights are left out.
    """
    found = carried(rows, metric)
    if found is None:
        return None
    last = rows[rows["metric"] == metric].groupby(MOMENT[:2], observed=True)["trajectories"].max()
    last = last[last.index.isin(found.index)]
    return pd.Series([bool(found.at[key, moment]) if moment in found else False for key, moment in last.items()], last.index)
