"""Figures on disk as a page shows them: the picture itself, what it shows, the command and the table it was drawn from."""

from __future__ import annotations

import base64
import inspect
import re
import runpy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORIGIN = re.compile(r"\S+ (\w+); (.*)", re.DOTALL)  # what style.save writes into a PNG


@dataclass(frozen=True)
class Picture:
    """One PNG, or why it cannot be shown."""

    name: str
    damage: str = ""
    data: str = ""  # base64
    width: int = 0  # pixels
    height: int = 0
    table: str | None = None  # hash of the table, or of the arrays, that it was drawn from
    command: str | None = None


def read_picture(path: Path) -> Picture:
    """Return the picture as it is in the file; one that is damaged is said to be."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            size, told = image.size, str(getattr(image, "text", {}).get("Description", ""))
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:  # SyntaxError: Pillow's for a broken PNG
        return Picture(path.name, str(error))
    origin = ORIGIN.match(told)
    return Picture(path.name, "", data, *size, *(origin.groups() if origin else ()))


def read_experiment(figure: Path | None) -> dict[str, Any]:
    """Return title, text, config_keys and blocks of a figure.py; empty ones where there is none, or none that can be imported."""
    found: dict[str, Any] = {}
    with suppress(Exception):  # whatever a user's file raises, the page is about the runs; `figure` says it when asked to draw
        found = {} if figure is None else runpy.run_path(str(figure))
    title, _, text = inspect.cleandoc(found.get("__doc__") or "").partition("\n\n")
    return {
        "title": " ".join(title.split()),
        "text": " ".join(text.split()),
        "config_keys": found.get("CONFIG_KEYS", ()),
        "blocks": found.get("BLOCKS", ()),
    }
