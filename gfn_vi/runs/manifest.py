"""sweep.json says which runs a folder was asked for, so that those that never started are known to be missing or refused.

It also says from what a run was composed, so that nobody has to compose it again once it is finished (sweeps/remembered.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import filelock

from gfn_vi.runs.durable_files import disk_error, replace_durably
from gfn_vi.runs.files import MANIFEST

RUNS, ASKED = "runs", "asked"
OVERRIDES, REFUSED, COMPOSED = "overrides", "refused", "composed"  # of a run


class Planned(Protocol):
    """A run that was asked for: where it lies and from which overrides it is composed."""

    @property
    def directory(self) -> Path:
        """Return the directory of the run."""

    @property
    def overrides(self) -> Sequence[str]:
        """Return the overrides from which the run is composed."""


class Plan(NamedTuple):
    """An entry of the manifest for one run. refused: why it did not become a run; composed: digest of a Composing."""

    overrides: tuple[str, ...]
    refused: str | None
    composed: str | None


class Composing(NamedTuple):
    """Everything that the jobs of a sweep were composed from, besides their overrides.

    sources: digest of files and versions; asked: what these asked of the world outside; digest: of sources and the answers.
    """

    sources: str
    asked: tuple[str, ...]
    digest: str


def plan(jobs: Iterable[Planned], composing: Composing | None = None) -> None:
    """Add the jobs to the manifest of the folder that each lies in. Raises RunError where that cannot be written.

    What was refused before stays, unless it is asked for again. composing: None where nobody can say it.
    """
    more = {} if composing is None else {COMPOSED: composing.digest}
    asked = {} if composing is None or not composing.asked else {composing.sources: list(composing.asked)}
    _change(((job, more) for job in jobs), asked)


def refuse(errors: Iterable[tuple[Planned, str]]) -> None:
    """Note of jobs why they did not become runs. Raises RunError where that cannot be written."""
    _change(((job, {REFUSED: error}) for job, error in errors), {})


def forget(folder: Path, stays: Callable[[str], bool]) -> None:
    """Take the runs out of the manifest of a folder whose names do not stay. Raises RunError where that cannot be written."""
    path = folder / MANIFEST
    if not path.exists():
        return
    try:
        with filelock.FileLock(folder / f"{MANIFEST}.lock"):
            known = _known(folder)
            _write(path, known | {RUNS: {name: run for name, run in known[RUNS].items() if stays(name)}})
    except OSError as error:
        raise disk_error(path, error) from error


def read_manifest(folder: Path) -> dict[str, Plan]:
    """Return run name -> what the sweep wrote of it; {} without a manifest or with a damaged one."""
    try:
        known = _known(folder)[RUNS].items()
        return {name: Plan(tuple(map(str, run[OVERRIDES])), run.get(REFUSED), run.get(COMPOSED)) for name, run in known}
    except (KeyError, TypeError):
        return {}


def read_asked(folder: Path, sources: str) -> tuple[str, ...]:
    """Return what the jobs of a Composing with these sources have asked; () where nobody knows of anything."""
    asked = _known(folder)[ASKED].get(sources)
    return tuple(map(str, asked)) if isinstance(asked, list) else ()


def _change(jobs: Iterable[tuple[Planned, dict[str, str]]], asked: dict[str, list[str]]) -> None:
    """Write to the manifest of each folder the overrides of the jobs, with these further entries of each, and what was asked."""
    by_folder: dict[Path, dict[str, Any]] = {}
    for job, more in jobs:
        by_folder.setdefault(job.directory.parent, {})[job.directory.name] = {OVERRIDES: list(job.overrides)} | dict(more)
    for folder, added in by_folder.items():
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / f"{MANIFEST}.lock"):  # sweeps of the same folder plan one after the other
                known = _known(folder)
                changed = {RUNS: known[RUNS] | added, ASKED: known[ASKED] | dict(asked)}
                if changed != known:
                    _write(path, changed)
        except OSError as error:
            raise disk_error(path, error) from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    data = (json.dumps({key: value for key, value in content.items() if value}, indent=1, sort_keys=True) + "\n").encode()
    replace_durably(path, lambda file: file.write(data))


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest; an empty one if it is missing or damaged, since what was asked for is then asked again."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        runs, asked = content[RUNS], content.get(ASKED, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        runs, asked = {}, {}
    is_sound = isinstance(runs, dict) and all(isinstance(run, dict) for run in runs.values())
    return {RUNS: runs if is_sound else {}, ASKED: asked if isinstance(asked, dict) else {}}
