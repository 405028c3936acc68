"""Seeds that may be counted: each once, and none on which settings were chosen, which say nothing of how good these are.

A run says in `tuning_seeds` on which seeds its settings were chosen; the runs of a search name their own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute

from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import Run
from gfn_vi.runs.replicas import TUNING, in_their_right, repeats, replicas_of, seeds_in_words

NAMES = ("arm_name", "deviation_name")  # keys that say what a configuration is called
COLUMN = f"config.{TUNING}"
SEED_KEYS = ("seed", "replicas", TUNING, "target.data.seed")  # keys in which runs of one setting may differ
MOST_RUNS = 3  # named in the error


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without the rows of replicas that another one holds, too, and a line for each run that loses some."""
    by_name = {run.name: run for run in runs}
    order = in_their_right({run.name: (run.state == "done", run.config) for run in runs})
    repeated = {found.run: found for found in repeats({name: replicas_of(by_name[name].config) for name in order})}
    left = [_without(run, repeated[run.name].places) if run.name in repeated else run for run in runs]
    lines = [repeated[run.name].line for run in runs if run.name in repeated]
    return [run for run in left if run.metrics is None or run.metrics.num_rows > 0], [*lines, *_twins(runs, repeated)]


def _twins(runs: Sequence[Run], aside: Collection[str]) -> list[str]:
    """Return a line for each run that differs from one of another arm in nothing but the name of the arm: both stay."""
    if len({run.config.get("arm_name") for run in runs}) == 1:
        return []
    nameless = {run.name: {key: value for key, value in run.config.items() if key not in NAMES} for run in runs}
    found = repeats({name: replicas_of(config) for name, config in nameless.items() if name not in aside})
    return [
        f"the same under two names: {' and '.join([*twin.firsts, twin.run])} (seed {seeds_in_words(twin.seeds)})"
        for twin in found
    ]


def _without(run: Run, places: Sequence[int]) -> Run:
    """Return the run without the rows of the replicas in these places."""
    if run.metrics is None:
        return run
    replica = run.metrics["replica"]
    return replace(run, metrics=run.metrics.filter(pa.compute.invert(pa.compute.is_in(replica, pa.array(places, replica.type)))))


def check_seeds(table: pd.DataFrame) -> None:
    """TableError, with arms, runs and seeds, if rows have seeds on which settings of any row were chosen.

    table: as `collect` makes it; without a column of tuning seeds, nothing was tuned.
    """
    if COLUMN not in table.columns:
        return
    tuned = {seed for text in table[COLUMN].dropna().unique() for seed in json.loads(str(text))}
    found = table.loc[table["seed"].isin(tuned), ["arm", "run", "seed"]].drop_duplicates()
    if found.empty:
        return
    runs = [
        f"{run}{f' of {arm}' if isinstance(arm, str) else ''}, seeds {', '.join(f'{seed:.0f}' for seed in sorted(rows['seed']))}"
        for (arm, run), rows in found.groupby(["arm", "run"], observed=True, dropna=False, sort=True)
    ]
    raise TableError(
        f"settings were chosen on seeds of runs that are shown ({listed(runs, MOST_RUNS, '; ')}): "
        "report on other seeds than tuning_seeds, in a folder of their own"
    )
