"""The folder of an experiment and the run directories in it. Nothing heavy is imported: status looks every second."""

from __future__ import annotations

import os
from pathlib import Path

from gfn_vi.core.errors import listed
from gfn_vi.runs.files import RUN_FILES


class TableError(ValueError):
    """Raised for files that cannot become the table or the figure that was asked for: what was found, what to do about it."""


class NoRunsError(TableError):
    """Raised where a folder of runs was expected and there is none."""


def require_folder(folder: Path) -> None:
    """Raise NoRunsError if there is no such folder, and TableError if it is a run itself."""
    if not folder.is_dir():
        raise NoRunsError(f"{folder}: no runs found, {'this is a file' if folder.exists() else 'there is no such folder'}")
    if any((folder / name).exists() for name in RUN_FILES):
        raise TableError(f"{folder} is itself a run; expected the folder that holds it, {folder.parent}")


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories directly under `folder`, by name.

    Raises NoRunsError if there is no such folder or no run in it.
    """
    require_folder(folder)
    found = runs_in(folder)
    if not found:
        raise no_runs(folder)
    return found


def no_runs(folder: Path) -> NoRunsError:
    """Return the error for a folder that holds no run, which names the folders inside of it that do."""
    inside = [folder / name for name in _folders_in(folder) if runs_in(folder / name)]
    meant = f", but in folders inside of it: give {listed(inside)}" if inside else f" (folders that hold {', '.join(RUN_FILES)})"
    return NoRunsError(f"{folder}: no runs found{meant}")


def runs_in(folder: Path) -> list[Path]:
    """Return the same; [] where there are none, or no such folder."""
    paths = (folder / name for name in _folders_in(folder))
    return [path for path in paths if any((path / part).exists() for part in RUN_FILES)]


def runs_below(folder: Path) -> list[str]:
    """Return a line for each folder directly under `folder` that holds run directories of its own: nobody counts those."""
    found = []
    for name in _folders_in(folder):
        n = len(runs_in(folder / name))
        if n:
            found.append(f"not counted: {n} run{'s' * (n != 1)} inside of {folder / name}")
    return found


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:  # it is not there, or nobody may look into it
        return []
