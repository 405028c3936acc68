"""The state of a sweep for the eye (rich, live) and for logs (plain lines with fixed columns)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gfn_vi.core.headline import Headline
from gfn_vi.core.reliability import LEGEND, with_error
from gfn_vi.runs.state import BROKEN, PRUNED, STATES, RunState
from gfn_vi.runs.sweep_states import Progress, SweepStates, count, seconds_left

if TYPE_CHECKING:
    from rich.console import RenderableType

COLORS = {
    "running": "cyan",
    "done": "green",
    "missing": "bright_black",
    "interrupted": "yellow",
    "pruned": "bright_black",
    "failed": "bold red",
    "killed": "bold red",
    "diverged": "bold magenta",
    "damaged": "bold red",
}
HASH = 9  # characters of a run's name: a dash and 8 hexadecimal digits
PLAIN_ROWS = 200
ERROR_LINES = 4
MOST_LEFT_OUT = 1  # lines of a table on runs that do not count
OTHER_LINES = 8 + ERROR_LINES + MOST_LEFT_OUT  # of a table, besides its rows
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
    left_out: list[str] = field(default_factory=list)  # lines on runs that do not count

    @property
    def running(self) -> bool:
        return any(run.state == "running" for run in self.runs)

    @property
    def to_do(self) -> bool:
        """Whether something runs, or would be started by the sweep's command."""
        return any(not run.is_finished and run.state != PRUNED for run in self.runs)

    @property
    def all_done(self) -> bool:
        return all(run.state in ("done", PRUNED) for run in self.runs)


def snapshot(states: SweepStates, n_rows: int) -> Snapshot:
    """Look once; at most n_rows rows: of more runs those that run or broke, and how many others there are."""
    runs = states.look()
    shown = choose_rows(runs, n_rows)
    wanted = {run.name: run for run in [*shown, *(run for run in runs if run.state == "running")]}
    progress = {name: states.progress(run) for name, run in wanted.items()}
    return Snapshot(states.folder.resolve().name, runs, shown, progress, short_labels(runs), states.left_out)


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
            shared = set.intersection(*(set(run.overrides) for run in group))
            # optimizer.lr_log_Z=0.1 -> lr_log_Z=0.1
            own = [[re.sub(r"^[^=]*\.", "", word) for word in run.overrides if word not in shared] for run in group]
            is_enough = len(set(map(tuple, own))) == len(group) > 1
            for run, words in zip(group, own, strict=True):
                short[run.name] = " ".join([label, *words]).strip() if is_enough else (label + run.name[-HASH:]).lstrip("-")
    return short


def clock(seconds: float | None, unknown: str = "-") -> str:
    """Return hours, minutes and seconds as "1:02:03" or "2:03"; `unknown` for None."""
    if seconds is None:
        return unknown
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary_line(seen: Snapshot) -> str:
    """Return all runs in a line: "quickstart: 6 runs: 4 done, 1 running, 1 missing; about 0:20 left"."""
    counts = ", ".join(f"{n} {state}" for state, n in count(seen.runs).items())
    text = f"{seen.title}: {len(seen.runs)} run{'s' * (len(seen.runs) != 1)}: {counts}"
    left = seconds_left(seen.runs, seen.progress)
    return text if left is None else f"{text}; about {clock(left)} left"


def headlines(seen: Snapshot) -> list[Headline]:
    """Return the headlines that the runs are judged by, each once, in the order of the runs."""
    return list(dict.fromkeys(run.headline for run in seen.runs if run.headline is not None))


def judged_by(seen: Snapshot) -> str:
    """Return the metric that all runs are judged by; a general word where there is none or there are several."""
    metrics = {headline.metric for headline in headlines(seen)}
    return metrics.pop() if len(metrics) == 1 else HEADLINE


def cells(seen: Snapshot, run: RunState, unknown: str, thousands: str = "") -> dict[str, str]:
    """Column -> text about the run; the headline has its standard error where it is sampled, its name where runs differ in it."""
    p, value = seen.progress[run.name], unknown
    if run.headline is not None and p.value is not None:
        name = f"{run.headline.metric}=" if judged_by(seen) == HEADLINE else ""
        value = name + with_error(p.value, p.standard_error, p.is_carried, between="+-")
    return {
        "state": run.state,
        "share": unknown if p.share is None else f"{p.share:.0%}",
        "trajectories": f"{p.trajectories:{thousands}d}" if p.total or not thousands else unknown,
        "of": unknown if p.total is None else f"{p.total:{thousands}d}",
        HEADLINE: value,
        "spent": clock(p.seconds, unknown),
        "left": clock(p.seconds_left, unknown),
    }


