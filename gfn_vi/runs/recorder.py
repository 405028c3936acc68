"""metrics.csv has one row per replica and metric: figures read it and nothing else. Sinks are mirrors of it for the eye."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from gfn_vi.core.errors import RunError
from gfn_vi.runs.durable_files import disk_error
from gfn_vi.runs.files import COLUMNS, METRICS
from gfn_vi.runs.records import Record, recorded

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Another place that shows metrics. A sink that raises is dropped, and the run goes on."""

    def write(self, step: int, trajectories: int, metrics: dict[str, list[float]]) -> None:
        """Show the metrics after `step` updates: metric name -> one value per replica."""

    def close(self, failed: bool) -> None:
        """Stop showing metrics, since the run has ended; failed: whether an error ended it."""


class Mirror(Sink, Protocol):
    """A sink that has the same content as metrics.csv whatever happens: it also shows what earlier processes have recorded.

    A sink without these two methods sees only what is recorded while it is there.
    """

    def restore(self, records: Sequence[Record]) -> None:
        """Show these records and nothing else; called before the first write."""

    def show(self, directory: Path) -> None:
        """Show the pictures and tables of the run, which is finished."""


def _values(name: str, values: Tensor | Sequence[float], replicas: int) -> list[float]:
    shape = tuple(values.shape) if isinstance(values, Tensor) else (len(values),)
    if shape != (replicas,):
        raise ValueError(f"metric {name} has shape {shape}; expected ({replicas},), one number per replica")
    return [float(v) for v in (values.tolist() if isinstance(values, Tensor) else values)]


class Recorder:
    """The only writer of <directory>/metrics.csv; every record is in the file when `record` returns.

    An existing file is appended to: call rewind(position of the checkpoint), or rewind(0) to start over, first.
    """

    def __init__(self, directory: str | os.PathLike[str], sinks: Sequence[Sink], replicas: int) -> None:
        self.path = Path(directory) / METRICS
        self._sinks = list(sinks)
        self._replicas = replicas
        try:
            # Unbuffered: a write that fails leaves nothing behind that a later close would try to write again.
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise disk_error(self.path, error) from error
        if self._size() == 0:
            self._append([COLUMNS])

    def record(
        self,
        step: int,
        trajectories: int,
        reward_calls: Sequence[int],
        wall_seconds: float,
        metrics: Mapping[str, Tensor | Sequence[float]],
    ) -> None:
        """Write one row per replica and metric and tell the sinks.

        trajectories: per replica; reward_calls: one count per replica; metrics: name -> [R]. Numbers are written as
        Python's repr of a double, so they read back exactly; nan, inf and -inf as such.
        Raises RunError when the disk is full (the file then ends with the last whole record), ValueError for a metric
        that does not have one number per replica.
        """
        columns = {name: _values(name, values, self._replicas) for name, values in metrics.items()}
        calls = [int(n) for n in reward_calls]
        if len(calls) != self._replicas:
            raise ValueError(f"{len(calls)} reward_calls; expected {self._replicas}, one number per replica")
        wall = repr(float(wall_seconds))
        self._append(
            [
                (step, trajectories, calls[replica], wall, replica, name, repr(value))
                for name, values in columns.items()
                for replica, value in enumerate(values)
            ]
        )
        self._show(step, trajectories, columns)

    def _show(self, step: int, trajectories: int, columns: dict[str, list[float]]) -> None:
        for sink in list(self._sinks):
            try:
                sink.write(step, trajectories, columns)
            except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
                self._drop(sink, step, error)

    def position(self) -> int:
        """Return the length of metrics.csv in bytes, all of it on disk: what a checkpoint remembers."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(self.path, error) from error
        return self._size()

    def rewind(self, position: int) -> None:
        """Remove all rows after `position` bytes; 0 removes everything but the header.

        Raises RunError when the file is shorter than that.
        """
        size = self._size()
        if size < position:
            raise RunError(
                f"{self.path} has {size} bytes, but the checkpoint was made when it had {position}: metrics are lost; "
                "restore the file or delete the run directory to start over"
            )
        os.ftruncate(self._file.fileno(), position)
        if position == 0:
            self._append([COLUMNS])
        if self._sinks:
            records = recorded(self.path.parent)
            self._tell_mirrors("restore", records, records[-1].step if records else 0)

    def show(self, step: int) -> None:
        """Have the sinks show the pictures and tables of the finished run; step: its number of updates."""
        self._tell_mirrors("show", self.path.parent, step)

    def _tell_mirrors(self, method: str, told: object, step: int) -> None:
        for sink in list(self._sinks):
            try:
                getattr(sink, method, lambda told: None)(told)
            except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
                self._drop(sink, step, error)

    def begin_with(self, path: Path, position: int) -> None:
        """Begin with the first `position` bytes of another metrics.csv, of a run with the same replicas; the sinks see them, too.

        Raises RunError when that file is shorter, or cannot be read.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(position)
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
        if len(data) < position:
            raise RunError(f"{path} has {len(data)} bytes, but its checkpoint was made when it had {position}")
        rows = list(csv.reader(io.StringIO(data.decode())))[1:]
        self.rewind(0)
        self._append(rows)
        for (step, trajectories), found in itertools.groupby(rows, lambda row: (int(row[0]), int(row[1]))):
            values: dict[str, list[float]] = {}
            for *_, name, value in found:
                values.setdefault(name, []).append(float(value))
            self._show(step, trajectories, values)

    def close(self, failed: bool) -> None:
        """Close the file and all sinks; a second call does nothing."""
        self._file.close()
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            self._close_sink(sink, failed)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        data = memoryview(text.getvalue().encode())
        start = self._size()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise disk_error(self.path, error) from error

    def _drop(self, sink: Sink, step: int, error: Exception) -> None:
        self._sinks.remove(sink)
        logger.warning(
            "%s failed at step %d and gets nothing from here on (%s: %s); %s is complete",
            type(sink).__name__,
            step,
            type(error).__name__,
            error,
            self.path,
        )
        self._close_sink(sink, failed=True, report=False)

    def _close_sink(self, sink: Sink, failed: bool, report: bool = True) -> None:
        try:
            sink.close(failed)
        except Exception as error:  # noqa: BLE001 - a mirror never stops a run, whatever it raises
            if report:
                logger.warning("%s could not be closed (%s: %s)", type(sink).__name__, type(error).__name__, error)
