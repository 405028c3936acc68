"""Slurm warns a job before it ends it, for lack of time or for a more urgent one: the run saves, then is queued again.

submitit alone answers the warning, SIGUSR2, by leaving at once: what was trained since the last checkpoint would be lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class JobStoppedError(Exception):
    """A signal ended the job."""


@contextmanager
def warnings_save_and_requeue() -> Iterator[None]:
    """While a job runs, answer a warning with a Ctrl-C; submitit then has its turn and leaves with SystemExit.

    Does nothing where nobody has prepared for a warning, and outside the main thread.
    """
    queue_again = signal.getsignal(signal.SIGUSR2)
    if not callable(queue_again) or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_warned = False

    def warn(number: int, frame: FrameType | None) -> None:
        nonlocal is_warned
        if not is_warned:  # a second Ctrl-C would not wait for the first
            is_warned = True
            signal.raise_signal(signal.SIGINT)  # a SIGTERM may have come before: preemption sends both

    signal.signal(signal.SIGUSR2, warn)
    try:
        yield
    except JobStoppedError:
        if is_warned:
            queue_again(signal.SIGUSR2, None)
        raise
    finally:
        signal.signal(signal.SIGUSR2, queue_again)