def notes(seen: Snapshot, most_left_out: int) -> list[str]:
    """Return lines below the rows: how many runs have none, what does not count and why, and what each metric says.

    "jsd: exact JSD, lower is better; what diverged counts as 0.693".
    """
    shown = {run.name for run in seen.shown}
    rest = count([run for run in seen.runs if run.name not in shown])
    lines = ["not shown: " + ", ".join(f"{n} {state}" for state, n in rest.items())] if rest else []
    n_left_out = len(seen.left_out)
    lines += (
        seen.left_out
        if n_left_out <= most_left_out
        else [f"{n_left_out} runs do not count, or not all of their seeds: see --once"]
    )
    if any(not p.is_carried for p in seen.progress.values()):
        lines.append(LEGEND)
    for h in headlines(seen):
        lines.append(f"{h.metric}: {h.words}, {h.better_is} is better; what diverged counts as {h.worst:.3g}")
    return lines


def plain(seen: Snapshot) -> str:
    """Return a headline, a header, one line per run: its name, its label where that says more, its error."""
    header = PLAIN.format("state", "share", "trajectories", "of", judged_by(seen), "spent", "left", "run  error")
    lines = [summary_line(seen), header]
    for run in seen.shown:
        label = seen.labels[run.name]
        more = f"  ({label})" if "=" in label else ""
        lines.append(PLAIN.format(*cells(seen, run, "-").values(), f"{run.name}{more}  {run.error_line}".rstrip()))
    return "\n".join([*lines, *notes(seen, PLAIN_ROWS)])


# Column -> the narrowest screen that has it.
WIDTHS = {"run": 0, "state": 0, "progress": 100, "share": 0, "trajectories": 70, HEADLINE: 56, "spent": 70, "left": 0}


def table(seen: Snapshot, width: int, remark: str) -> RenderableType:
    """Return the same for a screen of `width` characters, errors and a remark below the rows."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    columns = [name for name, least in WIDTHS.items() if width >= least]
    grid = Table(box=None, pad_edge=False, header_style="bright_black", padding=(0, 2, 0, 0))
    for name in columns:
        left = name in ("run", "state", "progress")
        title = {HEADLINE: judged_by(seen), "share": ""}.get(name, name)
        grid.add_column(title, justify="left" if left else "right", no_wrap=name != "run")
    for run in seen.shown:
        color, share = COLORS[run.state], seen.progress[run.name].share
        row: dict[str, RenderableType] = {name: Text(text) for name, text in cells(seen, run, "", ",").items()}
        row |= {
            "run": Text(seen.labels[run.name], no_wrap=True, overflow="ellipsis"),  # it does not wrap, its column may shrink
            "state": Text(run.state, style=color),
            "progress": ProgressBar(total=1.0, completed=share or 0.0, width=12, complete_style=color, finished_style=color),
        }
        grid.add_row(*(row[name] for name in columns))
    lines = [*notes(seen, MOST_LEFT_OUT), *([remark] if remark else [])]
    below = [Text(line, style="bright_black", no_wrap=True, overflow="ellipsis") for line in lines]
    errors: dict[str, list[str]] = {}  # every different one, with the runs that have it
    for run in seen.shown:
        if run.error_line:
            errors.setdefault(run.error_line, []).append(seen.labels[run.name])
    told = [
        Text.assemble((first + (f" and {len(more)} more" if more else ""), "bold"), ": ", line, no_wrap=True, overflow="ellipsis")
        for line, (first, *more) in list(errors.items())[:ERROR_LINES]
    ]
    if len(errors) > ERROR_LINES:
        told.append(Text(f"{len(errors) - ERROR_LINES} other errors", style="bright_black"))
    return Group(Text(summary_line(seen), style="bold"), Padding(grid, (1, 0, 0, 0)), *below, *([Text(), *told] if told else []))
