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
    """One PNG; data is empty where it cannot be shown."""

    name: str
    problem: str = ""  # why it cannot be trusted or shown; "" if it can
    data: str = ""  # base64
    width: int = 0  # pixels
    height: int = 0
    command: str | None = None
    table: str | None = None  # hash of the table it was drawn from


@dataclass(frozen=True)
class Experiment:
    """The title, text and configuration keys of an experiment's figure.py."""

    title: str = ""
    text: str = ""
    config_keys: tuple[str, ...] = ()


def find_pictures(folder: Path, table: str | None) -> list[Picture]:
    """figure.png and figure_*.png of the folder, each compared with the hash of the present table."""
    return [read_picture(path, table) for path in sorted(folder.glob("figure*.png"))]


def read_picture(path: Path, table: str | None) -> Picture:
    """The picture as it is in the file; one that is damaged is said to be."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            size, told = image.size, str(getattr(image, "text", {}).get("Description", ""))
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:  # SyntaxError: Pillow's for a broken PNG
        return Picture(path.name, f"{path.name} is damaged ({error}): draw it again")
    found = ORIGIN.match(told)
    drawn_from, command = found.groups() if found else (None, None)
    return Picture(path.name, _problem(path.name, drawn_from, table), data, *size, command, drawn_from)


def _problem(name: str, drawn_from: str | None, table: str | None) -> str:
    if drawn_from is None:
        return f"{name} does not say which table it was drawn from"
    if table is None:
        return f"{name} was drawn from table {drawn_from}; now no run has numbers"
    if drawn_from != table:
        return f"{name} is out of date: it was drawn from table {drawn_from}, the runs now give table {table}. Draw it again"
    return ""


def read_experiment(figure: Path) -> Experiment:
    """Docstring and CONFIG_KEYS of a figure.py; empty for one that cannot be imported, which `figure` says when asked to draw."""
    try:
        found = runpy.run_path(str(figure))
    except Exception:  # noqa: BLE001 - whatever a user's file raises, the page is about the runs
        return Experiment()
    title, _, text = inspect.cleandoc(found["__doc__"] or "").partition("\n\n")
    return Experiment(" ".join(title.split()), " ".join(text.split()), tuple(found.get("CONFIG_KEYS", ())))
