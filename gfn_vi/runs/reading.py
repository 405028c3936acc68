"""One run directory, read with tolerance: it may be running, failed, half copied or damaged.

    outputs/<experiment>/<run>/  config.yaml  status.json  metrics.csv  arrays.npz

Nothing here raises for a bad run; what is wrong with it is in `Run.label`, and `damaged` runs give no numbers at all.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from gfn_vi.core.errors import RunError
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.folders import TableError

METRIC_TYPES = {
    "step": pa.int64(),
    "trajectories": pa.int64(),
    "reward_calls": pa.int64(),
    "wall_seconds": pa.float64(),
    "replica": pa.int32(),
    "metric": pa.dictionary(pa.int32(), pa.string()),
    "value": pa.float64(),
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 10 times faster, and sweeps have thousands of runs


@dataclass(frozen=True)
class Run:
    """What could be read of one run directory."""

    name: str
    state: str  # of status.json: running, done, failed, interrupted; "unknown" without one
    label: str  # under which the run is counted: its state, or what is wrong with it (killed, diverged, damaged, ...)
    error: str | None = None  # the error that the run itself reported
    config: dict[str, Any] = field(default_factory=dict)  # flat, dotted keys
    metrics: pa.Table | None = None  # columns of METRIC_TYPES


def read_run(path: Path) -> Run:
    """Read a run directory, whatever its state."""
    parts: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, read in (("status.json", _status), ("config.yaml", _config), ("metrics.csv", _metrics)):
        try:
            parts[name] = read((path / name).read_bytes())
        except FileNotFoundError:
            problems[name] = "missing"
        except (OSError, ValueError, yaml.YAMLError, pa.ArrowException):  # JSON and Unicode: ValueErrors
            problems[name] = "damaged"
    status = parts.get("status.json", {})
    state, error = str(status.get("state", "unknown")), status.get("error")
    metrics, config = parts.get("metrics.csv"), parts.get("config.yaml", {})
    if metrics is None:
        problems.setdefault("metrics.csv", "missing")
    label = _label(state, problems)
    if label == "running":
        label = _confirmed(RunDirectory(path))
    if label == "done" and error:  # a replica became non-finite
        label = "diverged"
    return Run(path.name, state, label, error, config, metrics if "config.yaml" in parts else None)


def _confirmed(directory: RunDirectory) -> str:
    """The label of a run that said running: killed without a writer; asked again, because it may have ended in between."""
    try:
        is_written = directory.is_being_written()
    except RunError:  # nobody can tell
        return "with damaged run.lock"
    return "killed" if not is_written and (directory.status() or {}).get("state") == "running" else "running"


def _label(state: str, problems: Mapping[str, str]) -> str:
    """Damage first, then a state that explains what is missing, then what is missing."""
    damaged = [name for name, problem in problems.items() if problem == "damaged"]
    if damaged:
        return f"with damaged {damaged[0]}"
    if problems and state in ("done", "unknown"):
        for name in ("config.yaml", "metrics.csv", "status.json"):
            if name in problems:
                return f"without {name.split('.')[0]}"
    return state


def _status(data: bytes) -> dict[str, Any]:
    return _mapping(json.loads(data))


def _config(data: bytes) -> dict[str, Any]:
    """Parsed by top-level keys, each text once: runs of a sweep differ in few of them, and YAML is slow to read."""
    text = data.decode()
    try:
        parts = [_mapping(_load(part)) for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if part.strip()]
    except (ValueError, yaml.YAMLError):  # flow style, an alias into another key, or truly damaged
        parts = [_mapping(_load(text))]
    if not parts:
        raise ValueError("an empty configuration")
    return flatten({key: value for part in parts for key, value in part.items()})


@lru_cache(maxsize=4096)
def _load(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def _mapping(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, found {type(content).__name__}")
    return content


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys; a list becomes its JSON text, so that every value is a scalar."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return flat


def _metrics(data: bytes) -> pa.Table | None:
    """None without a row. A line that is still being written has no newline yet: it is left out."""
    whole = data[: data.rfind(b"\n") + 1]
    if whole.count(b"\n") < 2:
        return None
    return pyarrow.csv.read_csv(
        pa.BufferReader(whole),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=METRIC_TYPES, include_columns=list(METRIC_TYPES)),
    )


class RunArrays(Mapping[str, dict[str, np.ndarray]]):
    """arrays.npz of the runs under `folder`, by run name; read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, run: str) -> dict[str, np.ndarray]:
        path = self.folder / run / "arrays.npz"
        if not path.is_file():
            raise KeyError(run)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise TableError(f"{path} is damaged ({error}); delete the folder {path.parent} and run it again") from error

    def __iter__(self) -> Iterator[str]:
        return (path.parent.name for path in sorted(self.folder.glob("*/arrays.npz")))

    def __len__(self) -> int:
        return sum(1 for _ in self)
