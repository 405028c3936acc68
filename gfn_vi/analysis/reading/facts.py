"""Who made the runs of a folder: versions, commits, hosts, times and cost, as status.json of each tells."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gfn_vi.core.command_line import command
from gfn_vi.core.headline import Headline
from gfn_vi.runs.directory import RunDirectory
from gfn_vi.runs.headline import headline_of
from gfn_vi.runs.places import Folders, run_in
from gfn_vi.runs.sources import recorded_sources
from gfn_vi.runs.state import RunState


def facts(folders: Folders, runs: Sequence[RunState]) -> dict[str, str]:
    """Heading -> text; a run without a readable status.json says nothing."""
    told = [status for run in runs if (status := RunDirectory(run_in(folders, run.name)).status()) is not None]
    versions = [status.get("versions") for status in told]
    known = [found for found in versions if isinstance(found, Mapping)]
    packages = list(dict.fromkeys(name for found in known for name in found))
    times = sorted(str(status[key]) for status in told for key in ("started", "updated") if status.get(key))
    seconds = [s for status in told if isinstance(s := status.get("wall_seconds"), int | float)]
    found = {
        "Commit of gfn_vi": _counted(map(_commit, told)),
        "Your source": "; ".join(
            _source(name, told) for name in sorted({n for status in told for n in recorded_sources(status)})
        ),
        "Versions": "; ".join(f"{name} {_counted(v.get(name) for v in known)}" for name in packages),
        "Hosts": _counted(status.get("host") for status in told),
        "Training time": f"{duration(sum(seconds))} in {len(seconds)} run{'s' * (len(seconds) != 1)}" if seconds else "",
        "Between": " and ".join(time[:16].replace("T", " ") for time in (times[0], times[-1])) + " UTC" if times else "",
    }
    return {name: text for name, text in found.items() if text}


def _commit(status: Mapping[str, Any]) -> str:
    changed = " (with local changes)" if status.get("git_local_changes") else ""
    return f"{status['git_commit']}{changed}" if status.get("git_commit") else "unknown (not a clone)"


def _source(name: str, told: Sequence[Mapping[str, Any]]) -> str:
    """Return a file of the user's with its digests, and in how many runs a change of it was accepted."""
    accepted = [status for status in told if any(name in change["sources"] for change in status.get("accepted_sources") or ())]
    more = f", changed and accepted in {len(accepted)} run{'s' * (len(accepted) != 1)}" if accepted else ""
    return f"{name} {_counted(recorded_sources(status).get(name) for status in told)}{more}"


def headlines(folders: Folders, runs: Iterable[str]) -> list[Headline]:
    """Return what the runs are judged by, as status.json of each tells: usually one, else the most frequent first."""
    told = Counter(found for run in runs if (found := headline_of(RunDirectory(run_in(folders, run)).status())) is not None)
    return [headline for headline, _ in told.most_common()]


def _counted(values: Any) -> str:
    """The values that occur; of several with how often each does."""
    counts = Counter(str(value) for value in values if value is not None)
    if len(counts) <= 1:
        return next(iter(counts), "")
    return ", ".join(f"{value} ({n} runs)" for value, n in counts.most_common())


def duration(seconds: float) -> str:
    """Return a duration in words: "2 h 5 min", "3 min 20 s", "4.5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def sweep_command(runs: Sequence[RunState]) -> str | None:
    """The sweep from the overrides of its manifest; None if there is none or they are no product.

    What varies under an experiment is given by the experiment itself.
    """
    planned = [dict(word.partition("=")[::2] for word in run.overrides) for run in runs if run.overrides]
    keys = dict.fromkeys(key for overrides in planned for key in overrides)
    values = {key: list(dict.fromkeys(overrides.get(key) for overrides in planned)) for key in keys}  # None: not everywhere
    words = [f"{key}={found[0]}" for key, found in values.items() if len(found) == 1]
    if "experiment" not in values:
        varying = {key: found for key, found in values.items() if len(found) > 1}
        if any(None in found for found in varying.values()) or math.prod(map(len, varying.values())) != len(planned):
            return None
        words += [f"{key}={','.join(map(str, found))}" for key, found in varying.items()]
    return f"{command('train')} {shlex.join(['-m', *words])}" if planned else None


def run_command(run: RunState) -> str:
    """The command of one run that the manifest knows."""
    return f"{command('train')} {shlex.join(run.overrides)}"
