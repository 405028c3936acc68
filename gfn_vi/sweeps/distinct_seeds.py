"""No sweep trains a seed of one setting twice: refused before work, since nobody may count the same random numbers as two.

seed=0,1,2 replicas=5     15 replicas, but 7 seeds: replica r of a run with seed s has seed s + r
seed=0,5,10 replicas=5    15 replicas, 15 seeds
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gfn_vi.core.errors import RunError
from gfn_vi.core.seeds import is_whole
from gfn_vi.runs.directory import identity_of
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.replicas import Replica, repeats, replicas_of, seeds_in_words
from gfn_vi.runs.state import FINISHED, look_tolerantly
from gfn_vi.runs.stored_config import flatten, stored_config
from gfn_vi.sweeps.jobs import Job, differences

MOST_WRITTEN = 6  # seeds in the form to type; of more a range


def require_distinct(jobs: Sequence[Job]) -> None:
    """Raise RunError, with both jobs and the form to type, if two jobs of a folder have a setting and a seed in common."""
    for folder in dict.fromkeys(job.directory.parent for job in jobs):
        named = {job.directory.name: job for job in jobs if job.directory.parent == folder}
        replicas = {name: replicas_of(flatten(job.config)) for name, job in named.items()}
        for found in repeats(replicas):
            first, job = named[found.firsts[0]], named[found.run]
            settings = replicas[found.run][found.places[0]].settings
            alike = [named[name] for name, own in replicas.items() if any(r.settings == settings for r in own)]
            seeds = [r.seed for own in replicas.values() for r in own if r.settings == settings]
            one, other = (label or "the run" for label in differences([first.overrides, job.overrides]))
            raise RunError(
                f"{one} and {other} have seed {seeds_in_words(found.seeds)} in common, since replica r of a run with seed s has "
                f"seed s + r: {len(seeds)} replicas would be {len(set(seeds))} seeds; {_form(alike)}"
            )


def require_new(jobs: Iterable[Job], among: Sequence[Job]) -> None:
    """Raise RunError if a job would train seeds that a finished or running run of its folder has, which is none of `among`.

    jobs: those that are to be trained.
    """
    known = {identity_of(job.directory) for job in among}
    holders: dict[Path, dict[Replica, Path]] = {}
    for job in jobs:
        folder = job.directory.parent
        if folder not in holders:
            holders[folder] = _holders(folder, known)
        own = replicas_of(flatten(job.config))
        taken = {replica: path for replica in own if (path := holders[folder].get(replica)) is not None}
        if taken:
            settings, path = {replica.settings for replica in taken}, next(iter(taken.values()))
            free = 1 + max(replica.seed for replica in holders[folder] if replica.settings in settings)
            again = seeds_in_words(replica.seed for replica in taken)
            raise RunError(
                f"{job.directory} would train seed {again} again, which {path} has: "
                f"take seed={free}, another experiment_name, or move that folder elsewhere"
            )


def _holders(folder: Path, known: set[Path]) -> dict[Replica, Path]:
    """Return replica -> directory of the finished and running runs in a folder, but for those of the known identities."""
    paths = [path for path in runs_in(folder) if identity_of(path) not in known]
    trained = [path for path in paths if look_tolerantly(path).state in (*FINISHED, "running")]
    return {replica: path for path in trained for replica in replicas_of(flatten(stored_config(path) or {}))}


def _form(jobs: Sequence[Job]) -> str:
    """Return what to type, so that jobs which differ in nothing but seeds have different ones."""
    n, seeds = {job.config["replicas"] for job in jobs}, [job.config["seed"] for job in jobs]
    if not all(map(is_whole, seeds)):
        return "give each run seeds of its own"
    if len(n) > 1:
        return f"take replicas={max(n)} alone, or give each run a seed of its own"
    first, step = min(seeds), n.pop()
    end = first + step * len(jobs)
    written = range(first, end, step)
    form = ",".join(map(str, written)) if len(written) <= MOST_WRITTEN else f"range({first},{end},{step})"
    return f"type seed={form}"
