"""Deleting runs that nobody asks for: only what is surely a run, and what no process writes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.runs.directory import RunDirectory, identity_of, run_name
from gfn_vi.runs.files import CONFIG, LOCK, OWNER, STATUS
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.state import look_tolerantly
from gfn_vi.runs.stored_config import stored_config

LAST = (CONFIG, LOCK, OWNER)  # of a run that is deleted: what is left after a kill is still known as this run


class Unasked(NamedTuple):
    """A run that nobody asks for: its state, its bytes on disk, and why it stays; "" where it may be deleted."""

    path: Path
    state: str
    size: int
    stays: str


def unasked_runs(folder: Path, asked: Collection[Path]) -> list[Unasked]:
    """Return the runs directly in `folder` that are none of `asked` (paths of runs, under any label), by name."""
    identities = {identity_of(path) for path in asked}
    paths = [path for path in runs_in(folder) if identity_of(path) not in identities]
    found = []
    for path in paths:
        found.append(Unasked(path, look_tolerantly(path).state, size_of(path), _why_it_stays(path)))
    return found


def _why_it_stays(path: Path) -> str:
    """Return why a run is not to be deleted; "" for one whose name is the hash of its configuration, and that nobody writes."""
    if path.is_symlink():
        return "a link"
    try:
        if RunDirectory(path).is_being_written():
            return "it is being trained now"
    except RunError as error:
        return str(error)
    config = stored_config(path)
    try:
        is_own = config is not None and identity_of(path).name == run_name(config).rpartition("-")[2]
    except (ConfigError, RunError):
        is_own = False
    return "" if is_own else f"its name is not that of the run in its {CONFIG}: a copy, or damaged"


def size_of(path: Path) -> int:
    """Return the bytes of the files below a folder, without those that links lead to."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # gone meanwhile
                continue
    return total


def delete_run(path: Path) -> None:
    """Delete a run directory; what its links lead to stays. Raises HeldError where a process writes it, RunError, OSError."""
    with RunDirectory(path):
        names = sorted((entry.name for entry in os.scandir(path)), key=lambda name: (name in LAST, name != STATUS, name))
        for name in names:
            inner = path / name
            if inner.is_dir() and not inner.is_symlink():
                shutil.rmtree(inner)
            else:
                inner.unlink(missing_ok=True)
        path.rmdir()
