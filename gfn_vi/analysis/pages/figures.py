"""Figures on disk as a page shows them: the picture itself, what it shows, the command and the table it was drawn from."""

from __future__ import annotations

import base64
import inspect
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

ORIGIN = re.compile(r"table (\w+); (.*)", re.DOTALL)  # what style.save writes into a PNG


@dataclass(frozen=True)
class Picture:
    """One PNG, or why it cannot be shown."""

    name: str
    damage: str = ""
    data: str = ""  # base64
    width: int = 0  # pixels
    height: int = 0
    table: str | None = None  # hash of the table it was drawn from
    command: str | None = None


@dataclass(frozen=True)
class Experiment:
    """The title, text and configuration keys of an experiment's figure.py."""

    title: str = ""
    text: str = ""
    config_keys: tuple[str, ...] = ()


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


def read_experiment(figure: Path) -> Experiment:
    """Docstring and CONFIG_KEYS of a figure.py; empty for one that cannot be imported, which `figure` says when asked to draw."""
    try:
        found = runpy.run_path(str(figure))
    except Exception:  # noqa: BLE001 - whatever a user's file raises, the page is about the runs
        return Experiment()
    title, _, text = inspect.cleandoc(found["__doc__"] or "").partition("\n\n")
    return Experiment(" ".join(title.split()), " ".join(text.split()), tuple(found.get("CONFIG_KEYS", ())))
