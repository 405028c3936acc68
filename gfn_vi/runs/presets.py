"""Presets whose numbers decide nothing: whoever shows a number of such a run says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from gfn_vi.runs.files import CONFIG
from gfn_vi.runs.folders import TableError, find_runs

DECIDE_NOTHING = frozenset({"smoke"})  # it tells whether everything runs


def remark(presets: Iterable[str | None]) -> str:
    """Return the sentence that stands beside numbers of runs of these presets; "" where they may decide something."""
    found = sorted(DECIDE_NOTHING.intersection(preset for preset in presets if preset is not None))
    return f"Preset {found[0]} decides nothing: it tells whether everything runs." if found else ""


def remark_on(folder: Path) -> str:
    """Return the same for a run, or for all runs of a folder; "" where there are none with a configuration."""
    try:
        runs = [folder] if (folder / CONFIG).is_file() else find_runs(folder)
    except TableError:
        return ""
    return remark({_preset_of(path) for path in runs})


def _preset_of(run: Path) -> str | None:
    """Return preset_name of a run's configuration, without parsing the rest; None where there is none to read."""
    try:
        found = re.search(r"^preset_name: *[\"']?(\w+)", (run / CONFIG).read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return found.group(1) if found else None
