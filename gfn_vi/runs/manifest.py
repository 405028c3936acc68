"""sweep.json says which runs a folder was asked to hold, so that those that never started are known to be missing or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import filelock

from gfn_vi.runs.durable_files import disk_error, replace_durably
from gfn_vi.runs.files import MANIFEST

Runs = dict[str, dict[str, Any]]  # run name -> {"overrides": [...]}, and "refused": "..." of one that can never run
REFUSED = "refused"


class Planned(Protocol):
    """A run that was asked for: where it lies and from which overrides it is composed."""

    @property
    def directory(self) -> Path:
        """Return the directory of the run."""

    @property
    def overrides(self) -> Sequence[str]:
        """Return the overrides from which the run is composed."""


class Plan(NamedTuple):
    """An entry of the manifest for one run; refused: the reason why it can never run, since what it asks for is a mistake."""

    overrides: tuple[str, ...]
    refused: str | None


def plan(jobs: Iterable[Planned]) -> None:
    """Add the jobs to the manifest of the folder that each lies in, which forgets what was refused there before.

    Raises RunError where that cannot be written.
    """
    _change(((job, {}) for job in jobs), lambda known: {n: r for n, r in known.items() if REFUSED not in r})


def refuse(errors: Iterable[tuple[Planned, str]]) -> None:
    """Note of jobs why they can never run. Raises RunError where that cannot be written."""
    _change(((job, {REFUSED: error}) for job, error in errors), lambda known: known)


def read_manifest(folder: Path) -> dict[str, Plan]:
    """Return run name -> what the sweep wrote of it; {} without a manifest or with a damaged one."""
    try:
        known = _known(folder).items()
        return {n: Plan(tuple(map(str, r["overrides"])), str(r[REFUSED]) if REFUSED in r else None) for n, r in known}
    except (KeyError, TypeError):
        return {}


def _change(jobs: Iterable[tuple[Planned, dict[str, str]]], kept: Callable[[Runs], Runs]) -> None:
    """Write to the manifest of each folder what is `kept` of it, and the overrides of the jobs with these further entries."""
    by_folder: dict[Path, Runs] = {}
    for job, more in jobs:
        by_folder.setdefault(job.directory.parent, {})[job.directory.name] = {"overrides": list(job.overrides)} | more
    for folder, added in by_folder.items():
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / f"{MANIFEST}.lock"):  # sweeps of the same folder plan one after the other
                known = _known(folder)
                changed = kept(known) | added
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
    return runs if isinstance(runs, dict) and all(isinstance(run, dict) for run in runs.values()) else {}
