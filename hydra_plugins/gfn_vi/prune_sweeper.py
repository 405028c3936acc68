"""The sweeper of `gfn-vi-prune`: it composes the jobs of a sweep, and shows or deletes the other runs of their folders."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gfn_vi.core.errors import RunError, require
from gfn_vi.runs.directory import identity_of
from gfn_vi.runs.manifest import forget
from gfn_vi.runs.pruning import Unasked, delete_run, unasked_runs
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.remembered import Remembered
from gfn_vi.sweeps.summary import runs
from gfn_vi.terminal.exit_status import EXIT_FAILED
from hydra_plugins.gfn_vi.resume_sweeper import ResumeSweeper

STATE_WIDTH = len("interrupted")
UNITS = ("B", "kB", "MB", "GB", "TB")


class PruneSweeper(ResumeSweeper):
    """A sweeper that launches nothing. delete: whether to delete what it lists; the other arguments are those of resume.yaml."""

    def __init__(
        self,
        params: Mapping[str, Any] | None,
        grids: Sequence[Mapping[str, Any]] | None,
        max_batch_size: int | None,
        max_losses: int,
        rates_in_replicas: bool,
        delete: bool,
    ) -> None:
        super().__init__(params, grids, max_batch_size, max_losses, rates_in_replicas)
        self.delete = delete

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Called by Hydra with the overrides of the command line; leaves with the exit status 1 where a run cannot be deleted."""
        jobs = self.jobs(arguments, Remembered(self.config, arguments))
        by_folder: dict[Path, list[Path]] = {}
        for job in jobs:
            _require_no_link(job)
            by_folder.setdefault(job.directory.parent, []).append(job.directory)
        found = {folder: unasked_runs(folder, asked) for folder, asked in by_folder.items()}
        mistaken = ""
        for folder, asked in by_folder.items():
            n_there = sum(path.is_dir() for path in asked)
            if found[folder] and not n_there:
                none = f"{folder} has none of the {runs(len(asked))} that this command asks for"
                mistaken = f"{none}, so its words may be mistaken"
                if self.delete:
                    raise RunError(f"{mistaken}: look at them without --delete, or delete the whole folder yourself")
            print(*_listed(folder, found[folder], n_there), sep="\n")
        if not self.delete:
            if mistaken:
                print(f"nothing is deleted, and --delete would refuse: {mistaken}: give all words of the sweep that is to stay")
            elif any(not run.stays for unasked in found.values() for run in unasked):
                print("nothing is deleted: the same command with --delete deletes them")
            return []
        results = [self._delete(folder, by_folder[folder], unasked) for folder, unasked in found.items()]
        if not all(results):
            sys.exit(EXIT_FAILED)
        return []

    def _delete(self, folder: Path, asked: Sequence[Path], found: Sequence[Unasked]) -> bool:
        """Delete what may be deleted, say what was freed and return whether all could be."""
        if all(run.stays for run in found):
            return True
        deleted, kept = [], []
        try:
            for run in found:
                if run.stays:
                    continue
                try:
                    delete_run(run.path)
                    deleted.append(run)
                except (RunError, OSError) as error:
                    kept.append(f"kept: {run.path} ({error})")
        finally:  # after Ctrl-C, too
            identities = {identity_of(path) for path in asked}
            forget(folder, lambda name: identity_of(folder / name) in identities or (folder / name).exists())
            print(f"deleted {runs(len(deleted))}, {in_words(sum(run.size for run in deleted))} freed", *kept, sep="\n")
        return not kept


def _require_no_link(job: Job) -> None:
    """Raise ConfigError where a folder of the experiment is a link: what lies behind it may be somebody else's."""
    name = job.config["experiment_name"]
    linked = [path for path in list(job.directory.parents)[: len(Path(name).parts)] if path.is_symlink()]
    advice = "is a link, and nothing is deleted through links: name the folder that it leads to"
    require(not linked, "experiment_name", name, f"{linked[0] if linked else ''} {advice}")


def _listed(folder: Path, found: Sequence[Unasked], n_asked: int) -> list[str]:
    """Return the lines that say what the sweep does not ask for: state, size and name of each run."""
    if not found:
        return [
            f"{folder}: nothing to prune, the sweep asks for all of its {runs(n_asked)}" if n_asked else f"{folder}: no runs here"
        ]
    size = in_words(sum(run.size for run in found if not run.stays))
    head = f"{folder}: {runs(len(found))} that the sweep does not ask for, {size} to be freed; {n_asked} that it asks for stay"
    return [head, *(_line(run) for run in found)]


def _line(run: Unasked) -> str:
    stays = f"  (stays: {run.stays})" if run.stays else ""
    return f"  {run.state:{STATE_WIDTH}}  {in_words(run.size):>8}  {run.path.name}{stays}"


def in_words(size: float) -> str:
    """Return a number of bytes with three digits and a unit: "12.3 MB"."""
    for unit in UNITS:
        if size < 999.5 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"
