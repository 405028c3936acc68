"""The state of a sweep for the eye (rich, live) and for logs (plain lines with fixed columns)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gfn_vi.core.headline import Headline
from gfn_vi.runs.state import BROKEN, STATES, RunState
from gfn_vi.runs.sweep_states import Progress, SweepStates, count, seconds_left

if TYPE_CHECKING:
    from rich.console import RenderableType

COLORS = {
    "running": "cyan",
    "done": "green",
    "missing": "bright_black",
    "interrupted": "yellow",
    "failed": "bold red",
    "killed": "bold red",
    "diverged": "bold magenta",
    "damaged": "bold red",
}
HASH = 9  # characters of a run's name: a dash and 8 hexadecimal digits
PLAIN_ROWS = 200
ERROR_LINES = 4
OTHER_LINES = 8 + ERROR_LINES  # of a table, besides its rows
PLAIN = "{:<11} {:>5} {:>12} {:>12} {:>15} {:>9} {:>9}  {}"
HEADLINE = "headline"  # the column of runs that are judged by different metrics


@dataclass(frozen=True)
class Snapshot:
    """The runs of a folder and their progress, as one look found them."""

    title: str
    runs: list[RunState]
    shown: list[RunState]  # those that get a row
    progress: dict[str, Progress]  # of those that are shown or run
    labels: dict[str, str]

    @property
    def running(self) -> bool:
        return any(run.state == "running" for run in self.runs)

    @property
    def to_do(self) -> bool:
        """Whether something runs, or would be started by the sweep's command."""
        return any(not run.is_finished for run in self.runs)

    @property
    def all_done(self) -> bool:
        return all(run.state == "done" for run in self.runs)


def snapshot(states: SweepStates, n_rows: int) -> Snapshot:
    """Look once; at most n_rows rows: of more runs those that run or broke, and how many others there are."""
    runs = states.look()
    shown = choose_rows(runs, n_rows)
    wanted = {run.name: run for run in [*shown, *(run for run in runs if run.state == "running")]}
    progress = {name: states.progress(run) for name, run in wanted.items()}
    return Snapshot(states.folder.resolve().name, runs, shown, progress, short_labels(runs))


def choose_rows(runs: Sequence[RunState], n_rows: int) -> list[RunState]:
    """All runs if they fit, else those that run or broke, as many as fit; in the order of `runs`."""
    if len(runs) <= n_rows:
        return list(runs)
    telling = [run for run in runs if run.state in ("running", *BROKEN, "interrupted")]
    first = sorted(telling, key=lambda run: STATES.index(run.state))[: max(n_rows - 1, 1)]  # sorted keeps the order within
    names = {run.name for run in first}
    return [run for run in telling if run.name in names]


def short_labels(runs: Sequence[RunState]) -> dict[str, str]:
    """Run name -> the parts of it that not all runs have; where that is not enough, overrides that differ, or the hash."""
    parts = {run.name: run.name[:-HASH].split("-") for run in runs}
    everywhere = set.intersection(*map(set, parts.values())) if len(runs) > 1 else set()
    short = {name: "-".join(word for word in words if word not in everywhere) for name, words in parts.items()}
    groups: dict[str, list[RunState]] = {}
    for run in runs:
        groups.setdefault(short[run.name], []).append(run)
    for label, group in groups.items():
        if len(group) > 1 or not label:
            short |= _told_apart(label, group)
    return short


def _told_apart(label: str, group: Sequence[RunState]) -> dict[str, str]:
    shared = set.intersection(*(set(run.overrides) for run in group))
    own = {run.name: [_without_path(word) for word in run.overrides if word not in shared] for run in group}
    if len({tuple(words) for words in own.values()}) == len(group) > 1:
        return {name: " ".join(filter(None, [label, *words])) for name, words in own.items()}
    return {run.name: (label + run.name[-HASH:]).lstrip("-") for run in group}


def _without_path(override: str) -> str:
    """ "optimizer.lr_log_Z=0.1" -> "lr_log_Z=0.1"."""
    key, equals, value = override.partition("=")
    return key.rpartition(".")[2] + equals + value


def clock(seconds: float | None, unknown: str = "-") -> str:
    """ "1:02:03", "2:03"; `unknown` for None."""
    if seconds is None:
        return unknown
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: float | None, form: str, unknown: str = "-") -> str:
    """The number in that form; `unknown` for None."""
    return unknown if value is None else format(value, form)


def summary_line(seen: Snapshot) -> str:
    """ "quickstart: 6 runs: 4 done, 1 running, 1 missing; 0:20 left"."""
    counts = ", ".join(f"{n} {state}" for state, n in count(seen.runs).items())
    text = f"{seen.title}: {len(seen.runs)} run{'s' * (len(seen.runs) != 1)}: {counts}"
    left = seconds_left(seen.runs, seen.progress)
    return text if left is None else f"{text}; about {clock(left)} left"


def headlines(seen: Snapshot) -> list[Headline]:
    """Return the headlines that the runs are judged by, each once, in the order of the runs."""
    return list(dict.fromkeys(run.headline for run in seen.runs if run.headline is not None))


def judged_by(seen: Snapshot) -> str:
    """The metric that all runs are judged by; a general word where there is none or there are several."""
    metrics = {headline.metric for headline in headlines(seen)}
    return metrics.pop() if len(metrics) == 1 else HEADLINE


