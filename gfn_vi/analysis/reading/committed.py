"""The results of an experiment that are committed: what its figure is drawn from, small enough for a repository.

    experiments/<name>/results/  table.parquet  runs.json  arrays.npz

table.parquet is the tidy table of the finished runs (reading/table.py). runs.json has for each run its configuration, the command
it was started with, the commit, the versions and the machine that made it; what all runs share is written once. arrays.npz has
the arrays that the figure looks at, each once under a digest of its content; runs.json says which run has which. So the runs can
be put together with others: they are told apart by their names, which hold a hash of the configuration.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from gfn_vi.analysis.reading.choices import CHOICES, is_setting
from gfn_vi.core.command_line import key_of
from gfn_vi.core.headline import Headline
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import NoRunsError, TableError, find_runs
from gfn_vi.runs.headline import headline_of
from gfn_vi.runs.identity import INFRASTRUCTURE_KEYS
from gfn_vi.runs.manifest import read_manifest
from gfn_vi.runs.provenance import made_here
from gfn_vi.runs.reading import METRIC_TYPES, Run, read_run

TABLE, RUNS = "table.parquet", "runs.json"
TOLD = ("git_commit", "git_local_changes", "versions", "wall_seconds", "updated", "headline")  # of status.json
SHARED, OWN, USES = "of_all_runs", "runs", "arrays"  # sections of runs.json
Arrays = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Committed:
    """Finished runs, who made each (command, commit, machine, versions, headline), and what pictures need of them."""

    runs: list[Run]
    made: dict[str, dict[str, Any]]
    arrays: Arrays = field(default_factory=dict)

    def joined(self, others: Committed) -> Committed:
        """Return both together; a run that both have is the one of these results."""
        names = {run.name for run in self.runs}
        runs = [*self.runs, *(run for run in others.runs if run.name not in names)]
        return Committed(
            sorted(runs, key=lambda run: run.name), others.made | self.made, Either(self.arrays, others.arrays, names)
        )

    def headlines(self) -> list[Headline]:
        """Return what the runs are judged by, the most frequent first."""
        told = [found for run in self.runs if (found := headline_of(self.made[run.name])) is not None]
        return sorted(dict.fromkeys(told), key=told.count, reverse=True)


class Either(Mapping[str, Mapping[str, np.ndarray]]):
    """Arrays of the runs in `names` from the first, of all others from the second."""

    def __init__(self, first: Arrays, second: Arrays, names: set[str]) -> None:
        self.first, self.second, self.names = first, second, names

    def __getitem__(self, run: str) -> Mapping[str, np.ndarray]:
        return self.first[run] if run in self.names and run in self.first else self.second[run]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.first, *self.second}))

    def __len__(self) -> int:
        return len({*self.first, *self.second})


class Watched(Mapping[str, Mapping[str, np.ndarray]]):
    """Arrays that remember which of them somebody looked at, as run -> names."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays, self.seen = arrays, dict[str, set[str]]()

    def __getitem__(self, run: str) -> Mapping[str, np.ndarray]:
        return _WatchedRun(self.arrays[run], self.seen.setdefault(run, set()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class _WatchedRun(Mapping[str, np.ndarray]):
    def __init__(self, content: Mapping[str, np.ndarray], seen: set[str]) -> None:
        self.content, self.seen = content, seen

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.content[name]
        self.seen.add(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def finished_runs(folder: Path, arrays: Arrays) -> Committed:
    """Return the finished runs under a folder of runs, as results have them. Raises NoRunsError where none is done.

    arrays: those of the folder.
    """
    planned = read_manifest(folder)
    runs = [run for run in map(read_run, find_runs(folder)) if run.state == "done" and run.metrics is not None]
    if not runs:
        raise NoRunsError(f"{folder}: no run is done yet")
    made = {}
    for run in runs:
        status = RunDirectory(folder / run.name).status() or {}
        made[run.name] = {key: status[key] for key in TOLD if key in status} | made_here(status.get("host"))
        made[run.name] |= {"device": run.config.get("device"), "state": status.get("state")}
        if run.name in planned:
            words = planned[run.name].overrides
            made[run.name]["overrides"] = [word for word in words if key_of(word).partition(".")[0] not in INFRASTRUCTURE_KEYS]
    return Committed(runs, made, arrays)


def read_committed(folder: Path) -> Committed:
    """Return what `write_committed` wrote to a folder. Raises NoRunsError where nothing is there, TableError for damage."""
    if not (folder / RUNS).is_file():
        raise NoRunsError(f"{folder} has no {TABLE} and no {RUNS} yet")
    try:
        told = json.loads((folder / RUNS).read_bytes())
        rows = pyarrow.parquet.read_table(folder / TABLE, columns=["run", *METRIC_TYPES])
        names = rows["run"].cast(pa.string())
        rows = rows.select(list(METRIC_TYPES)).cast(pa.schema(METRIC_TYPES))
        shared, own = told[SHARED], told[OWN]
        runs, made = [], {}
        for name in sorted(own):
            config, about = (shared[part] | own[name][part] for part in ("config", "made"))
            metrics = rows.filter(pa.compute.equal(names, name))
            runs.append(Run(name, "done", "done", None, config, metrics, own[name].get("sources", {})))
            made[name] = about
        return Committed(runs, made, _arrays(folder / ARRAYS, told.get(USES, {})))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise TableError(f"{folder}: its {TABLE}, {RUNS} or {ARRAYS} is damaged ({error}); restore it, or export anew") from error


def write_committed(
    folder: Path, results: Committed, table: pd.DataFrame, kept: Mapping[str, Sequence[str]], cut: Sequence[str]
) -> None:
    """Write the three files.

    table: the rows to keep; kept: run -> the names of its arrays to keep; cut: names of arrays kept of the first replica alone.
    """
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    pyarrow.parquet.write_table(arrow, folder / TABLE, compression="zstd", compression_level=19, version="2.6")
    written = set(table["run"].unique())
    runs = [run for run in results.runs if run.name in written]
    whole = {run.name: {"config": _config(run), "made": results.made[run.name]} for run in runs}
    shared = {part: _common([entry[part] for entry in whole.values()]) for part in ("config", "made")}
    own = {
        run.name: {part: {k: v for k, v in whole[run.name][part].items() if k not in shared[part]} for part in shared}
        | ({"sources": dict(run.sources)} if run.sources else {})
        for run in runs
    }
    uses, content = _distinct(results.arrays, kept, cut)
    told = {SHARED: shared, OWN: own, USES: uses}
    (folder / RUNS).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    if content:
        _write_arrays(folder / ARRAYS, content)


def _config(run: Run) -> dict[str, Any]:
    """Return the configuration without what says where and how visibly a run happened: no path of a machine."""
    return {key: value for key, value in run.config.items() if is_setting(key) or key.startswith(CHOICES)}


def _common(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all the mappings have, with the same value of the same type."""
    first, *rest = entries
    return {k: v for k, v in first.items() if all(k in of and repr(of[k]) == repr(v) for of in rest)}


def _distinct(
    arrays: Arrays, kept: Mapping[str, Sequence[str]], cut: Sequence[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return run -> name -> key, and key -> array, with each content once."""
    uses: dict[str, dict[str, str]] = {}
    content: dict[str, np.ndarray] = {}
    for run in sorted(kept):
        for name in sorted(kept[run]):
            array = np.asarray(arrays[run][name])
            array = np.ascontiguousarray(array[:1] if name in cut else array)
            key = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()[:16]
            uses.setdefault(run, {})[name] = key
            content[key] = array
    return uses, content


def _write_arrays(path: Path, content: Mapping[str, np.ndarray]) -> None:
    """Write an npz file without a date, so that the same arrays are the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key in sorted(content):
            data = io.BytesIO()
            np.lib.format.write_array(data, content[key], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), data.getvalue(), zipfile.ZIP_DEFLATED, 9)


def _arrays(path: Path, uses: Mapping[str, Mapping[str, str]]) -> Arrays:
    if not uses:
        return {}
    with np.load(path, allow_pickle=False) as stored:
        content = {key: stored[key] for key in stored.files}
    return {run: {name: content[key] for name, key in of.items()} for run, of in uses.items()}
