"""The tidy table: every recorded number of every run of an experiment, with what the runs differ in.

One row is one value: run, state, arm, seed | step, trajectories, reward_calls, wall_seconds, replica, metric, value |
<choice> for each choice that a run names (target, objective, ...) | config.<key> for each key of the configuration that differs
among runs of the same choices. `seed` is that of the replica: replica r of
a run with config.seed = s is the single run with seed s + r (core/seeds.py): equal seeds, equal random numbers. Rates
that are lists, one for each replica, are numbers here: a run of several rates has the rows of several runs of one rate.
What is constant within a run is categorical (a code per row), so that 10,000 runs fit in memory; keys that are the same
everywhere would only widen the table and stay in config.yaml.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from gfn_vi.analysis.reading.choices import choices_of, column_of, is_setting, said_by_choices, without_copies
from gfn_vi.runs.folders import TableError, find_runs
from gfn_vi.runs.reading import Run, read_run

RATES = "optimizer.lr_"
TUNING = "tuning_seeds"
WALL_CLOCK_COLUMNS = frozenset({"wall_seconds"})


def collect(folder: str | Path, keys: Iterable[str] = (), say: Callable[[str], object] = print) -> pd.DataFrame:
    """The table of the runs under `folder` (outputs/<experiment>), sorted by run name, then as recorded.

    keys: dotted configuration keys to have as columns even if they are the same in all runs. say: receives one line
    that counts the runs by state; those that cannot be read give no rows. TableError if nothing can be read.
    """
    runs = [read_run(path) for path in find_runs(Path(folder))]
    summary = summarize(runs)
    say(summary)
    usable = without_copies([run for run in runs if run.metrics is not None])
    if not usable:
        raise TableError(f"{folder}: no run has metrics yet ({summary})")
    recorded = [run.metrics for run in usable if run.metrics is not None]
    counts = np.array([metrics.num_rows for metrics in recorded])
    metrics = pa.concat_tables(recorded).unify_dictionaries().to_pandas()
    columns: dict[str, Any] = {
        "run": _per_run([run.name for run in usable], counts),
        "state": _per_run([run.state for run in usable], counts),
        "arm": _per_run([run.config.get("arm_name") for run in usable], counts),
        "seed": _seeds(usable, counts, metrics["replica"].to_numpy()),
    }
    columns |= dict(metrics.items())
    replica = metrics["replica"].to_numpy()
    choices = choices_of(usable)
    columns |= {column_of(name): _per_run(values, counts) for name, values in choices.items()}
    varying = _varying(usable)
    # a list of rates is one value of the configuration, but says something else of every replica: no choice tells that
    by_replica = {key for key in varying if key.startswith(RATES) and any(_listed(run.config.get(key)) for run in usable)}
    told = said_by_choices(varying, usable, choices) - by_replica
    for key in sorted(varying - told | set(keys) | _tuning(usable)):
        columns[f"config.{key}"] = _column(key, usable, counts, replica)
    return pd.DataFrame(columns, copy=False)


def summarize(runs: Sequence[Run]) -> str:
    """ "12 runs: 10 done, 1 running, 1 without metrics"."""
    counts = Counter(run.label for run in runs)
    parts = sorted(counts.items(), key=lambda item: (item[0] != "done", -item[1], item[0]))
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: " + ", ".join(f"{count} {label}" for label, count in parts)


def require_columns(table: pd.DataFrame, names: Iterable[str]) -> None:
    """TableError naming the columns that a figure needs and the table lacks."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise TableError(f"the table has no column {', '.join(missing)}; it has {', '.join(table.columns)}")


def write_table(table: pd.DataFrame, folder: str | Path) -> tuple[Path, Path]:
    """Write table.parquet (the hash is in its metadata) and table.csv; an interrupted write leaves the old ones."""
    parquet, csv = Path(folder) / "table.parquet", Path(folder) / "table.csv"
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), b"table_hash": table_hash(table).encode()})
    _replace(parquet, lambda path: pyarrow.parquet.write_table(arrow, path))
    _replace(csv, lambda path: pyarrow.csv.write_csv(arrow, path))
    return parquet, csv


