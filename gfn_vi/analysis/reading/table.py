"""The tidy table: every recorded number of every run of an experiment, with what the runs differ in.

One row is one value: run, state, arm, seed | step, trajectories, reward_calls, wall_seconds, replica, metric, value |
<choice> for each choice that a run names (target, objective, ...) | config.<key> for each key of the configuration that differs
among runs of the same choices, config.source.<file> for each of the user's files that differs.
`seed` is that of the replica: replica r of a run with config.seed = s is the single run with seed s + r (core/seeds.py): equal
seeds, equal random numbers. Rates that are lists, one for each replica, are numbers here: a run of several rates has the rows of
several runs of one rate.
What is constant within a run is categorical (a code per row), so that 10,000 runs fit in memory; keys that are the same
everywhere would only widen the table and stay in config.yaml.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from gfn_vi.analysis.reading.choices import PREFIX, choices_of, column_of, is_setting, said_by_choices
from gfn_vi.analysis.reading.joining import read_folders
from gfn_vi.analysis.reading.seeds import without_repeats
from gfn_vi.analysis.reading.sources import differing_sources
from gfn_vi.core.command_line import command
from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import TableError, find_runs, runs_below
from gfn_vi.runs.manifest import read_manifest
from gfn_vi.runs.places import Folders, each_of
from gfn_vi.runs.reading import Run, read_run
from gfn_vi.runs.replicas import TUNING
from gfn_vi.runs.stored_config import items_of

MOST_NAMED = 3  # damaged runs in a line
RATES = "optimizer.lr_"
WALL_CLOCK_COLUMNS = frozenset({"wall_seconds"})


def collect(folders: str | Folders, keys: Iterable[str] = (), say: Callable[[str], object] = print) -> pd.DataFrame:
    """The table of the runs under a folder (outputs/<experiment>), or under several, sorted by run name, then as recorded.

    keys: dotted configuration keys to have as columns even if they are the same in all runs. say: receives one line
    that counts the runs by state, those that cannot be read give no rows; then one for each run whose seeds another one has,
    too (its rows are left out: no seed counts twice), and for what else is not in the table. TableError if nothing can be read.
    """
    every = each_of(Path(folders) if isinstance(folders, str) else folders)
    runs, joined = ([read_run(path) for path in find_runs(every[0])], []) if len(every) == 1 else read_folders(every)
    summary = summarize(runs)
    say(summary)
    usable, remarks = without_repeats([run for run in runs if run.metrics is not None])
    for line in (*_damaged(runs), *joined, *remarks, *(line for each in every for line in _not_there(each, runs))):
        say(line)
    if not usable:
        raise TableError(f"{', '.join(map(str, every))}: no run has metrics yet ({summary})")
    return tabulate(usable, keys)


def tabulate(runs: Sequence[Run], keys: Iterable[str] = ()) -> pd.DataFrame:
    """Return the table of these runs, in this order; each has metrics, and no seed is there twice. keys: as above."""
    recorded = [run.metrics for run in runs if run.metrics is not None]
    metrics = pa.concat_tables(recorded).unify_dictionaries().to_pandas()
    rows = Rows(np.repeat(np.arange(len(runs)), [part.num_rows for part in recorded]), metrics["replica"].to_numpy())
    columns: dict[str, Any] = {
        "run": rows.column([run.name for run in runs]),
        "state": rows.column([run.state for run in runs]),
        "arm": rows.column([run.config.get("arm_name") for run in runs]),
        "seed": _seeds(runs, rows),
    }
    choices = choices_of(runs)
    columns |= dict(metrics.items()) | {column_of(name): rows.column(values) for name, values in choices.items()}
    varying = _varying(runs)
    # a list of rates is one value of the configuration, but says something else of every replica: no choice tells that
    by_replica = {key for key in varying if any(isinstance(value, list) for value in _values(key, runs))}
    told = said_by_choices(varying, runs, choices) - by_replica
    tuning = {TUNING} if any(items_of(run.config.get(TUNING)) for run in runs) else set()
    for key in sorted(varying - told | set(keys) | tuning):
        columns[f"{PREFIX}{key}"] = rows.column(_values(key, runs))
    columns |= {f"{PREFIX}{key}": rows.column(digests) for key, digests in differing_sources(runs).items()}
    return pd.DataFrame(columns, copy=False)


@dataclass(frozen=True)
class Rows:
    """The run, as a position, and the replica of each row of the table."""

    run: np.ndarray
    replica: np.ndarray

    def spread(self, values: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
        """Return one value per run, or a list with one for each of its replicas, as (flat list, position in it of each row)."""
        lengths = np.array([len(value) if isinstance(value, list) else 1 for value in values])
        starts = np.cumsum(lengths) - lengths
        return _flat(values), starts[self.run] + np.where(lengths[self.run] > 1, self.replica, 0)

    def column(self, values: Sequence[Any]) -> pd.Categorical:
        """Return a categorical column, of numbers if all values are numbers, else of text; null is missing."""
        flat, places = self.spread(values)
        present = [value for value in flat if value is not None]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
            flat = [v if v is None or isinstance(v, str) else json.dumps(v, default=str) for v in flat]
        categories = sorted({value for value in flat if value is not None})
        code = {value: position for position, value in enumerate(categories)} | {None: -1}
        return pd.Categorical.from_codes(np.array([code[value] for value in flat])[places], pd.Index(categories))


def summarize(runs: Sequence[Run]) -> str:
    """Return how many runs there are of each kind: "12 runs: 10 done, 1 running, 1 without metrics"."""
    counts = Counter(run.label for run in runs)
    parts = sorted(counts.items(), key=lambda item: (item[0] != "done", -item[1], item[0]))
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: " + ", ".join(f"{count} {label}" for label, count in parts)


def _damaged(runs: Sequence[Run]) -> list[str]:
    """Return a line that names runs of which a file is damaged, and how; none without any."""
    found = [f"{run.name} ({run.damage})" for run in runs if run.damage is not None]
    return [f"damaged: {listed(found, MOST_NAMED, '; ')}"] if found else []


def _not_there(folder: Path, runs: Sequence[Run]) -> list[str]:
    """Return a line for jobs of the sweep that never became a run, and one for each folder inside that holds runs."""
    present = {run.name for run in runs}
    absent = [plan.refused is not None for name, plan in read_manifest(folder).items() if name not in present]
    kinds = {"refused": sum(absent), "never started": len(absent) - sum(absent)}
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
    sweep = [f"asked for, but no run: {told}; see {command('status')} {folder} --once"] if told else []
    return [*sweep, *runs_below(folder)]


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
    replace_file(parquet, lambda path: pyarrow.parquet.write_table(arrow, path))
    replace_file(csv, lambda path: pyarrow.csv.write_csv(arrow, path))
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
    """Keys whose value differs among the runs, or their replicas, or that some lack; arm_name is the column `arm`."""
    keys = {key for run in runs for key in run.config if is_setting(key)} - {"arm_name", TUNING}
    found = {key: _flat(_values(key, runs)) for key in keys}
    return {key for key, values in found.items() if any(value != values[0] for value in values)}


def _values(key: str, runs: Sequence[Run]) -> list[Any]:
    """Return the configuration's value in each run; of a rate that is a list, its items, one for each replica."""
    values = [run.config.get(key) for run in runs]
    return [items_of(value) or value for value in values] if key.startswith(RATES) else values


def _flat(values: Sequence[Any]) -> list[Any]:
    """The values of runs, those of their replicas one by one."""
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _seeds(runs: Sequence[Run], rows: Rows) -> np.ndarray:
    """The seed of each row's replica; NaN for a run whose configuration has no whole number as seed, and no list of them."""
    n = rows.replica.max() + 1
    seeds = [run.config.get("seed") for run in runs]
    flat, places = rows.spread([list(range(s, s + n)) if isinstance(s, int) else items_of(s) or np.nan for s in seeds])
    return np.array(flat)[places]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replace the file by what `write` writes to the path that it is given; an interrupted write leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
