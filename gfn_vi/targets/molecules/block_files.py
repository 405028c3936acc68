"""The JSON files that building blocks come in: a list of entries, or the columns of the published file (arXiv 2106.04399).

A list: [{"smiles": "CO", "attach": [0, 1], "name": "methanol"}, ...]; `name` may be left out.
Columns: {"block_smi": {"0": "CO", ...}, "block_r": {"0": [0, 1], ...}, "block_name": {"0": "CO_0", ...}}; the inner maps may be
lists, and block_name may be left out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, require

KEY = "target.blocks"
OWN = "blocks.json"
SHAPES = 'expected a JSON list of {"smiles": "CO", "attach": [0, 1], "name": "methanol"}, or a map of block_smi and block_r'


@dataclass(frozen=True)
class Entry:
    """One entry as it stands in the file; where: its number, and its name if it has one."""

    number: int
    smiles: str
    attach: tuple[int, ...]
    name: str

    @property
    def where(self) -> str:
        """The words that an error names the entry by."""
        named = f", {self.name}" if self.name != self.smiles else ""
        return f"block {self.number}{named}"


def read_entries(path: str | None, digest: str | None) -> list[Entry]:
    """Return the entries of the file in its order; a path of None: the project's own set. Raises ConfigError("target.blocks")."""
    if path is None:
        return _entries(OWN, (files("gfn_vi.targets.molecules") / OWN).read_bytes())
    return _entries(path, user_files.read_known(path, digest, KEY, "blocks"))


def _entries(path: str, content: bytes) -> list[Entry]:
    try:
        document = json.loads(content, object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(KEY, path, f"this is no JSON ({error}): {SHAPES}") from None
    rows = _columns(path, document) if isinstance(document, dict) else document
    require(isinstance(rows, list), KEY, path, SHAPES)
    require(len(rows) > 0, KEY, path, f"it holds no blocks: {SHAPES}")
    return [_entry(path, number, row) for number, row in enumerate(rows)]


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON, of which json would keep the last of two equal keys. Raises ConfigError for such."""
    twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
    require(not twice, KEY, json.dumps(dict(pairs))[:100], f"its key {twice[0] if twice else ''} is there twice: write one")
    return dict(pairs)


def _columns(path: str, document: dict[str, object]) -> list[dict[str, object]]:
    """Return the published columns as a list of entries."""
    require("block_smi" in document and "block_r" in document, KEY, path, SHAPES)
    smiles, attach = (_column(path, name, document[name]) for name in ("block_smi", "block_r"))
    names = _column(path, "block_name", document.get("block_name", smiles))
    for name, column in (("block_r", attach), ("block_name", names)):
        expected = f"{name} has {len(column)} entries and block_smi {len(smiles)}: give one for each block"
        require(len(column) == len(smiles), KEY, path, expected)
    return [{"smiles": s, "attach": a, "name": n} for s, a, n in zip(smiles, attach, names, strict=True)]


def _column(path: str, name: str, column: object) -> list[object]:
    if isinstance(column, dict):
        numbers = [str(number) for number in range(len(column))]
        expected = f'{name} has to number its {len(column)} blocks from "0" to "{len(column) - 1}"'
        require(set(numbers) == set(column), KEY, path, expected)
        return [column[number] for number in numbers]
    if not isinstance(column, list):
        raise ConfigError(KEY, path, f'{name} has to be a list, or a map like {{"0": ..., "1": ...}}')
    return column


def _entry(path: str, number: int, row: object) -> Entry:
    fields = row if isinstance(row, dict) else {}
    smiles, attach = fields.get("smiles"), fields.get("attach")
    sound = isinstance(smiles, str) and isinstance(attach, list) and all(type(atom) is int for atom in attach)
    sound = sound and set(fields) <= {"smiles", "attach", "name"} and isinstance(fields.get("name", ""), str)
    expected = 'expected {"smiles": "CO", "attach": [0, 1]}, and a "name" if you like; attach counts atoms of the SMILES from 0'
    require(sound, KEY, f"{path}, block {number}: {json.dumps(row)[:100]}", expected)
    assert isinstance(smiles, str) and isinstance(attach, list)
    return Entry(number, smiles, tuple(attach), fields.get("name") or smiles)
