"""The table at the end of a sweep: what each setting has reached, target by target.

Settings are ranked within one target only. A row whose runs have several targets, as with data drawn anew for each seed, ranks
with nothing: rows are then in the order of the command line.
"""

from __future__ import annotations

import json
import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gfn_vi.core import command_line
from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import LEGEND, MARK, WEIGHTS_OF, names_of, weights_behind
from gfn_vi.runs.files import METRICS
from gfn_vi.runs.last_values import last_values
from gfn_vi.runs.metrics_tail import MetricsTail
from gfn_vi.runs.presets import remark
from gfn_vi.runs.state import FINISHED, look
from gfn_vi.sweeps.fused_rates import separated
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.launching import Outcome

MOST_ROWS = 15  # of the table
Words = tuple[str, ...]  # the overrides of a setting, without its seed


@dataclass
class Row:
    """Result of the finished runs of a setting: a value of each, their targets, and whether weights carry them all."""

    values: list[float] = field(default_factory=list)
    targets: set[str] = field(default_factory=set)
    is_carried: bool = True

    def __str__(self) -> str:
        spread = f" ({min(self.values):.3g} to {max(self.values):.3g})" if len(self.values) > 1 else ""
        return f"{statistics.median(self.values):.3g}{spread}{'' if self.is_carried else f' {MARK}'}"


Rows = dict[Words, Row]


def results(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of a table: for each headline its words, then a row for each setting that has finished runs.

    Runs that differ in nothing but their seed share a row, with the median over runs and the range; a run with a rate for each
    replica counts as one run of each rate.
    """
    found: dict[Headline, Rows] = {}
    for outcome in outcomes:
        headline = look(outcome.job.directory).headline
        if headline is not None and outcome.state in FINISHED:
            for words, (value, is_carried) in _values(outcome, headline).items():
                row = found.setdefault(headline, {}).setdefault(words, Row())
                row.values.append(value)
                row.targets.add(_target(outcome.job))
                row.is_carried &= is_carried
    everything = [words for outcome in outcomes for words in separated(outcome.job)]
    shared = set.intersection(*map(set, everything)) if everything else set[str]()
    most = max(MOST_ROWS // max(len(found), 1), 3)
    lines = [line for headline, rows in found.items() for line in _table(headline, rows, shared, most)]
    hidden = sum(len(rows) for rows in found.values()) - sum(line.startswith("  ") for line in lines)
    more = f"  and {hidden} more: {command_line.command('status')} {outcomes[0].job.directory.parent} --once" if hidden else ""
    doubts = any(not row.is_carried for rows in found.values() for row in rows.values())
    about = remark(outcome.job.config.get("preset_name") for outcome in outcomes)
    return [*lines, *([more] if more else []), *([LEGEND] if doubts else []), *([about] if about and lines else [])]


def _table(headline: Headline, rows: Rows, shared: set[str], most: int) -> list[str]:
    """Return the lines of one headline, at most so many of them rows. shared: words that all settings have."""
    by_target: dict[frozenset[str], Rows] = {}
    for words, row in rows.items():
        by_target.setdefault(frozenset(row.targets), {})[words] = row
    over = ", median over runs (range)" if any(len(row.values) > 1 for row in rows.values()) else ""
    is_ranked = len(by_target) == 1 or any(len(of_target) > 1 for of_target in by_target.values())
    apart = "" if is_ranked else "; different targets, not ranked"
    lines = [f"{headline.metric} ({headline.words}, {headline.better_is} is better){over}{apart}:"]
    if not is_ranked:
        return lines + _rows(rows, shared)[:most]
    for targets, of_target in by_target.items():
        common = set.intersection(*map(set, of_target)) - shared if len(by_target) > 1 else set[str]()
        title = shlex.join(word for word in next(iter(of_target)) if word in common)
        ranked = of_target
        if len(targets) == 1:
            ranked = dict(
                sorted(of_target.items(), key=lambda item: (headline.sign * statistics.median(item[1].values), item[0]))
            )
        left = most - sum(line.startswith("  ") for line in lines)
        if left > 0:
            lines += [*([f" {title}:"] if title else []), *_rows(ranked, shared | common)[:left]]
    return lines


def _rows(rows: Mapping[Words, Row], known: set[str]) -> list[str]:
    """Return value and label in two columns. known: words that need not be said again."""
    width = max(len(str(row)) for row in rows.values())
    cells = {words: shlex.join(word for word in words if word not in known) for words in rows}
    alone = {words: "all runs" if len(row.values) > 1 else "the run" for words, row in rows.items()}
    return [f"  {row!s:<{width}}  {cells[words] or alone[words]}" for words, row in rows.items()]


def _target(job: Job) -> str:
    """Return what the job's target is, as a text that equal targets share."""
    return json.dumps(job.config.get("target"), sort_keys=True, default=str)


def _values(outcome: Outcome, headline: Headline) -> dict[Words, tuple[float, bool]]:
    """Return setting -> median over its replicas, the worst where one of them diverged, and whether its weights carry it.

    Settings without a value are left out.
    """
    replicas_of = separated(outcome.job)
    if len(replicas_of) == 1:  # the end of the file is enough
        tail = MetricsTail(outcome.job.directory / METRICS, headline)
        tail.read()
        is_lost = outcome.state == "diverged"  # the worst value counts, whatever its weights are
        value = headline.worst if is_lost else tail.value
        return {} if value is None else dict.fromkeys(replicas_of, (value, is_lost or tail.is_carried))
    names = [headline.metric, *(name for weights in WEIGHTS_OF.get(headline.metric, ()) for name in names_of(weights))]
    last = {name: last_values(outcome.job.directory, name) for name in names}
    behind = weights_behind(headline.metric, last)
    found = {}
    for words, replicas in replicas_of.items():
        values = [last[headline.metric][replica] for replica in replicas if replica in last[headline.metric]]
        if values:
            value = statistics.median(values) if all(map(math.isfinite, values)) else headline.worst
            found[words] = (value, all(weights.is_reliable for r in replicas for weights in behind.get(r, ())))
    return found
