"""An extension of griffe: docstrings are plain text, in which [R, B, *state] has a star and no emphasis."""

from __future__ import annotations

import re
from typing import Any

import griffe

SPECIAL = re.compile(r"([\\*_\[\]#])")


def as_text(part: str) -> str:
    """Return Markdown for a part of a line without code."""
    return SPECIAL.sub(r"\\\1", part.replace("&", "&amp;").replace("<", "&lt;"))


def escaped(text: str) -> str:
    """Return Markdown that shows the text as it is: what stands between backticks, and indented blocks, are code anyway."""
    lines = []
    for line in text.split("\n"):
        parts = line.split("`")
        if line.startswith("    ") or len(parts) % 2 == 0:
            lines.append(line)
        else:
            lines.append("`".join(as_text(part) if i % 2 == 0 else part for i, part in enumerate(parts)))
    return "\n".join(lines)


class PlainDocstrings(griffe.Extension):
    """Every docstring is escaped once, when its object has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = escaped(obj.docstring.value)
