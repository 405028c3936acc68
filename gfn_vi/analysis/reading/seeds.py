"""Tuning seeds apart from reporting seeds: what settings were chosen on says nothing of how good they are.

A run says in `tuning_seeds` on which seeds its settings were chosen; the runs of a search name their own.
"""

from __future__ import annotations

import json

import pandas as pd

from gfn_vi.runs.folders import TableError

TUNING = "tuning_seeds"
COLUMN = f"config.{TUNING}"
SEED_KEYS = ("seed", "replicas", TUNING, "target.data.seed")  # keys in which runs of one setting may differ
MOST_RUNS = 3  # named in the error


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
    rest = f" and {len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else ""
    raise TableError(
        f"settings were chosen on seeds of runs that are shown ({'; '.join(runs[:MOST_RUNS])}{rest}): "
        "report on other seeds than tuning_seeds, in a folder of their own"
    )
