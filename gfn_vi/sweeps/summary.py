"""What a sweep says at its beginning and at its end, and with which status it ends."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from hydra.core.config_loader import ConfigLoader

from gfn_vi.core import command_line
from gfn_vi.sweeps.jobs import Job, differences
from gfn_vi.sweeps.launching import Outcome, say
from gfn_vi.sweeps.results import results
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED

WORDS = {"missing": "to do"}  # state -> how it is counted
ORDER = ("done", "diverged", "running", "interrupted", "pruned", "killed", "damaged", "failed", "missing")
MOST_LABELS = 3  # of runs that failed with the same error


def counted(states: Iterable[str]) -> str:
    """Return the number of runs in each state, such as `12 runs: 4 done, 1 interrupted, 7 to do`."""
    counts = Counter(states)
    found = ", ".join(f"{counts[state]} {WORDS.get(state, state)}" for state in ORDER if counts[state])
    return f"{runs(counts.total())}: {found}"


def runs(n: int) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} run" if n == 1 else f"{n} runs"


def command(job: Job, loader: ConfigLoader) -> str:
    """Return the command line of one run."""
    added = [source.path for source in loader.get_sources() if source.provider == "command-line"]
    options = [word for path in added for word in ("--config-dir", path)]
    return f"{command_line.command('train')} {shlex.join([*options, *job.overrides])}"


def conclude(outcomes: Sequence[Outcome], loader: ConfigLoader) -> int:
    """Say what was reached and where, and what is wrong with which runs; return the exit status."""
    print(*results(outcomes), counted(outcome.state for outcome in outcomes), sep="\n")
    print(*dict.fromkeys(outcome.job.directory.parent for outcome in outcomes), sep="\n", flush=True)
    bad = [outcome for outcome in outcomes if outcome.state in ("failed", "diverged")]
    if not bad:
        return 0
    labels = dict(zip((o.job for o in outcomes), differences([o.job.overrides for o in outcomes]), strict=True))
    say(f"error: {len(bad)} of {runs(len(outcomes))} failed or diverged:")
    by_error: dict[tuple[str, str | None], list[Job]] = {}
    for outcome in bad:
        by_error.setdefault((outcome.state, outcome.error), []).append(outcome.job)
    for (state, error), (first, *others) in by_error.items():
        also = [f"  {labels[job]}\n" for job in others[: MOST_LABELS - 1]]
        more = f"  and {len(others) - len(also)} more\n" if len(others) > len(also) else ""
        where = f"\n    {first.directory}" if first.directory.exists() else ""
        alone = f"\n    alone: {command(first, loader)}" if state == "failed" else ""
        say(f"  {labels[first] or 'the run'}\n{''.join(also)}{more}    {error}{where}{alone}")
    if any(outcome.state == "failed" and not outcome.is_input for outcome in bad):
        say("the same command runs only what failed again")
    if any(outcome.state == "diverged" for outcome in bad):
        say("what diverged is kept as it is; to run it again, delete its directory")
    return EXIT_BAD_INPUT if all(outcome.is_input for outcome in bad) else EXIT_FAILED
