"""Figures on disk as a page shows them: the picture itself, what it shows, the command and the table it was drawn from."""

from __future__ import annotations

import ast
import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORIGIN = re.compile(r"table (\w+); (.*)", re.DOTALL)  # what style.save writes into a PNG


@dataclass(frozen=True)
class Picture:
    """One PNG; data is empty where it cannot be shown."""

    name: str
    data: str  # base64
    width: int  # pixels
    height: int
    command: str | None
    table: str | None  # hash of the table it was drawn from
    problem: str  # why it cannot be trusted or shown; "" if it can


@dataclass(frozen=True)
class Experiment:
    """The title, text and configuration keys of an experiment's figure.py, read without running it."""

    title: str
    text: str
    config_keys: tuple[str, ...]


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
        return Picture(path.name, "", 0, 0, None, None, f"{path.name} is damaged ({error}): draw it again")
    found = ORIGIN.match(told)
    drawn_from, command = found.groups() if found else (None, None)
    return Picture(path.name, data, *size, command, drawn_from, _problem(path.name, drawn_from, table))


def _problem(name: str, drawn_from: str | None, table: str | None) -> str:
    if drawn_from is None:
        return f"{name} does not say which table it was drawn from"
    if table is None:
        return f"{name} was drawn from table {drawn_from}; now no run has numbers"
    if drawn_from != table:
        return f"{name} is out of date: it was drawn from table {drawn_from}, the runs now give table {table}. Draw it again"
    return ""


def read_experiment(figure: Path) -> Experiment:
    """Docstring and CONFIG_KEYS of a figure.py, parsed and not run; empty for one that cannot be parsed."""
    try:
        tree = ast.parse(figure.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return Experiment("", "", ())
    title, _, text = (ast.get_docstring(tree) or "").partition("\n\n")
    keys: Any = ()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "CONFIG_KEYS" for target in targets):
                keys = _literal(node.value)
    return Experiment(" ".join(title.split()), " ".join(text.split()), tuple(map(str, keys)))


def _literal(node: ast.expr | None) -> Any:
    try:
        return () if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return ()
