"""A run's directory as a program finds it: what it holds, or in one line why it cannot be used and what to do.

Nothing is imported that is heavy, and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfn_vi.core import user_files
from gfn_vi.core.errors import RunError, listed, require
from gfn_vi.core.version import VERSION
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import CHECKPOINT, CONFIG, MANIFEST, RUN_FILES
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.sources import recorded_sources, require_unchanged
from gfn_vi.runs.state import RunState, look
from gfn_vi.runs.stored_config import stored_config

NEEDED = ("target", "sampler", "objective", "seed", "replicas", "dtype", "trainer")
FILES = ("path", "blocks", "weights")  # keys beside `digest` that name the file it is of
MOST_NAMED = 3


@dataclass(frozen=True)
class StoredRun:
    """A run's directory: its configuration as plain containers, its state, and the release that made it (None: unknown)."""

    path: Path
    config: dict[str, Any]
    state: RunState
    release: str | None

    @property
    def is_of_another_release(self) -> bool:
        """Return whether it is known that another release of the package made the run."""
        return self.release not in (None, VERSION)

    @property
    def made_by(self) -> str:
        """Return which release made the run and which one this is, in words."""
        return f"{self.path} was made by gfn_vi {self.release}, and this is {VERSION}"


def find_stored(path: str | os.PathLike[str], unfinished: bool, accept_changed_sources: bool) -> StoredRun:
    """Return the run in a directory. Raises RunError, or ConfigError for a data file that changed, each in one line.

    unfinished: take it as far as it is; accept_changed_sources: take it with other versions of the user's modules.
    """
    require(os.fspath(path) != "", "run", "", "expected the directory of a run, outputs/<experiment>/<run>")
    directory = _run_at(user_files.expanded(os.fspath(path), "run"))
    config, status = stored_config(directory), RunDirectory(directory).status() or {}
    if config is None or not set(NEEDED) <= set(config):
        raise RunError(f"{directory}: its {CONFIG} is missing or damaged: train it again, the same command writes it")
    state = look(directory)
    if not state.is_finished and not unfinished:
        raise RunError(_why_unfinished(directory, state, config))
    if not _has_checkpoint(directory):
        way = "train it to its end" if state.state == "done" else "wait a minute, or train it to its end"
        raise RunError(f"{directory} has no {CHECKPOINT}, so nobody knows what was learned: {way} (delete a copy that lacks it)")
    versions = status.get("versions")
    release = versions.get("gfn_vi") if isinstance(versions, Mapping) else None
    if not accept_changed_sources:
        advice = "restore it; where the change does not matter, accept_changed_sources=True takes it as it is"
        require_unchanged(recorded_sources(status), f"{directory} was trained", advice)
    for key, name, digest in _data_files(config["target"], "target"):
        user_files.read_known(name, digest, key, "data, or restore the file")
    return StoredRun(directory, config, state, release if isinstance(release, str) else None)


def _run_at(directory: Path) -> Path:
    """Return the directory of a run, or of the only run in it. Raises RunError for anything else, with what may be meant."""
    if not directory.exists():
        near = next((parent for parent in directory.absolute().parents if parent.is_dir()), Path("/"))
        inside = [str(run) for run in runs_in(near)]
        found = f"; {near} has {listed(inside, MOST_NAMED)}" if inside else f"; the last folder of it that exists is {near}"
        raise RunError(f"{directory}: there is no such folder, it may have been moved or renamed{found}")
    if directory.is_file():
        is_of_a_run = any((directory.parent / name).exists() for name in RUN_FILES)
        meant = directory.parent.absolute() if is_of_a_run else "outputs/<experiment>/<run>"
        raise RunError(f"{directory} is a file: expected the directory of a run, {meant}")
    if any((directory / name).exists() for name in RUN_FILES):
        return directory
    if len(runs_in(directory)) == 1:
        return runs_in(directory)[0]
    below = [run for folder in (directory, *_folders(directory)) for run in runs_in(folder)]
    if below:
        n = f"{len(below)} runs" if len(below) > 1 else "one run, in a folder below"
        raise RunError(f"{directory} holds {n}: load one of them, {listed(below, MOST_NAMED, ' or ')}")
    what = "a sweep of which no run has started" if (directory / MANIFEST).exists() else "no run's directory"
    raise RunError(f"{directory} is {what}: expected the folder that a run prints as its last line")


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir())


def _why_unfinished(directory: Path, state: RunState, config: Mapping[str, Any]) -> str:
    of = f"{state.step * config['trainer']['batch_size']} of {config['trainer']['n_trajectories']} trajectories"
    as_it_is = "; unfinished=True takes its last checkpoint" if _has_checkpoint(directory) else ""
    if state.state == "running":
        return f"{directory} is being trained ({of}, {RunDirectory(directory).owner()}): wait for its end{as_it_is}"
    why = f" ({state.error_line})" if state.error_line else ""
    return f"{directory} is not finished, but {state.state} after {of}{why}: the same command goes on{as_it_is}"


def _has_checkpoint(directory: Path) -> bool:
    """Return whether there is one, or the one before: a process that writes replaces them by turns."""
    return any(directory.glob(f"{Path(CHECKPOINT).stem}*{Path(CHECKPOINT).suffix}"))


def _data_files(node: object, key: str) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, path, digest) of every file that the run recorded a digest of, at or below a node."""
    if isinstance(node, Mapping):
        digest = node.get("digest")
        for name, value in node.items():
            if name in FILES and isinstance(value, str) and isinstance(digest, str):
                yield f"{key}.{name}", value, digest
            yield from _data_files(value, f"{key}.{name}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _data_files(value, f"{key}[{i}]")
