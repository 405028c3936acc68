"""Ctrl-C and SIGTERM in the process that launches: the workers save first, then it stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from gfn_vi.core.errors import RunError
from gfn_vi.runs.directory import RunDirectory

SECONDS_BETWEEN_LOOKS = 0.1
# A terminal has told the workers, too: only those that go on after this time are told by us.
SECONDS_BEFORE_TELLING = 2.0


@contextmanager
def workers_save_first(runs: Sequence[Path], say: Callable[[str], None]) -> Iterator[None]:
    """SIGINT and SIGTERM become KeyboardInterrupt, raised when local workers have saved what they train of `runs`.

    Jobs of a cluster, which live on without this process, are left alone. A second signal does not wait. Does nothing
    outside the main thread of a program.
    """
    is_stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            _wait_for_workers(runs, say, 0.0 if number == signal.SIGTERM else SECONDS_BEFORE_TELLING)
        raise KeyboardInterrupt

    try:
        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_for_workers(runs: Sequence[Path], say: Callable[[str], None], seconds: float) -> None:
    writers = {run: pid for run in runs if (pid := _local_writer(run)) is not None}
    if writers:
        say(f"stopping: {len(writers)} running {'job saves' if len(writers) == 1 else 'jobs save'} first; again to stop at once")
    tell_at = time.monotonic() + seconds
    told: set[int] = set()
    while writers := {run: pid for run, pid in writers.items() if _local_writer(run) == pid}:
        if time.monotonic() >= tell_at:
            for pid in set(writers.values()) - told:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            told |= set(writers.values())
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _local_writer(path: Path) -> int | None:
    """The process that writes a run, if it is one which the terminal of this process would reach, but not this one."""
    run = RunDirectory(path)
    with suppress(RunError, ProcessLookupError, PermissionError):  # where nobody can tell it is not waited for
        found = re.fullmatch(r"pid (\d+) on host (.+)", run.owner()) if run.is_being_written() else None
        if found and found[2] == socket.gethostname():
            pid = int(found[1])
            return pid if pid != os.getpid() and os.getpgid(pid) == os.getpgrp() else None
    return None
