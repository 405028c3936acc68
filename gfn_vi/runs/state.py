"""The state of one run, read from its directory: the only answer to it, and the only witness when a worker dies.

A run is done, diverged (done, but a replica became non-finite), running (a living process holds its lock), interrupted (the
same command goes on), pruned (a search found it hopeless; the same command without the search goes on), failed, killed (it
began, but nobody holds its lock), damaged (status.json or the lock cannot be read: the same command runs it again) or missing
(nothing of it is there).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from gfn_vi.core.errors import RunError
from gfn_vi.core.headline import Headline
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import LOG, RUN_FILES, STATUS
from gfn_vi.runs.headline import headline_of
from gfn_vi.runs.sources import recorded_sources

State = Literal["running", "failed", "killed", "diverged", "damaged", "interrupted", "pruned", "missing", "done"]
STATES: tuple[State, ...] = get_args(State)
FINISHED = ("done", "diverged")  # the sweep's command leaves them alone
PRUNED: Final = "pruned"  # and a search these
BROKEN = ("failed", "killed", "diverged", "damaged")
LAST_BYTES = 4096  # of the log, for its last line


@dataclass(frozen=True)
class RunState:
    """The state of one run as its directory and the manifest of its sweep tell it."""

    name: str
    state: State
    overrides: tuple[str, ...] = ()  # of the manifest
    error: str | None = None  # text of the traceback, or which replicas became non-finite
    step: int = 0
    wall_seconds: float | None = None  # when status.json was written
    headline: Headline | None = None  # what it is judged by
    version: tuple[int, int] | None = field(default=None, compare=False)  # another one after every write of status.json
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)  # file of the user's -> digest

    @property
    def is_finished(self) -> bool:
        """Return whether nothing is left to do."""
        return self.state in FINISHED

    @property
    def error_line(self) -> str:
        """Return the last line of the error that says something; "" without one."""
        return last_line(self.error or "") or ""


def look(path: Path) -> RunState:
    """Return the state of the run in this directory. Raises RunError where its lock cannot be looked at.

    A run that says done is done. Of any other, the lock is asked before status.json is read again, so that what is read is no
    older than the answer.
    """
    told = _told(path)
    if told.is_finished:
        return told
    is_written = RunDirectory(path).is_being_written()
    told = _told(path)
    if told.is_finished:
        return told
    if is_written:
        error = told.error if told.state == "running" else None  # which replicas have become non-finite so far
        return replace(told, state="running", error=error)
    if told.state != "running":
        return told
    gone = f"its process is gone ({RunDirectory(path).owner()})"
    return replace(told, state="killed", error=gone)


def look_tolerantly(path: Path) -> RunState:
    """Return the state of the run; damaged where nobody can tell whether it is being written."""
    try:
        return look(path)
    except RunError as error:
        return replace(_told(path), state="damaged", error=str(error))


def version_of(path: Path) -> tuple[int, int] | None:
    """Return a pair of numbers that differs after every write of status.json; None without a readable one."""
    try:
        found = (path / STATUS).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _told(path: Path) -> RunState:
    """Return the state that the files tell, whoever writes them."""
    version = version_of(path)
    try:
        content: Any = json.loads((path / STATUS).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if any((path / name).exists() for name in RUN_FILES):
            return RunState(path.name, "killed", (), f"killed before it wrote {STATUS}", version=version)
        return RunState(path.name, "missing", version=version)
    except (OSError, ValueError):
        content = None
    state = content.get("state") if isinstance(content, dict) else None
    if state not in ("running", "done", "failed", "interrupted", PRUNED):
        return RunState(path.name, "damaged", (), f"{STATUS} is damaged: the same command runs it again", version=version)
    error, step, seconds = content.get("error"), content.get("step"), content.get("wall_seconds")
    return RunState(
        path.name,
        "diverged" if state == "done" and error else state,
        (),
        str(error) if error else None,
        step if isinstance(step, int) else 0,
        float(seconds) if isinstance(seconds, int | float) else None,
        headline_of(content),
        version,
        recorded_sources(content),
    )


def last_line(text: str) -> str | None:
    """Return the last line that is not blank; None without one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


def give_up(path: Path, losses: int) -> str:
    """Record that the workers of this run died, and return the error text. Raises HeldError if somebody writes the run now."""
    died = "its worker died" if losses == 1 else f"its worker died {losses} times"
    error = f"{died} (killed, or out of memory); the last line of its log: {_last_log_line(path) or 'none'}"
    with RunDirectory(path) as run:
        status = run.status() or {}
        run.write_status("failed", status.get("step") or 0, error, status.get("seed"), status.get("wall_seconds"))
    return error


def _last_log_line(path: Path) -> str | None:
    try:
        with open(path / LOG, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LAST_BYTES))
            return last_line(file.read().decode(errors="replace"))
    except OSError:
        return None
