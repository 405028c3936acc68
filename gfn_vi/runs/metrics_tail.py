"""The end of a metrics.csv that may be growing: its last record and the last JSD, without reading what came before."""

from __future__ import annotations

import contextlib
import math
import os
import re
import statistics
from pathlib import Path

FIRST_BYTES, MOST_BYTES = 1 << 14, 1 << 20
WORST_JSD = math.log(2)
# step, trajectories, reward_calls, wall_seconds, replica, metric, value
_JSD = re.compile(rb"^\d+,(\d+),\d+,[^,]+,(\d+),jsd,([^,\n]+)$", re.MULTILINE)


class MetricsTail:
    """trajectories and wall_seconds of the last record, jsd (median over replicas; non-finite ones count as the worst)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.trajectories, self.wall_seconds, self.jsd = 0, None, None
        self.changed = 0.0  # when the file was written last, seconds since the epoch
        self._end = 0  # bytes that have been read

    wall_seconds: float | None
    jsd: float | None

    def read(self) -> None:
        """Look at what was appended since the last call; a file that has become shorter is read anew."""
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
                    if start == self._end or _holds_all_of_a_jsd(data) or amount >= MOST_BYTES:
                        self._take(data, start)
                        break
                    amount *= 4
        except OSError:  # not there yet, or no longer
            self._forget()

    def _take(self, data: bytes, start: int) -> None:
        """Whole lines only: the first may be cut at its front, the last may still be being written."""
        begin = 0 if start == self._end else data.find(b"\n") + 1
        end = data.rfind(b"\n") + 1
        if end <= begin:
            return
        self._end = start + end
        whole = data[begin:end]
        last = whole[:-1].rpartition(b"\n")[2].split(b",")
        with contextlib.suppress(IndexError, ValueError):  # only the header so far, or a damaged file
            self.trajectories, self.wall_seconds = int(last[1]), float(last[3])
        found = _JSD.findall(whole)
        if found:
            values = {replica: _number(value) for trajectories, replica, value in found if trajectories == found[-1][0]}
            self.jsd = statistics.median(values.values())


def _holds_all_of_a_jsd(data: bytes) -> bool:
    """Whether a whole line of another metric comes before the first JSD: no replica of that record was cut off."""
    second_line_ends = data.find(b"\n", data.find(b"\n") + 1)
    return data.find(b",jsd,", second_line_ends) > second_line_ends > 0 and data.find(b",jsd,") > second_line_ends


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        return WORST_JSD
    return value if math.isfinite(value) else WORST_JSD
