"""The words that a person has typed: those of the command line, or the overrides that a Python program gives in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

# Of this thread or task: two of them may compose at once.
_given: ContextVar[tuple[str, ...] | None] = ContextVar("gfn_vi_words", default=None)


def typed_words() -> list[str]:
    """Return the words, without the name of the command."""
    given = _given.get()
    return sys.argv[1:] if given is None else list(given)


@contextmanager
def instead_of_command_line(words: Sequence[str]) -> Iterator[None]:
    """Take these words for what was typed, inside of the block: messages name them, and --config-dir among them is read."""
    before = _given.set(tuple(words))
    try:
        yield
    finally:
        _given.reset(before)


def way_to_sweep() -> str:
    """Return what a person does who wants several runs: on a command line or in a program."""
    return "add -m" if _given.get() is None else "in Python, train one after the other in a loop"
