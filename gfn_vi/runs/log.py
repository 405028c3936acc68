"""run.log: the log lines of a run, shown on stderr too."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gfn_vi.runs.files import LOG

log = logging.getLogger("gfn_vi")


class _CurrentStderr(logging.Handler):
    """Writes to what sys.stderr is now: a progress bar puts itself in its place to keep log lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # of a program without a terminal
            return
        with contextlib.suppress(OSError, UnicodeEncodeError):  # a terminal that has gone ends no run: the line is in run.log
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()


@contextmanager
def log_lines(directory: Path) -> Iterator[None]:
    """Write the lines of the logger gfn_vi to run.log of the run's directory, those of INFO and above to stderr as well."""
    handlers: list[logging.Handler] = [
        logging.FileHandler(directory / LOG, encoding="utf-8", errors="backslashreplace"),
        _CurrentStderr(),
    ]
    handlers[1].setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
    before = log.level, log.propagate  # those of the program that trains, which goes on after the run
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate = before[1]
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
