"""What a sweep has reached, in a few lines: the headline of each setting, the best first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from gfn_vi.core.command_line import command
from gfn_vi.core.headline import Headline
from gfn_vi.runs.files import METRICS
from gfn_vi.runs.metrics_tail import MetricsTail
from gfn_vi.runs.state import look
from gfn_vi.sweeps.jobs import differences
from gfn_vi.sweeps.launching import Outcome

MOST_ROWS = 15


def results(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of the table: for each headline its words, then a row for each setting that has finished runs.

    Runs that differ in nothing but their seed share a row, with the median over runs and the range; the value of a run is its
    median over replicas. One that diverged counts as the headline's worst.
    """
    finished = [outcome for outcome in outcomes if outcome.state in ("done", "diverged")]
    settings = [[word for word in outcome.job.overrides if not word.startswith("seed=")] for outcome in finished]
    found: dict[Headline, dict[str, list[float]]] = {}
    labels = differences(settings) if len(finished) > 1 else [""] * len(finished)
    for outcome, label in zip(finished, labels, strict=True):
        headline = look(outcome.job.directory).headline
        if headline is None:
            continue
        tail = MetricsTail(outcome.job.directory / METRICS, headline)
        tail.read()
        value = headline.worst if outcome.state == "diverged" else tail.value
        if value is not None:
            found.setdefault(headline, {}).setdefault(label, []).append(value)
    lines = []
    for headline, by_label in found.items():
        better = "lower" if headline.direction == "minimize" else "higher"
        over = ", median over runs (range)" if any(len(values) > 1 for values in by_label.values()) else ""
        lines.append(f"{headline.metric} ({headline.words}, {better} is better){over}:")
        rows, most = _rows(headline, by_label), max(MOST_ROWS // len(found), 3)
        more = f"  and {len(rows) - most} more: {command('status')} {finished[0].job.directory.parent} --once"
        lines += rows if len(rows) <= most else [*rows[:most], more]
    return lines


def _rows(headline: Headline, by_label: dict[str, list[float]]) -> list[str]:
    """Return value and label in two columns, the best first."""
    ranked = sorted(by_label.items(), key=lambda item: (headline.sign * statistics.median(item[1]), item[0]))
    cells = [(_in_words(values), label or ("all runs" if len(values) > 1 else "the run")) for label, values in ranked]
    width = max(len(value) for value, _ in cells)
    return [f"  {value:<{width}}  {label}" for value, label in cells]


def _in_words(values: Sequence[float]) -> str:
    spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
    return f"{statistics.median(values):.3g}{spread}"
