"""Runs of several folders as one list: a run that lies in several of them is one run, and the copy that is further counts.

A run's name ends in the hash of its configuration, so equal hashes are one run, on whatever machine it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import NoRunsError, require_folder, runs_in
from gfn_vi.runs.places import each_of, key_of_run
from gfn_vi.runs.reading import Run, read_run

JOINED = Path("joined")  # where what is made of several folders is written, unless another folder is named
MOST_NAMED = 3  # runs that a line names


class Found(NamedTuple):
    """A run and the folder that holds it."""

    folder: Path
    run: Run


def read_folders(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs of all folders, each once, and lines for what is left out. Raises NoRunsError where there are none.

    A folder without runs is a line, so that outputs/* may be given; one that is not there is refused.
    """
    places = each_of(folders)
    for folder in places:
        require_folder(folder)
    paths = {folder: runs_in(folder) for folder in places}
    if not any(paths.values()):
        raise NoRunsError(f"{listed(places, MOST_NAMED)}: no runs found")
    found = [Found(folder, read_run(path)) for folder, runs in paths.items() for path in runs]
    runs, lines = without_copies(found)
    return runs, [*(f"no runs in {folder}" for folder, own in paths.items() if not own), *lines]


def without_copies(found: Sequence[Found]) -> tuple[list[Run], list[str]]:
    """Return each run once, by name, and lines that say where it lies several times and where its numbers are not the same."""
    copies: dict[str, list[Found]] = {}
    for each in found:
        copies.setdefault(key_of_run(each.run.name), []).append(each)
    chosen = {key: max(own, key=_how_far) for key, own in copies.items()}  # the first one of equals
    several = {key: own for key, own in copies.items() if len(own) > 1}
    lines = []
    if several:
        named = [f"{chosen[key].run.name} of {chosen[key].folder}" for key in several]
        n = f"{len(several)} run{'s' * (len(several) != 1)}"
        lines.append(f"{n} in several folders, of which the one that is further counts: {listed(named, MOST_NAMED)}")
    lines += _doubts(several, chosen)
    return sorted((each.run for each in chosen.values()), key=lambda run: run.name), lines


def _how_far(found: Found) -> tuple[bool, bool, int]:
    """Return an order: what is done, then what has numbers, then the one with more rows."""
    metrics = found.run.metrics
    return found.run.state == "done", metrics is not None, 0 if metrics is None else metrics.num_rows


def _doubts(several: Mapping[str, Sequence[Found]], chosen: Mapping[str, Found]) -> list[str]:
    """Return a line for each run whose copies have recorded other numbers, with the first one."""
    lines = []
    for key, own in several.items():
        kept = chosen[key]
        for other in own:
            if other is not kept and (difference := _first_difference(kept.run.metrics, other.run.metrics)):
                where = f"{kept.folder} and {other.folder} have other numbers of {kept.run.name}"
                lines.append(f"warning: {where}: {difference}; those of {kept.folder} count")
    return lines


def _first_difference(one: pa.Table | None, other: pa.Table | None) -> str:
    """Return in words the first record in which two files of one run differ, as far as both go; "" for none."""
    if one is None or other is None:
        return ""
    n = min(one.num_rows, other.num_rows)
    (values, names), (others, other_names) = ((_values(table, n), _names(table, n)) for table in (one, other))
    differs = (names != other_names) | ~((values == others) | (np.isnan(values) & np.isnan(others)))
    if not differs.any():
        return ""
    i = int(differs.argmax())
    after = f"after {one['trajectories'][i]} trajectories"
    other_name = "" if names[i] == other_names[i] else f"{other_names[i]} "
    return f"{names[i]} {values[i]:.6g} and {other_name}{others[i]:.6g} {after}"


def _values(table: pa.Table, n: int) -> np.ndarray:
    return np.asarray(table["value"][:n].to_numpy())


def _names(table: pa.Table, n: int) -> np.ndarray:
    return np.asarray(table["metric"][:n].to_pylist(), dtype=object)
