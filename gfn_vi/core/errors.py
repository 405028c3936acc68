"""Errors that a user can act on: what was found, what was expected, which key to change."""

from __future__ import annotations

import math
from collections.abc import Sequence


class ConfigError(ValueError):
    """A value of the configuration that cannot work.

    key: dotted config key ("target.side"); found: the value; expected: what would be accepted and how to get it.
    """

    def __init__(self, key: str, found: object, expected: str) -> None:
        super().__init__(f"{key}={found}: {expected}")
        self.key, self.found, self.expected = key, found, expected

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, object, str]]:
        return (type(self), (self.key, self.found, self.expected))


class RunError(RuntimeError):
    """A run that cannot go on for a reason outside the configuration: disk, lock, damaged files."""


def require(condition: bool, key: str, found: object, expected: str) -> None:
    """Raise ConfigError(key, found, expected) unless the condition holds."""
    if not condition:
        raise ConfigError(key, found, expected)


def as_number(value: object) -> str:
    """Return how a number should have been typed, to be appended: one that is a text, or a whole one written as 1e4.

    "" for anything else.
    """
    if isinstance(value, float) and value.is_integer():
        return f"; type {int(value)}"
    is_text = isinstance(value, str) and is_number(value) and math.isfinite(float(value))
    variable = "a variable is $NAME for the shell, ${oc.decode:${oc.env:NAME}} in a YAML file"
    return f"; it is a text here: if it stands in quotes, leave them out; {variable}" if is_text else ""


def is_number(text: str) -> bool:
    """Return whether a text is a number to Python; infinities and NaN are."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(words: Sequence[object], most: int = 5, between: str = ", ") -> str:
    """Return the first few words for a message, and how many more there are: "a, b and 3 more"."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return between.join(map(str, words[:most])) + more
