"""What a finished run has to show besides its curves: the pictures that it drew, tables of last values and of what it found."""

from __future__ import annotations

import csv
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gfn_vi.runs.files import METRICS
from gfn_vi.runs.records import recorded

FINAL = "final_values"
MOST_ROWS = 1000  # of a table that a report has written


class Table(NamedTuple):
    """A table by its name: a row for each metric, or the rows of a CSV file of the run."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]


def pictures(directory: Path) -> list[Path]:
    """Return the PNGs of a run's directory, by name."""
    return sorted(directory.glob("*.png"))


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG, in pixels."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def tables(directory: Path) -> list[Table]:
    """Return the last values of all metrics (mean over replicas and each replica), then what the run's reports have written."""
    written = (path for path in sorted(directory.glob("*.csv")) if path.name != METRICS)
    return [final_values(directory), *(table for path in written if (table := _read(path)) is not None)]


def final_values(directory: Path) -> Table:
    """Return the last values of all metrics, a row for each."""
    last = {name: values for record in recorded(directory) for name, values in record.metrics.items()}
    n = max(map(len, last.values()), default=1)
    names = ["value"] if n == 1 else ["mean", *(f"replica_{r}" for r in range(n))]
    rows: list[list[str | float]] = [[name, *([sum(values) / n] if n > 1 else []), *values] for name, values in last.items()]
    return Table(FINAL, ["metric", *names], rows)


def _read(path: Path) -> Table | None:
    """Return the first rows of a CSV file, with columns of numbers as numbers; None for one without rows."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = [row for row, _ in zip(csv.reader(file), range(MOST_ROWS + 1), strict=False)] or [[]]
    if not rows or any(len(row) != len(header) for row in rows):
        return None
    columns = [_numbers(column) for column in zip(*rows, strict=True)]
    return Table(path.stem, header, list(map(list, zip(*columns, strict=True))))


def _numbers(column: Sequence[str]) -> Sequence[str | float]:
    try:
        return [float(text) for text in column]
    except ValueError:
        return column
