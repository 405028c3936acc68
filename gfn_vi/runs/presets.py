"""Presets whose numbers decide nothing: whoever shows a number of such a run says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gfn_vi.runs.files import CONFIG
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.stored_config import stored_config

DECIDE_NOTHING = frozenset({"smoke"})  # it tells whether everything runs


def remark(presets: Iterable[str | None]) -> str:
    """Return the sentence that stands beside numbers of runs of these presets; "" where they may decide something."""
    found = sorted(DECIDE_NOTHING.intersection(preset for preset in presets if preset is not None))
    return f"Preset {found[0]} decides nothing: it tells whether everything runs." if found else ""


def remark_on(*folders: Path) -> str:
    """Return the same for runs, or for all runs of folders; "" where there are none with a configuration."""
    runs = [run for folder in folders for run in ([folder] if (folder / CONFIG).is_file() else runs_in(folder))]
    return remark({(stored_config(run) or {}).get("preset_name") for run in runs})
