"""What training asks of its process: an answer to Ctrl-C that lets an update end in good order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yield a list that becomes non-empty on SIGINT or SIGTERM; the second of one kind raises KeyboardInterrupt."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if number in received:  # the second time the user means it; a sweep sends SIGTERM after a terminal's SIGINT
            raise KeyboardInterrupt
        if not received:  # not by print or logging: a handler may interrupt either
            os.write(2, b"\nstopping after this update or measurement, all will be saved; again to stop at once\n")
        received.append(number)

    try:
        previous = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread of a program that embeds us: its signals are not ours
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
