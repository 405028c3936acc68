"""A progress bar on stderr, which shows nothing where nobody watches."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import Any, TextIO

SECONDS_BETWEEN_UPDATES = 0.2


class ProgressBar:
    """A bar of how far training is: share done, loss, headline, trajectories per second, time left; its last state stays.

    metric: name of the headline, None for a run without one.

    enabled None: only if stderr is a terminal; True: always; False: never. Call update() when due() says so, and once
    at the end: not due, no tensor need be turned into a number.
    """

    def __init__(self, total_trajectories: int, label: str, enabled: bool | None = None, metric: str | None = None) -> None:
        self._total, self._label, self._metric = total_trajectories, label, metric or "headline"
        self._forced = enabled is True
        self._enabled = sys.stderr is not None and sys.stderr.isatty() if enabled is None else enabled
        self._progress: Any = None
        self._task: Any = None
        self._next = 0.0
        self._moved: list[tuple[logging.StreamHandler[Any], TextIO]] = []

    def start(self, initial_trajectories: int = 0) -> None:
        """Show the bar; initial_trajectories were done by an earlier process and do not count for the speed."""
        if not self._enabled or self._progress is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        label = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=label),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=True if self._forced else None),
            # No thread of its own: the bar is drawn by update() only.
            auto_refresh=False,
            # Otherwise rich would send to the terminal what is printed into a pipe.
            redirect_stdout=sys.stdout.isatty(),
            expand=True,
        )
        self._task = self._progress.add_task(self._label, total=self._total, completed=initial_trajectories, numbers="")
        before = (sys.stdout, sys.stderr)
        try:
            self._progress.start()
            self._progress.refresh()
        except OSError:  # a terminal that has gone ends no run
            self.stop()
            return
        for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
            if new is not old:
                self._move_log_lines(old, new)

    def _move_log_lines(self, old: TextIO, new: TextIO) -> None:
        """Let log handlers, which hold the stream from before, print above the bar and not into it."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)
                self._moved.append((handler, old))

    def due(self) -> bool:
        """Return whether the bar is shown and SECONDS_BETWEEN_UPDATES have passed since the last update."""
        return self._progress is not None and time.monotonic() >= self._next

    def update(
        self, trajectories: int, loss: float | None = None, headline: float | None = None, mark: str = "", frozen: str = ""
    ) -> None:
        """Draw the bar: trajectories so far (earlier processes included), the current loss and headline (None: not known).

        mark: behind the headline, where it is not to be trusted; frozen: how many replicas are, in words; "" for none.
        """
        if self._progress is None:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_UPDATES
        self._progress.update(self._task, completed=trajectories)
        speed = self._progress.tasks[0].speed
        numbers = [("loss", loss, ".4g"), (self._metric, headline, ".4g"), ("traj/s", speed, ",.0f")]
        marks = {self._metric: mark}
        told = [f"{name} {value:{form}}{marks.get(name, '')}" for name, value, form in numbers if value is not None]
        try:
            self._progress.update(self._task, numbers="  ".join(told + [frozen] * bool(frozen)), refresh=True)
        except OSError:  # a terminal that has gone ends no run
            self.stop()

    def stop(self) -> None:
        """Leave the bar as it is and give the streams back; a second call does nothing."""
        if self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.stop()
            self._progress = None
            for handler, stream in self._moved:
                handler.setStream(stream)
            self._moved = []
