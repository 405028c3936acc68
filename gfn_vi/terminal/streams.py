"""A terminal that cannot show a character, or is not there, never ends a run: what it lacks is shown by its escape."""

from __future__ import annotations

import io
import os
import sys

from gfn_vi.core.errors import ConfigError


def prepare_streams() -> None:
    """Let stdout and stderr write what their encoding has not as \\u4e2d; one that is closed goes nowhere.

    A closed stream's number would be given to the next file that is opened, and whatever is printed would go into it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def check_words(words: list[str]) -> None:
    """Raise ConfigError for a word of the command line that this process could not read as text."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            key, _, value = os.fsencode(word).decode(errors="backslashreplace").partition("=")
            raise ConfigError(key, value, f"it is not text in {_file_encoding()}: {_way_on(word)}") from None


def _file_encoding() -> str:
    return sys.getfilesystemencoding().upper()


def _way_on(word: str) -> str:
    try:
        os.fsencode(word).decode()
    except UnicodeDecodeError:
        return "type it in UTF-8"
    return "set PYTHONUTF8=1, or LC_ALL to a locale of UTF-8"
