"""What every run of a sweep is doing, from the files on disk; cheap enough to ask every second for thousands of runs.

A run is done, diverged (done, but a replica became non-finite), running, interrupted (the same command goes on), failed,
killed (it says running, but nobody holds its lock), damaged (status.json or the lock cannot be read) or missing (in the sweep's
manifest, without a directory). A file is read again only if it has changed, metrics.csv only at its end.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import RunError
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.folders import RUN_FILES, NoRunsError, require_folder
from gfn_vi.runs.metrics_tail import MetricsTail

STATES = ("running", "failed", "killed", "diverged", "damaged", "interrupted", "missing", "done")
ACTIVE = ("running",)
FINISHED = ("done", "diverged")  # the sweep's command leaves them alone
BROKEN = ("failed", "killed", "diverged", "damaged")
MANIFEST = "sweep.json"


@dataclass(frozen=True)
class RunState:
    """One run as status.json and the manifest tell it."""

    name: str
    state: str  # one of STATES
    overrides: tuple[str, ...] = ()  # of the manifest
    error: str | None = None  # text of the traceback, or which replicas became non-finite
    step: int = 0
    wall_seconds: float | None = None  # when status.json was written

    @property
    def error_line(self) -> str:
        """The last line of the error that says something; "" without one."""
        lines = [line.strip() for line in (self.error or "").splitlines() if line.strip()]
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Progress:
    """How far a run is. trajectories and total: per replica; None: not known."""

    trajectories: int
    total: int | None
    jsd: float | None  # median over replicas
    seconds: float | None  # spent on it
    seconds_left: float | None

    @property
    def share(self) -> float | None:
        """Between 0 and 1."""
        return min(self.trajectories / self.total, 1.0) if self.total else None


class SweepStates:
    """The runs of one folder, looked at again and again."""

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        self.folder = folder
        self._read: dict[str, tuple[int, RunState]] = {}  # name -> (mtime of status.json in ns, what it said)
        self._tails: dict[str, MetricsTail] = {}
        self._totals: dict[str, tuple[int, int]] = {}

    def look(self) -> list[RunState]:
        """All runs by name; NoRunsError if there are none."""
        planned = read_manifest(self.folder)
        with os.scandir(self.folder) as entries:
            present = {entry.name for entry in entries if entry.is_dir()}
        names = sorted(present | set(planned))
        runs = [run for name in names if (run := self._state(name, planned)) is not None]
        if not runs:
            raise NoRunsError(f"{self.folder}: no runs found (folders that hold {', '.join(RUN_FILES)})")
        return runs

    def progress(self, run: RunState) -> Progress:
        """How far the run is, from the end of its metrics.csv."""
        total, batch = self._total(run.name)
        tail = self._tails.setdefault(run.name, MetricsTail(self.folder / run.name / "metrics.csv"))
        tail.read()
        seen = max(tail.trajectories, run.step * batch)
        if run.state != "running":
            spent = [seconds for seconds in (run.wall_seconds, tail.wall_seconds) if seconds is not None]
            return Progress(seen, total or None, tail.jsd, max(spent, default=None), None)
        since = max(time.time() - tail.changed, 0.0) if tail.changed else 0.0
        left = None
        if tail.trajectories and tail.wall_seconds and total:
            speed = tail.trajectories / tail.wall_seconds
            left = max((total - tail.trajectories) / speed - since, 0.0)
        return Progress(seen, total or None, tail.jsd, (tail.wall_seconds or 0.0) + since, left)

    def _state(self, name: str, planned: Mapping[str, tuple[str, ...]]) -> RunState | None:
        """None for a folder that is no run."""
        overrides = planned.get(name, ())
        try:
            changed = os.stat(self.folder / name / "status.json").st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            found = self._without_status(name, overrides)
            return None if found.state == "missing" and name not in planned else found
        except OSError:
            return RunState(name, "damaged", overrides, "status.json cannot be read")
        known = self._read.get(name)
        if known is None or known[0] != changed:
            known = (changed, self._told(name, overrides))
            self._read[name] = known
        run = known[1]
        try:
            return self._confirmed(run) if run.state in ("running", "damaged") else run
        except RunError as error:  # nobody can tell whether somebody writes it
            return RunState(name, "damaged", overrides, str(error), run.step, run.wall_seconds)

    def _told(self, name: str, overrides: tuple[str, ...]) -> RunState:
        status = RunDirectory(self.folder / name).status()
        state = str((status or {}).get("state"))
        if status is None or state not in ("running", "done", "failed", "interrupted"):
            return RunState(name, "damaged", overrides, "status.json is damaged: the same command runs it again")
        error, step, seconds = status.get("error"), status.get("step"), status.get("wall_seconds")
        return RunState(
            name,
            "diverged" if state == "done" and error else state,
            overrides,
            str(error) if error else None,
            step if isinstance(step, int) else 0,
            float(seconds) if isinstance(seconds, int | float) else None,
        )

    def _confirmed(self, run: RunState) -> RunState:
        """A run that says running is killed if nobody writes it; looked at twice, it may have ended in between."""
        directory = RunDirectory(self.folder / run.name)
        if directory.is_being_written():
            return RunState(run.name, "running", run.overrides, None, run.step, run.wall_seconds)
        again = self._told(run.name, run.overrides)
        if again.state != "running":
            return again
        last = f"its process is gone ({directory.owner()})"
        return RunState(run.name, "killed", run.overrides, last, again.step, again.wall_seconds)

    def _without_status(self, name: str, overrides: tuple[str, ...]) -> RunState:
        path = self.folder / name
        try:
            if RunDirectory(path).is_being_written():
                return RunState(name, "running", overrides)
        except RunError as error:
            return RunState(name, "damaged", overrides, str(error))
        if any((path / part).exists() for part in RUN_FILES):
            return RunState(name, "killed", overrides, "killed before it wrote status.json")
        return RunState(name, "missing", overrides)

    def _total(self, name: str) -> tuple[int, int]:
        """(trajectories per replica in whole batches, batch size); zeros if config.yaml does not tell."""
        if name not in self._totals:
            try:
                trainer = _section((self.folder / name / "config.yaml").read_text(encoding="utf-8"), "trainer")
                batch, n = int(trainer["batch_size"]), int(trainer["n_trajectories"])
                self._totals[name] = (-(-n // batch) * batch, batch)
            except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
                return (0, 0)
        return self._totals[name]


def read_manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """Run name -> its overrides, as the sweep wrote them; {} without a manifest or with a damaged one."""
    try:
        runs = json.loads((folder / MANIFEST).read_bytes())["runs"]
        return {str(name): tuple(map(str, entry["overrides"])) for name, entry in runs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def count(runs: Sequence[RunState]) -> dict[str, int]:
    """State -> number of runs, in the order of STATES, those that occur."""
    counts = Counter(run.state for run in runs)
    return {state: counts[state] for state in reversed(STATES) if counts[state]}


def seconds_left(runs: Sequence[RunState], progress: Mapping[str, Progress]) -> float | None:
    """Until all that runs and all that is missing is done, at the present number of runs at a time; None: not known.

    progress: of the running runs, by name. A run that has not started takes as long as those that are done took.
    """
    running = [progress[run.name] for run in runs if run.state == "running"]
    waiting = sum(run.state == "missing" for run in runs)
    took = [run.wall_seconds for run in runs if run.state in ("done", "diverged") and run.wall_seconds]
    took = took or [p.seconds + p.seconds_left for p in running if p.seconds is not None and p.seconds_left is not None]
    left = [p.seconds_left for p in running if p.seconds_left is not None]
    if not running or not took:
        return None
    usual = sum(took) / len(took)
    work = sum(left) + usual * (len(running) - len(left) + waiting)
    return max([work / len(running), *left])


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Any:
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _section(text: str, key: str) -> Mapping[str, Any]:
    """The mapping under a top-level key, without parsing the rest."""
    found = re.search(rf"^{key}:.*(?:\n[ \t].*)*", text, re.MULTILINE)
    content = _parsed(found.group())[key] if found else None
    return content if isinstance(content, Mapping) else {}
