"""What a sweep says at its beginning and at its end, and with which status it ends."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from hydra.core.config_loader import ConfigLoader

from gfn_vi.core import command_line
from gfn_vi.core.headline import Headline
from gfn_vi.runs.files import METRICS
from gfn_vi.runs.last_values import last_values
from gfn_vi.runs.metrics_tail import MetricsTail
from gfn_vi.runs.state import FINISHED, look
from gfn_vi.sweeps.fused_rates import separated
from gfn_vi.sweeps.jobs import Job, differences
from gfn_vi.sweeps.launching import Outcome, say
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED

WORDS = {"missing": "to do"}  # state -> how it is counted
ORDER = ("done", "diverged", "running", "interrupted", "killed", "damaged", "failed", "missing")
MOST_ROWS = 15  # of the table of results
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


def results(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of a table: for each headline its words, then a row for each setting that has finished runs.

    Runs that differ in nothing but their seed share a row, with the median over runs and the range; a run with a rate for each
    replica counts as one run of each rate.
    """
    settings = [words for outcome in outcomes for words in separated(outcome.job)]
    labels = dict(zip(settings, differences(settings) if len(settings) > 1 else [""], strict=True))
    found: dict[Headline, dict[str, list[float]]] = {}
    for outcome in outcomes:
        headline = look(outcome.job.directory).headline
        if headline is not None and outcome.state in FINISHED:
            for words, value in _values(outcome, headline).items():
                found.setdefault(headline, {}).setdefault(labels[words], []).append(value)
    lines, most = [], max(MOST_ROWS // max(len(found), 1), 3)
    for headline, by_label in found.items():
        over = ", median over runs (range)" if any(len(values) > 1 for values in by_label.values()) else ""
        rows = _rows(headline, by_label)
        more = f"  and {len(rows) - most} more: {command_line.command('status')} {outcomes[0].job.directory.parent} --once"
        lines.append(f"{headline.metric} ({headline.words}, {headline.better_is} is better){over}:")
        lines += rows if len(rows) <= most else [*rows[:most], more]
    return lines


def _values(outcome: Outcome, headline: Headline) -> dict[tuple[str, ...], float]:
    """Return setting -> median over its replicas, the worst where one of them diverged; settings without a value are left out."""
    replicas_of = separated(outcome.job)
    if len(replicas_of) == 1:  # the end of the file is enough
        tail = MetricsTail(outcome.job.directory / METRICS, headline)
        tail.read()
        value = headline.worst if outcome.state == "diverged" else tail.value
        return {} if value is None else dict.fromkeys(replicas_of, value)
    last = last_values(outcome.job.directory, headline.metric)
    found = {words: [last[replica] for replica in replicas if replica in last] for words, replicas in replicas_of.items()}
    return {o: statistics.median(v) if all(map(math.isfinite, v)) else headline.worst for o, v in found.items() if v}


def _rows(headline: Headline, by_label: dict[str, list[float]]) -> list[str]:
    """Return value and label in two columns, the best first."""
    ranked = sorted(by_label.items(), key=lambda item: (headline.sign * statistics.median(item[1]), item[0]))
    cells = [(_in_words(values), label or ("all runs" if len(values) > 1 else "the run")) for label, values in ranked]
    width = max(len(value) for value, _ in cells)
    return [f"  {value:<{width}}  {label}" for value, label in cells]


def _in_words(values: Sequence[float]) -> str:
    spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
    return f"{statistics.median(values):.3g}{spread}"