def judged(seen: Snapshot, run: RunState, unknown: str) -> str:
    """The headline's last value, with its standard error where it is sampled and its name where runs differ in it."""
    progress = seen.progress[run.name]
    if run.headline is None or progress.value is None:
        return unknown
    error = "" if progress.standard_error is None else f"+-{progress.standard_error:.1g}"
    name = f"{run.headline.metric}=" if judged_by(seen) == HEADLINE else ""
    return f"{name}{progress.value:.3g}{error}"


def headline_lines(seen: Snapshot) -> list[str]:
    """ "jsd: exact JSD, lower is better; a replica that is not finite counts as 0.693", a line for each metric."""
    return [
        f"{h.metric}: {h.words}, {'lower' if h.direction == 'minimize' else 'higher'} is better; "
        f"a replica that is not finite counts as {h.worst:.3g}"
        for h in headlines(seen)
    ]


def rest_line(seen: Snapshot) -> str:
    """How many runs have no row; "" if all have one."""
    names = {run.name for run in seen.shown}
    rest = [run for run in seen.runs if run.name not in names]
    return "not shown: " + ", ".join(f"{n} {state}" for state, n in count(rest).items()) if rest else ""


def errors(seen: Snapshot) -> list[tuple[str, str]]:
    """(runs, error line) for every different error among the shown runs."""
    by_line: dict[str, list[str]] = {}
    for run in seen.shown:
        if run.error_line:
            by_line.setdefault(run.error_line, []).append(seen.labels[run.name])
    return [(label_list(labels), line) for line, labels in by_line.items()]


def label_list(labels: Sequence[str], most: int = 1) -> str:
    """ "a and 3 more"."""
    more = len(labels) - most
    return ", ".join(labels) if more <= 0 else f"{', '.join(labels[:most])} and {more} more"


def plain(seen: Snapshot) -> str:
    """A headline, a header, one line per run."""
    names = PLAIN.format("state", "share", "trajectories", "of", judged_by(seen), "spent", "left", "run  error")
    lines = [summary_line(seen), names]
    for run in seen.shown:
        p = seen.progress[run.name]
        share = "-" if p.share is None else f"{p.share:.0%}"
        numbers = (str(p.trajectories), number(p.total, "d"), judged(seen, run, "-"), clock(p.seconds), clock(p.seconds_left))
        lines.append(PLAIN.format(run.state, share, *numbers, f"{run.name}  {run.error_line}".rstrip()))
    return "\n".join([*lines, *filter(None, [rest_line(seen), *headline_lines(seen)])])


# Column -> the narrowest screen that has it.
WIDTHS = {"run": 0, "state": 0, "progress": 100, "": 0, "trajectories": 70, HEADLINE: 56, "spent": 70, "left": 0}


def table(seen: Snapshot, width: int, remark: str) -> RenderableType:
    """The same for a screen of `width` characters, errors and a remark below the rows."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    columns = [name for name, least in WIDTHS.items() if width >= least]
    grid = Table(box=None, pad_edge=False, header_style="bright_black", padding=(0, 2, 0, 0))
    for name in columns:
        left = name in ("run", "state", "progress")
        grid.add_column(judged_by(seen) if name == HEADLINE else name, justify="left" if left else "right", no_wrap=name != "run")
    for run in seen.shown:
        cells = _cells(run, seen.labels[run.name], seen.progress[run.name], judged(seen, run, ""))
        grid.add_row(*(cells[name] for name in columns))
    parts: list[RenderableType] = [Text(summary_line(seen), style="bold"), Padding(grid, (1, 0, 0, 0))]
    if rest := rest_line(seen):
        parts.append(Text(rest, style="bright_black"))
    for line in headline_lines(seen):
        parts.append(Text(line, style="bright_black", no_wrap=True, overflow="ellipsis"))
    if remark:
        parts.append(Text(remark, style="bright_black"))
    told = errors(seen)
    if told:
        parts.append(Text())
    for labels, line in told[:ERROR_LINES]:
        parts.append(Text.assemble((labels, "bold"), ": ", line, no_wrap=True, overflow="ellipsis"))
    if len(told) > ERROR_LINES:
        parts.append(Text(f"{len(told) - ERROR_LINES} other errors", style="bright_black"))
    return Group(*parts)


def _cells(run: RunState, label: str, progress: Progress, value: str) -> dict[str, RenderableType]:
    """Column -> cell; empty where nothing is known."""
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    color, share = COLORS[run.state], progress.share
    bar = ProgressBar(total=1.0, completed=share or 0.0, width=12, complete_style=color, finished_style=color)
    texts = {
        "": "" if share is None else f"{share:.0%}",
        "trajectories": f"{progress.trajectories:,}" if progress.total else "",
        HEADLINE: value,
        "spent": clock(progress.seconds, ""),
        "left": clock(progress.seconds_left, ""),
    }
    # The text does not wrap, its column may shrink.
    name = Text(label, no_wrap=True, overflow="ellipsis")
    cells: dict[str, RenderableType] = {"run": name, "state": Text(run.state, style=color), "progress": bar}
    return cells | {column: Text(text) for column, text in texts.items()}
