"""sweep.json: which runs a folder was asked to hold, so that those that never started are known to be missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock

from gfn_vi.sweeps.jobs import Job
from gfn_vi.training.durable_files import disk_error, replace_durably

NAME = "sweep.json"


def plan(jobs: Sequence[Job]) -> None:
    """Add the jobs to the manifest of the folder that each lies in. Raises RunError where that cannot be written."""
    for folder in dict.fromkeys(job.directory.parent for job in jobs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / f"{NAME}.lock"):  # sweeps of the same folder plan one after the other
                _merge(folder / NAME, {j.directory.name: list(j.overrides) for j in jobs if j.directory.parent == folder})
        except OSError as error:
            raise disk_error(folder / NAME, error) from error


def _merge(path: Path, runs: dict[str, list[str]]) -> None:
    known = _known(path)
    planned = known | {name: {"overrides": overrides} for name, overrides in runs.items()}
    if planned != known:
        text = json.dumps({"runs": planned}, indent=1, sort_keys=True) + "\n"
        replace_durably(path, lambda file: file.write(text.encode()))


def _known(path: Path) -> dict[str, Any]:
    """Runs of the manifest; none if it is missing or damaged: it is a list of what was asked for, and that is asked again."""
    try:
        runs = json.loads(path.read_bytes())["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return runs if isinstance(runs, dict) else {}
