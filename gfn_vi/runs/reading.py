"""Reading one run directory with tolerance: it may be running, failed, half copied or damaged.

    outputs/<experiment>/<run>/  config.yaml  status.json  metrics.csv  arrays.npz

Nothing here raises for a bad run; what is wrong with it is in `Run.label`, and `damaged` runs give no numbers at all.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from gfn_vi.runs.files import ARRAYS, COLUMNS, CONFIG, METRICS, RUN_FILES
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.places import Folders, each_of, run_in
from gfn_vi.runs.state import look_tolerantly
from gfn_vi.runs.stored_config import flatten, parsed_config

DRAWABLE = "states that can be listed, graphs, molecules or samples of a density"
SHOWN_CHARACTERS = 120  # of what is wrong with a file
_TYPES = (pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.int32(), pa.dictionary(pa.int32(), pa.string()), pa.float64())
METRIC_TYPES = dict(zip(COLUMNS, _TYPES, strict=True))


@dataclass(frozen=True)
class Run:
    """Everything that could be read of one run directory."""

    name: str
    state: str  # as runs/state.py knows it, but "done" also where a replica became non-finite
    label: str  # under which the run is counted: its state, or which of its files is damaged or missing
    error: str | None = None  # the error that the run itself reported
    config: dict[str, Any] = field(default_factory=dict)  # flat, dotted keys
    metrics: pa.Table | None = None  # columns of METRIC_TYPES
    sources: Mapping[str, str] = field(default_factory=dict)  # file of the user's that it was trained with -> digest
    damage: str | None = None  # which of its files is damaged, and how


def read_run(path: Path) -> Run:
    """Return what can be read of a run directory, whatever its state."""
    parts: dict[str, Any] = {}
    problems: dict[str, str] = {}
    damage: dict[str, str] = {}
    found = look_tolerantly(path)  # first: a run that is done has written all
    for name, read in ((CONFIG, _config), (METRICS, _metrics_of_a_done_run if found.is_finished else _metrics)):
        try:
            parts[name] = read((path / name).read_bytes())
        except FileNotFoundError:
            problems[name] = "missing"
        except (OSError, ValueError, yaml.YAMLError, pa.ArrowException) as error:  # Unicode: a ValueError
            problems[name] = "damaged"
            damage[name] = f"{name}: {' '.join(str(error).split())[:SHOWN_CHARACTERS]}"
    metrics, config = parts.get(METRICS), parts.get(CONFIG, {})
    if metrics is None:
        problems.setdefault(METRICS, "missing")
    return Run(
        path.name,
        "done" if found.is_finished else found.state,
        _label(found.state, problems),
        found.error,
        config,
        metrics if CONFIG in parts else None,
        found.sources,
        next(iter(damage.values()), None),
    )


def _label(state: str, problems: Mapping[str, str]) -> str:
    """Return "with damaged ..." before everything else, "without ..." for a done run that lacks a file, and else the state."""
    damaged = [name for name in (CONFIG, METRICS) if problems.get(name) == "damaged"]
    if damaged:
        return f"with damaged {damaged[0]}"
    if problems and state == "done":
        return f"without {next(iter(problems)).split('.')[0]}"
    return state


def _config(data: bytes) -> dict[str, Any]:
    return flatten(parsed_config(data))


def _metrics_of_a_done_run(data: bytes) -> pa.Table | None:
    """Return the rows, of which none may be cut off. Raises ValueError."""
    if data and not data.endswith(b"\n"):
        raise ValueError("the last line has no end")
    return _metrics(data)


def _metrics(data: bytes) -> pa.Table | None:
    """Return the rows; None without one. A line that is still being written has no newline yet: it is left out.

    Raises ValueError where a column is missing, and where a replica has a metric twice at one step, as where two files were put
    together.
    """
    whole = data[: data.rfind(b"\n") + 1]
    if whole.count(b"\n") < 2:
        return None
    missing = set(METRIC_TYPES) - set(whole.split(b"\n", 1)[0].decode().strip().split(","))
    if missing:
        raise ValueError(f"no column {', '.join(name for name in METRIC_TYPES if name in missing)}")
    table = pyarrow.csv.read_csv(
        pa.BufferReader(whole),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=METRIC_TYPES, include_columns=list(METRIC_TYPES)),
    )
    names = table["metric"].combine_chunks()
    places = np.stack([table["step"].to_numpy(), table["replica"].to_numpy(), names.indices.to_numpy()])
    _, rank = np.unique(places[0], return_inverse=True)
    number = (rank * (places[1].max() + 1) + places[1]) * len(names.dictionary) + places[2]
    if len(np.unique(number)) < len(number):
        raise ValueError("rows are there twice")
    return table


def read_arrays(directory: Path) -> tuple[dict[str, np.ndarray], str]:
    """Return the content of arrays.npz of a run's directory, and the digest of the file. Raises TableError without one."""
    path = directory / ARRAYS
    if not path.is_file():
        if not any((directory / name).exists() for name in RUN_FILES):
            raise TableError(f"{directory} is no run directory: expected the folder that a run prints as its last line")
        raise TableError(f"{directory} has no {ARRAYS}: it is written when the run is done, of {DRAWABLE}")
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}, hashlib.sha256(content).hexdigest()[:16]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TableError(f"{path} is damaged ({error}); delete the folder {directory} and run it again") from error


def needed_arrays(arrays: Mapping[str, Mapping[str, np.ndarray]], run: str, names: Collection[str]) -> Mapping[str, np.ndarray]:
    """Return the arrays of a run, among them those that a picture needs. Raises TableError where one is missing."""
    if run not in arrays:
        raise TableError(f"run {run} has no {ARRAYS}: delete its folder and run it again")
    if missing := set(names) - set(arrays[run]):
        raise TableError(f"{ARRAYS} of run {run} lacks {', '.join(sorted(missing))}")
    return arrays[run]


class RunArrays(Mapping[str, dict[str, np.ndarray]]):
    """The content of arrays.npz of the runs under one folder or several, by run name; a file is read when it is asked for."""

    def __init__(self, folders: Folders) -> None:
        self.folders = each_of(folders)

    def __getitem__(self, run: str) -> dict[str, np.ndarray]:
        directory = run_in(self.folders, run)
        if not (directory / ARRAYS).is_file():
            raise KeyError(run)
        return read_arrays(directory)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({path.parent.name for folder in self.folders for path in folder.glob(f"*/{ARRAYS}")}))

    def __len__(self) -> int:
        return sum(1 for _ in self)
