"""Which mirrors have the whole of a finished run, so that nothing is sent twice: sent.json, a digest for each kind of mirror.

The digest is of what is shown (numbers, pictures, tables) and of where and under which names; whatever changes, it is sent anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gfn_vi.runs.durable_files import replace_durably
from gfn_vi.runs.files import METRICS, SENT


def note_sent(directory: Path, kind: str, settings: Mapping[str, Any]) -> None:
    """Note that a mirror of this kind has everything, under these settings (project, tags, ...). Raises RunError for the disk."""
    content = _noted(directory) | {kind: _digest(directory, settings)}
    data = (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
    replace_durably(directory / SENT, lambda file: file.write(data))


def is_sent(directory: Path, kind: str, settings: Mapping[str, Any]) -> bool:
    """Return whether it has everything that the directory shows now, under these settings."""
    return _noted(directory).get(kind) == _digest(directory, settings)


def _noted(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads((directory / SENT).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(directory: Path, settings: Mapping[str, Any]) -> str:
    found = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    shown = [directory / METRICS, *sorted(directory.glob("*.png")), *sorted(set(directory.glob("*.csv")) - {directory / METRICS})]
    for path in shown:
        found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
