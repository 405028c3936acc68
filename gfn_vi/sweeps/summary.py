"""What a sweep says at its beginning and at its end, and with which status it ends."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader

from gfn_vi.runs.state import RunState
from gfn_vi.sweeps.jobs import Job, differences
from gfn_vi.sweeps.launching import Outcome, say
from gfn_vi.sweeps.results import results
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED

WORDS = {"missing": "to do"}  # state -> how it is counted
ORDER = ("done", "diverged", "running", "interrupted", "killed", "damaged", "failed", "missing")


def counted(states: Iterable[str]) -> str:
    """Return the number of runs in each state, such as `12 runs: 4 done, 1 interrupted, 7 to do`."""
    counts = Counter(states)
    found = ", ".join(f"{counts[state]} {WORDS.get(state, state)}" for state in ORDER if counts[state])
    return f"{runs(counts.total())}: {found}"


def announce(standings: Sequence[RunState]) -> None:
    """Say where the runs stand, unless nothing is left to do: then the end says it."""
    if not all(standing.is_finished for standing in standings):
        say(counted(standing.state for standing in standings))


def conclude(outcomes: Sequence[Outcome], loader: ConfigLoader) -> int:
    """Say what was reached and where, and what is wrong with which runs; the exit status."""
    print(*results(outcomes), counted(outcome.state for outcome in outcomes), sep="\n")
    print(*dict.fromkeys(outcome.job.directory.parent for outcome in outcomes), sep="\n", flush=True)
    bad = [outcome for outcome in outcomes if outcome.state in ("failed", "diverged")]
    if not bad:
        return 0
    labels = dict(zip((o.job for o in outcomes), differences([o.job.overrides for o in outcomes]), strict=True))
    say(f"error: {len(bad)} of {runs(len(outcomes))} failed or diverged:")
    for outcome in bad:
        say("\n".join(_described(outcome, labels[outcome.job], loader)))
    if any(outcome.state == "failed" for outcome in bad):
        say("the same command runs only what failed again")
    if any(outcome.state == "diverged" for outcome in bad):
        say("what diverged is kept as it is; to run it again, delete its directory")
    return EXIT_BAD_INPUT if all(outcome.is_input for outcome in bad) else EXIT_FAILED


def runs(n: int) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} run" if n == 1 else f"{n} runs"


def _described(outcome: Outcome, label: str, loader: ConfigLoader) -> list[str]:
    lines = [f"  {label or 'the run'}", f"    {outcome.error}"]
    if outcome.job.directory.exists():
        lines.append(f"    {outcome.job.directory}")
    if outcome.state == "failed":
        lines.append(f"    alone: {command(outcome.job, loader)}")
    return lines


def command(job: Job, loader: ConfigLoader) -> str:
    """The command line of one run."""
    program = Path(sys.argv[0])
    words = ["python", str(program)] if program.suffix == ".py" else [program.name]
    for source in loader.get_sources():
        if source.provider == "command-line":
            words += ["--config-dir", source.path]
    return shlex.join([*words, *job.overrides])
