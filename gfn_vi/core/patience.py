"""A line for whoever waits: what takes longer than PATIENCE_SECONDS says what it is doing and how large it is, once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 2.0
_told: set[str] = set()


@contextmanager
def told_if_slow(doing: str) -> Iterator[None]:
    """Print `doing` to stderr if the block takes longer than PATIENCE_SECONDS; a process says the same thing once.

    doing: what is done, and how large it is, such as "listing 1,000,000 states".
    """

    def tell() -> None:
        if doing not in _told:
            _told.add(doing)
            print(f"{doing} ...", file=sys.stderr, flush=True)

    timer = threading.Timer(PATIENCE_SECONDS, tell)
    timer.daemon = True  # a process that ends meanwhile does not wait for it
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
