"""The source of the user's own classes is part of what a run is: it is recorded in status.json, and compared before work.

The name of a run cannot tell it, since who changes a reward wants to hear of the runs that have the other one. A run whose files
have changed since it was trained, or began, is refused with what can be done; so no run changes its reward on the way, and no
sweep takes runs of the old source for those that it was asked for. checkpoint.accept_changed_sources=true says that a change
does not matter (a comment, a faster way to the same number, a mistake that stopped the run): it is noted and the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import RunError, listed, require
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.files import CHECKPOINT
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.source_files import code_named_by, digest_now, digests_of

ACCEPT = "checkpoint.accept_changed_sources"
MOST_NAMED = 3  # files, and runs, that a message names

Sources = Mapping[str, str]  # file -> digest
Changes = dict[str, str | None]  # file -> digest now, None where the file is not found from here


def sources_of(*configs: Mapping[str, Any]) -> dict[str, str]:
    """Return file -> digest of the user's files that these configurations depend on, as they are now."""
    return digests_of(set().union(*map(code_named_by, configs)))


def recorded_sources(status: Mapping[str, Any] | None) -> dict[str, str]:
    """Return file -> digest as status.json has it; {} where a run does not say, as those of older versions."""
    found = (status or {}).get("sources")
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, Mapping) else {}


class Comparison:
    """Files as they are now against what was recorded; a file is read once, whatever number of runs it is asked for."""

    def __init__(self) -> None:
        self._now: Changes = {}

    def changes(self, recorded: Sources) -> Changes:
        """Return the recorded files that differ now, with their digests."""
        for name in recorded:
            if name not in self._now:
                self._now[name] = digest_now(name)
        return {name: self._now[name] for name, digest in recorded.items() if self._now[name] != digest}


def settle_changes(directories: Sequence[Path], accepts: bool) -> None:
    """Refuse runs that were trained, or have begun, with other sources than those of now; or note of each that it is accepted.

    accepts: the key ACCEPT. Raises RunError in one line for all the runs.
    """
    require(isinstance(accepts, bool), ACCEPT, accepts, "expected true or false")
    comparison, changed = Comparison(), {}
    for path in directories:
        status = RunDirectory(path).status()
        if status is not None and _has_work(path, status) and (found := comparison.changes(recorded_sources(status))):
            changed[path] = found
    if changed and not accepts:
        raise RunError(_refusal(changed, len(directories)))
    for path, found in changed.items():
        with RunDirectory(path) as directory:
            directory.accept_sources(found)


def require_unchanged(sources: Sources, since: str, advice: str = "the same command says what can be done") -> None:
    """Raise RunError if files differ from what they were; since: when that was, in words; advice: what to do."""
    changed = Comparison().changes(sources)
    if changed:
        raise RunError(f"{_in_words(changed)} since {since}: {advice}")


def doubt_about_table(folder: Path, sources: Sources) -> str | None:
    """Return a line where runs of the folder have other versions of these files; None without any."""
    if not sources:
        return None
    statuses = {path: RunDirectory(path).status() for path in runs_in(folder)}
    other = {
        path: {name: sources[name] for name, digest in recorded_sources(status).items() if sources.get(name, digest) != digest}
        for path, status in statuses.items()
        if status is not None and _has_work(path, status)
    }
    found = [path for path, changed in other.items() if changed]
    if not found:
        return None
    names = sorted({name for changed in other.values() for name in changed})
    return (
        f"{folder} has runs of another {listed(names, MOST_NAMED)} ({listed(found, MOST_NAMED)}): no figure shows both;"
        " experiment_name=... keeps them apart, or delete the old ones"
    )


def changes_since(path: Path) -> str:
    """Return in words which of the user's files have changed since this run was trained; "" for none."""
    changed = Comparison().changes(recorded_sources(RunDirectory(path).status()))
    return f"{_in_words(changed)} since it was trained" if changed else ""


def _has_work(path: Path, status: Mapping[str, Any]) -> bool:
    """Return whether something was learned with the recorded sources; a run that failed before an update has nothing to lose."""
    return status.get("state") == "done" or bool(status.get("step")) or (path / CHECKPOINT).exists()


def _refusal(changed: Mapping[Path, Changes], n_runs: int) -> str:
    files: Changes = {name: digest for found in changed.values() for name, digest in found.items()}
    first = next(iter(changed))
    if n_runs == 1:
        step = (RunDirectory(first).status() or {}).get("step")
        which, what = f"{first} was trained ({step} updates)", "the run's folder"
    else:
        which = f"{len(changed)} of {n_runs} runs were trained ({listed(list(changed), MOST_NAMED)})"
        what = "the folders of these runs"
    gone = None in files.values()
    again = "start from the folder that holds it, or restore it" if gone else "restore it"
    return (
        f"{_in_words(files)} since {which}: {again}; delete {what} to train with the source of now; experiment_name=... keeps"
        f" both; where the change does not matter, {ACCEPT}=true notes that and goes on"
    )


def _in_words(changed: Changes) -> str:
    names = sorted(changed)
    if all(digest is None for digest in changed.values()):
        return f"{listed(names, MOST_NAMED)} cannot be found any more, as it could"
    return f"{listed(names, MOST_NAMED)} {'has' if len(names) == 1 else 'have'} changed"
