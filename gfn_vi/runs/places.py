"""Runs that lie in one folder or in several: where a run of a name is, and what is told of each once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import NoRunsError
from gfn_vi.runs.replicas import HASHED
from gfn_vi.runs.state import RunState, look_tolerantly
from gfn_vi.runs.sweep_states import SweepStates

Folders = Path | Sequence[Path]


def each_of(folders: Folders) -> list[Path]:
    """Return the folders as a list, each once, in their order."""
    given = [folders] if isinstance(folders, Path) else folders
    return list({folder.resolve(): folder for folder in given}.values())


def key_of_run(name: str) -> str:
    """Return what tells that runs of two folders are one: the hash of the configuration, with which names end."""
    is_hashed = HASHED.search(name)
    return is_hashed[0] if is_hashed else name


def run_in(folders: Folders, name: str) -> Path:
    """Return the directory of a run: of several of that name the first that is done, else the first that is there."""
    every = each_of(folders)
    found = [folder / name for folder in every if (folder / name).is_dir()]
    if len(found) > 1:
        return next((path for path in found if look_tolerantly(path).is_finished), found[0])
    return found[0] if found else every[0] / name


def states_in(folders: Folders) -> tuple[list[RunState], list[str]]:
    """Return the states of the runs by name, each once, and lines on what is left out of each folder.

    Of copies the one that is done counts, and one that was started before one that was planned. A folder without runs is no
    obstacle beside others. Raises NoRunsError for a folder that is not there, and where none has any.
    """
    chosen: dict[str, RunState] = {}
    left_out: list[str] = []
    every = each_of(folders)
    for folder in every:
        looked = SweepStates(folder)
        try:
            found = looked.look()
        except NoRunsError:
            if len(every) == 1:
                raise
            continue
        for run in found:
            known = chosen.get(key := key_of_run(run.name))
            if known is None or _how_far(run) > _how_far(known):
                chosen[key] = run
        left_out += looked.left_out
    if not chosen:
        raise NoRunsError(f"{listed(every)}: no runs found")
    return sorted(chosen.values(), key=lambda run: run.name), left_out


def _how_far(run: RunState) -> tuple[bool, bool]:
    return run.is_finished, run.state != "missing"