def table_hash(table: pd.DataFrame) -> str:
    """16 hexadecimal digits for what was measured: wall-clock columns aside, in any order of rows and columns."""
    names = sorted(set(table.columns) - WALL_CLOCK_COLUMNS)
    rows = np.zeros(len(table), dtype=np.uint64)
    for name in names:
        rows = rows * np.uint64(1_000_003) ^ _hashes(table[name])
    rows.sort()
    return hashlib.sha256(json.dumps(names).encode() + rows.tobytes()).hexdigest()[:16]


def _hashes(column: pd.Series[Any]) -> np.ndarray:
    """One uint64 per row, by value and not by storage: 2, 2.0 and a category 2 are the same."""
    codes, uniques = pd.factorize(column)
    values: np.ndarray = np.asarray(uniques)
    number = values.dtype.kind in "iuf"
    values = values.astype(np.float64) if number else np.array([str(value) for value in values], dtype=object)
    missing = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)  # code -1 takes the last entry
    return np.concatenate([pd.util.hash_array(values, categorize=False), missing])[codes]


def _varying(runs: Sequence[Run]) -> set[str]:
    """Keys whose value differs among the runs or that some lack; arm_name is the column `arm`."""
    keys = {key for run in runs for key in run.config if is_setting(key)}
    first = runs[0].config
    by_run = {key for key in keys if any(run.config.get(key) != first.get(key) for run in runs)}
    rates = {key for key in keys if key.startswith(RATES) and any(_listed(run.config.get(key)) for run in runs)}
    within = {key for key in rates if len({rate for run in runs for rate in _rates(run.config.get(key))}) > 1}
    return (by_run - rates | within) - {"arm_name", TUNING}


def _tuning(runs: Sequence[Run]) -> set[str]:
    """The key of the seeds on which settings were chosen, if any run has some: see seeds.py."""
    return {TUNING} if any(_listed(run.config.get(TUNING)) for run in runs) else set()


def _listed(value: object) -> list[Any]:
    """The items of a list, which a flat configuration has as its JSON text; none for anything else."""
    if not (isinstance(value, str) and value.startswith("[")):
        return []
    try:
        items = json.loads(value)
    except ValueError:
        return []
    return items if isinstance(items, list) else []


def _rates(value: object) -> list[Any]:
    return _listed(value) or [value]


def _column(key: str, runs: Sequence[Run], counts: np.ndarray, replica: np.ndarray) -> pd.Categorical:
    """Return the configuration's value of `key` for each row; for a list of rates, the rate of the row's replica."""
    values = [run.config.get(key) for run in runs]
    if not (key.startswith(RATES) and any(map(_listed, values))):
        return _per_run(values, counts)
    ends = np.cumsum(counts)
    flat: list[Any] = []
    rows: list[np.ndarray] = []
    for value, start, end in zip(values, ends - counts, ends, strict=True):
        rates = _rates(value)
        rows.append(len(flat) + (replica[start:end] if len(rates) > 1 else np.zeros(end - start, dtype=np.int64)))
        flat += rates
    return _per_run(flat, np.ones(len(flat), dtype=np.int64)).take(np.concatenate(rows))


def _seeds(runs: Sequence[Run], counts: np.ndarray, replica: np.ndarray) -> np.ndarray:
    """The seed of each row's replica; NaN for a run whose configuration has no whole number as seed, and no list of them."""
    found = [run.config.get("seed") for run in runs]
    seeds = np.array([seed if isinstance(seed, int) else np.nan for seed in found])  # integers if all are
    rows = np.repeat(seeds, counts) + replica
    for seed, end, count in zip(found, np.cumsum(counts), counts, strict=True):
        if _listed(seed):
            rows[end - count : end] = np.array(_listed(seed))[replica[end - count : end]]
    return rows if np.isnan(rows).any() else rows.astype(np.int64)


def _per_run(values: Sequence[Any], counts: np.ndarray) -> pd.Categorical:
    """A categorical column from one value per run: of numbers if all are numbers, else of text; null is missing."""
    present = [value for value in values if value is not None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        values = [v if v is None or isinstance(v, str) else json.dumps(v, default=str) for v in values]
    categories = sorted({value for value in values if value is not None})
    code = {value: position for position, value in enumerate(categories)} | {None: -1}
    return pd.Categorical.from_codes(np.repeat([code[value] for value in values], counts), pd.Index(categories))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
