"""Where a run stands, read from its directory: the only witness when a worker dies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gfn_vi.runs.directory import RunDirectory

State = Literal["done", "diverged", "failed", "interrupted", "killed", "running", "missing"]
LAST_BYTES = 4096  # of run.log, for its last line


@dataclass(frozen=True)
class Standing:
    """state: diverged is done with replicas that became non-finite; killed says running, but nobody holds its lock.

    error: its last line. version: another one after every write of status.json; None without a readable one.
    """

    state: State
    error: str | None
    version: tuple[int, int] | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "diverged")


def look(path: Path) -> Standing:
    """Where the run in this directory stands now. Raises RunError where its lock cannot be looked at."""
    run = RunDirectory(path)
    is_written = run.is_being_written()  # asked first: what it then says is no older than that
    version, status = _version(path), run.status()
    if is_written:
        return Standing("running", None, version)
    if status is None:
        return Standing("missing", None, version)
    state, error = status.get("state"), last_line(str(status.get("error") or ""))
    if state == "running":
        return Standing("killed", error, version)
    if state == "done":
        return Standing("diverged" if error else "done", error, version)
    if state in ("failed", "interrupted"):
        return Standing(state, error, version)
    return Standing("missing", None, version)


def _version(path: Path) -> tuple[int, int] | None:
    try:
        found = (path / "status.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def last_line(text: str) -> str | None:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


def give_up(path: Path, losses: int) -> str:
    """Record that the workers of this run died; returns the error. Raises HeldError if somebody writes it now."""
    died = "its worker died" if losses == 1 else f"its worker died {losses} times"
    error = f"{died} (killed, or out of memory); the last line of its log: {_last_log_line(path) or 'none'}"
    with RunDirectory(path) as run:
        status = run.status() or {}
        run.write_status("failed", status.get("step") or 0, error, status.get("seed"), status.get("wall_seconds"))
    return error


def _last_log_line(path: Path) -> str | None:
    try:
        with open(path / "run.log", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LAST_BYTES))
            return last_line(file.read().decode(errors="replace"))
    except OSError:
        return None
