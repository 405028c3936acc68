"""The end of a metrics.csv that may be growing: its last record and the last headline, without reading what came before."""

from __future__ import annotations

import contextlib
import math
import os
import re
import statistics
from pathlib import Path

from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import WEIGHTS_OF, names_of, weights_behind

FIRST_BYTES, MOST_BYTES = 1 << 14, 1 << 20


class MetricsTail:
    """The last record of a metrics.csv: its trajectories and wall_seconds, and the headline's last value and standard error.

    value and standard_error (None without one) are medians over replicas; one that is not finite counts as the headline's worst.
    is_carried: False for a headline that rests on importance weights which do not carry it in all replicas.
    """

    trajectories: int
    wall_seconds: float | None
    value: float | None
    standard_error: float | None
    is_carried: bool

    def __init__(self, path: Path, headline: Headline | None) -> None:
        self.path, self.headline = path, headline
        metric = re.escape(headline.metric if headline is not None else "").encode()
        # step, trajectories, reward_calls, wall_seconds, replica, metric, value (runs/files.py)
        row = rb"^\d+,(\d+),\d+,[^,]+,(\d+),%s,([^,\n]+)$"
        self._rows = re.compile(row % metric, re.MULTILINE)
        self._errors = re.compile(row % (metric + b"_se"), re.MULTILINE)
        weights = () if headline is None else WEIGHTS_OF.get(headline.metric, ())
        self._weights = {name: re.compile(row % name.encode(), re.MULTILINE) for one in weights for name in names_of(one)}
        self._forget()

    def _forget(self) -> None:
        self.trajectories, self.wall_seconds, self.value, self.standard_error = 0, None, None, None
        self.is_carried = True
        self._recorded: dict[str, dict[int, float]] = {}  # of the weights, metric -> replica -> value
        self.changed = 0.0  # when the file was written last, seconds since the epoch
        self._end = 0  # bytes that have been read

    def read(self) -> None:
        """Read what was appended since the last call; a file that has become shorter is read anew."""
        try:
            with open(self.path, "rb") as file:
                facts = os.fstat(file.fileno())
                if facts.st_size < self._end:
                    self._forget()
                self.changed = facts.st_mtime
                amount = FIRST_BYTES
                while self._end < facts.st_size:
                    start = max(self._end, facts.st_size - amount)
                    file.seek(start)
                    data = file.read(facts.st_size - start)
                    if start == self._end or self._holds_a_whole_record(data) or amount >= MOST_BYTES:
                        self._take(data, start)
                        break
                    amount *= 4
        except OSError:  # not there yet, or no longer
            self._forget()

    def _holds_a_whole_record(self, data: bytes) -> bool:
        """Return whether a whole line of another metric comes before the first headline: no replica of that record is cut off."""
        if self.headline is None:
            return data.count(b"\n") > 1
        name = f",{self.headline.metric},".encode()
        return data.find(name) > data.find(b"\n", data.find(b"\n") + 1) > 0

    def _take(self, data: bytes, start: int) -> None:
        """Take whole lines only: the first may be cut at its front, the last may still be being written."""
        begin = 0 if start == self._end else data.find(b"\n") + 1
        end = data.rfind(b"\n") + 1
        if end <= begin:
            return
        self._end = start + end
        whole = data[begin:end]
        last = whole[:-1].rpartition(b"\n")[2].split(b",")
        with contextlib.suppress(IndexError, ValueError):  # only the header so far, or a damaged file
            self.trajectories, self.wall_seconds = int(last[1]), float(last[3])
        if self.headline is not None and (values := _last(self._rows.findall(whole), self.headline.worst)):
            self.value = statistics.median(values.values())
            errors = _last(self._errors.findall(whole), math.nan)
            self.standard_error = statistics.median(errors.values()) if errors else None
        if self.headline is not None and self._weights:  # they follow the headline, maybe in what is read later
            self._recorded |= {name: new for name, rows in self._weights.items() if (new := _last(rows.findall(whole), None))}
            behind = weights_behind(self.headline.metric, self._recorded)
            self.is_carried = all(weights.is_reliable for found in behind.values() for weights in found)


def _last(found: list[tuple[bytes, bytes, bytes]], worst: float | None) -> dict[int, float]:
    """Return replica -> the value of the last record; `worst` for one that is not finite, None: it stays."""
    return {int(replica): _number(value, worst) for trajectories, replica, value in found if trajectories == found[-1][0]}


def _number(text: bytes, worst: float | None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if worst is None or math.isfinite(value) else worst
