"""What every run of a folder is doing, from the files on disk; cheap enough to ask every second for thousands of runs.

A status.json of a finished run is read again only if it has changed, metrics.csv only at its end.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gfn_vi.core.headline import Headline
from gfn_vi.runs.files import CONFIG, METRICS
from gfn_vi.runs.folders import no_runs, require_folder, runs_below
from gfn_vi.runs.manifest import Plan, read_manifest
from gfn_vi.runs.metrics_tail import MetricsTail
from gfn_vi.runs.replicas import TUNING, Repeat, Replica, in_their_right, repeats, replicas_of
from gfn_vi.runs.state import STATES, RunState, look_tolerantly, version_of
from gfn_vi.runs.stored_config import flatten, stored_config


@dataclass(frozen=True)
class Progress:
    """How far a run is: trajectories and total per replica; None where that is not known."""

    trajectories: int
    total: int | None
    value: float | None  # of the headline, median over replicas; its worst for a run that diverged
    seconds: float | None  # spent on it
    seconds_left: float | None
    standard_error: float | None = None  # of a headline that is sampled, median over replicas
    is_carried: bool = True  # False: the headline rests on importance weights that do not carry it

    @property
    def share(self) -> float | None:
        """Return the part of the run that is done, between 0 and 1; None where that is not known."""
        return min(self.trajectories / self.total, 1.0) if self.total else None


class SweepStates:
    """The runs of one folder, which are looked at again and again."""

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        self.folder = folder
        self.left_out: list[str] = []  # a line for each run, or part of one, that does not count, as the last look found them
        self._below = runs_below(folder)
        self._replicas: dict[str, tuple[int, list[Replica], Mapping[str, Any]]] = {}
        self._finished: dict[str, RunState] = {}
        self._tails: dict[tuple[str, Headline | None], MetricsTail] = {}
        self._totals: dict[str, tuple[int, int]] = {}

    def look(self) -> list[RunState]:
        """Return the states of all runs by name, without finished copies of others. Raises NoRunsError if there are none."""
        planned = read_manifest(self.folder)
        with os.scandir(self.folder) as entries:
            present = {entry.name for entry in entries if entry.is_dir()}
        names = sorted(present | set(planned))
        runs = [run for name in names if (run := self._state(name, planned)) is not None]
        if not runs:
            raise no_runs(self.folder)
        repeated = self._repeats(runs)
        self.left_out = [*(found.line for found in repeated), *self._below]
        copies = {found.run for found in repeated if found.is_copy}
        return [run for run in runs if not (run.is_finished and run.name in copies)]

    def progress(self, run: RunState) -> Progress:
        """Return how far the run is, from the end of its metrics.csv."""
        total, batch = self._total(run.name)
        tail = self._tails.setdefault((run.name, run.headline), MetricsTail(self.folder / run.name / METRICS, run.headline))
        tail.read()
        seen = max(tail.trajectories, run.step * batch)
        value, error, is_carried = tail.value, tail.standard_error, tail.is_carried
        if run.state == "diverged" and run.headline is not None:  # what is recorded is of its last finite parameters
            value, error, is_carried = run.headline.worst, None, True
        if run.state != "running":
            spent = [seconds for seconds in (run.wall_seconds, tail.wall_seconds) if seconds is not None]
            return Progress(seen, total or None, value, max(spent, default=None), None, error, is_carried)
        since = max(time.time() - tail.changed, 0.0) if tail.changed else 0.0
        left = None
        if tail.trajectories and tail.wall_seconds and total:
            speed = tail.trajectories / tail.wall_seconds
            left = max((total - tail.trajectories) / speed - since, 0.0)
        spent_so_far = (tail.wall_seconds or 0.0) + since
        return Progress(seen, total or None, value, spent_so_far, left, error, is_carried)

    def _state(self, name: str, planned: Mapping[str, Plan]) -> RunState | None:
        """Return the state of the run; None for a folder that is no run."""
        path, known = self.folder / name, self._finished.get(name)
        if known is None or known.version != version_of(path):
            known = look_tolerantly(path)
            if known.is_finished:
                self._finished[name] = known
        if name not in planned:
            return None if known.state == "missing" else known
        overrides, refused, _ = planned[name]
        if known.state == "missing" and refused is not None:
            known = replace(known, state="failed", error=refused)
        return replace(known, overrides=overrides)

    def _repeats(self, runs: Sequence[RunState]) -> list[Repeat]:
        """Return which runs hold replicas of others, as their config.yaml tells; it is read again only if it has changed."""
        found = {}
        for run in runs:
            path = self.folder / run.name
            try:
                changed = (path / CONFIG).stat().st_mtime_ns
            except OSError:
                continue
            if run.name not in self._replicas or self._replicas[run.name][0] != changed:
                config = flatten(stored_config(path) or {})
                self._replicas[run.name] = (changed, replicas_of(config), {TUNING: config.get(TUNING)})
            found[run.name] = (run.is_finished, self._replicas[run.name][2])
        return repeats({name: self._replicas[name][1] for name in in_their_right(found)})

    def _total(self, name: str) -> tuple[int, int]:
        """Return (trajectories per replica in whole batches, batch size); zeros if config.yaml does not tell."""
        if name not in self._totals:
            try:
                trainer = (stored_config(self.folder / name) or {})["trainer"]
                batch, n = int(trainer["batch_size"]), int(trainer["n_trajectories"])
                self._totals[name] = (-(-n // batch) * batch, batch)
            except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
                return (0, 0)
        return self._totals[name]


def count(runs: Sequence[RunState]) -> dict[str, int]:
    """Return state -> number of runs, in the order of STATES, for the states that occur."""
    counts = Counter(run.state for run in runs)
    return {state: counts[state] for state in reversed(STATES) if counts[state]}


def seconds_left(runs: Sequence[RunState], progress: Mapping[str, Progress]) -> float | None:
    """Return the seconds until all runs are done, with as many at a time as now; None where that is not known.

    progress: of the running runs, by name. A run that has not started takes as long as those that are done took.
    """
    running = [progress[run.name] for run in runs if run.state == "running"]
    waiting = sum(run.state == "missing" for run in runs)
    took = [run.wall_seconds for run in runs if run.is_finished and run.wall_seconds]
    took = took or [p.seconds + p.seconds_left for p in running if p.seconds is not None and p.seconds_left is not None]
    left = [p.seconds_left for p in running if p.seconds_left is not None]
    if not running or not took:
        return None
    usual = sum(took) / len(took)
    work = sum(left) + usual * (len(running) - len(left) + waiting)
    return max([work / len(running), *left])
