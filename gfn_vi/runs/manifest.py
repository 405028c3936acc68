"""sweep.json says which runs a folder was asked to hold, so that those that never started are known to be missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import filelock

from gfn_vi.runs.durable_files import disk_error, replace_durably
from gfn_vi.runs.files import MANIFEST

Runs = dict[str, Any]  # run name -> {"overrides": [...]}


class Planned(Protocol):
    """A run that was asked for: where it lies and from which overrides it is composed."""

    @property
    def directory(self) -> Path:
        """Return the directory of the run."""

    @property
    def overrides(self) -> Sequence[str]:
        """Return the overrides from which the run is composed."""


def plan(jobs: Iterable[Planned]) -> None:
    """Add the jobs to the manifest of the folder that each lies in. Raises RunError where that cannot be written."""
    _change(jobs, lambda runs, names: runs | names)


def forget(jobs: Iterable[Planned]) -> None:
    """Remove jobs that can never run, since what they asked for was a mistake. Raises RunError where that cannot be written."""
    _change(jobs, lambda runs, names: {name: run for name, run in runs.items() if name not in names})


def read_manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return run name -> its overrides, as the sweep wrote them; {} without a manifest or with a damaged one."""
    try:
        return {str(name): tuple(map(str, run["overrides"])) for name, run in _known(folder).items()}
    except (KeyError, TypeError):
        return {}


def _change(jobs: Iterable[Planned], change: Callable[[Runs, Runs], Runs]) -> None:
    by_folder: dict[Path, Runs] = {}
    for job in jobs:
        by_folder.setdefault(job.directory.parent, {})[job.directory.name] = {"overrides": list(job.overrides)}
    for folder, names in by_folder.items():
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / f"{MANIFEST}.lock"):  # sweeps of the same folder plan one after the other
                known = _known(folder)
                changed = change(known, names)
                if changed != known:
                    _write(path, changed)
        except OSError as error:
            raise disk_error(path, error) from error


def _write(path: Path, runs: Runs) -> None:
    data = (json.dumps({"runs": runs}, indent=1, sort_keys=True) + "\n").encode()
    replace_durably(path, lambda file: file.write(data))


def _known(folder: Path) -> Runs:
    """Return the runs of the manifest; none if it is missing or damaged, since what was asked for is then asked again."""
    try:
        runs = json.loads((folder / MANIFEST).read_bytes())["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return runs if isinstance(runs, dict) else {}
