"""A figure of any sweep without code: what its words ask for, drawn, with its numbers beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gfn_vi.analysis.pictures.panels import Look
    from gfn_vi.analysis.statistics.lines import Lines
    from gfn_vi.core.headline import Headline
    from gfn_vi.runs.places import Folders

ROLES = ("hue", "style", "col", "row")
USUAL = "median"  # the statistic of a plot that says nothing of it
PLOTS = "plots"  # below the folder of runs
MOST_NAMED = 3  # settings in a line
LONGEST_NAME = 150  # characters of a file without its ending


@dataclass(frozen=True)
class Wanted:
    """The words of a command line: y is a metric (None: what the runs are judged by), x a clock or a setting, roles settings.

    orders: role -> texts that are kept, in this order; only: column -> texts that are kept; worst: stands for replicas that
    failed; out: where the files lie, without an ending; the rest is how it looks (pictures/panels.py).
    """

    y: str | None = None
    x: str = "trajectories"
    roles: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    statistic: str = USUAL
    worst: float | None = None
    yscale: str | None = None
    xscale: str | None = None
    sharey: bool | str | None = None  # True, False, row or col
    width: float | None = None
    height: float | None = None
    col_wrap: int | None = None
    out: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A figure, the numbers in it, the rows they were taken from, what a reader should know, and what y, x and roles became."""

    figure: Figure
    numbers: pd.DataFrame
    rows: pd.DataFrame
    remarks: list[str]
    columns: dict[str, str]


def plot(folders: Folders, wanted: Wanted, drawn_by: str, say: Callable[[str], object]) -> list[Path]:
    """Draw what is wanted of the finished runs of one folder or several; return the paths of numbers (csv), PDF and PNG.

    drawn_by: the command line, which the figure names; say: receives what a reader of the figure should know, in lines.
    Raises TableError for runs that are missing, for words that nothing answers to, and for a line of different settings.
    """
    from gfn_vi.analysis.pictures import style
    from gfn_vi.analysis.reading.facts import headlines
    from gfn_vi.analysis.reading.joining import JOINED
    from gfn_vi.analysis.reading.seeds import check_seeds
    from gfn_vi.analysis.reading.sources import check_sources
    from gfn_vi.analysis.reading.table import collect, table_hash
    from gfn_vi.runs.places import each_of
    from gfn_vi.runs.presets import remark_on

    named = [*wanted.roles.values(), *wanted.only, wanted.x]
    every = each_of(folders)
    table = collect(every, keys=[name.removeprefix("config.") for name in named], say=say)
    check_seeds(table)
    check_sources(table)
    with style.paper():
        drawn = draw_lines(table, wanted, headlines(every, table["run"].unique()), say)
        for line in drawn.remarks:
            say(line)
        for text in [*([style.ABOUT_WEAK] if style.has_weak(drawn.figure) else []), *filter(None, [remark_on(*every)])]:
            style.note(drawn.figure, text)
        stem = _stem(every[0] if len(every) == 1 else JOINED, drawn.columns, wanted)
        written = style.save(drawn.figure, stem, table_hash(drawn.rows), drawn_by)
    numbers = stem.with_name(f"{stem.name}.csv")
    drawn.numbers.to_csv(numbers, index=False, float_format="%.6g", lineterminator="\n")
    return [numbers, *written]


def draw_lines(
    table: pd.DataFrame, wanted: Wanted, judged_by: Sequence[Headline], say: Callable[[str], object] = lambda _: None
) -> Drawn:
    """Draw what is wanted of a table as `collect` makes it: what a figure.py of one's own can return the figure of.

    judged_by: headlines of the runs; the first is drawn where no y is wanted. say: receives what was decided unasked. Raises
    TableError as `plot` does.
    """
    from gfn_vi.analysis.pictures import style
    from gfn_vi.analysis.pictures.panels import draw_panels
    from gfn_vi.analysis.reading.roles import assigned, kept
    from gfn_vi.analysis.reading.weights import rows_behind
    from gfn_vi.analysis.statistics.lines import lines, recording
    from gfn_vi.analysis.statistics.summary import measures

    if wanted.y is None and not judged_by:
        raise TableError("y is missing, and the runs do not say what they are judged by: give y=METRIC")
    y = wanted.y or judged_by[0].metric
    rows = rows_behind(kept(recording(table, y, say), wanted.only), [y])
    rows, x, roles = assigned(rows, wanted.x, wanted.roles, say)
    rows, orders = _ordered(rows, roles, wanted.orders)
    known = {headline.metric: headline.worst for headline in measures(judged_by)}
    worst = known.get(y) if wanted.worst is None else wanted.worst
    found = lines(rows, y, x, roles, wanted.statistic, worst)
    look = _look(rows, wanted, judged_by, y, x, roles, orders)
    remarks = _remarks(found, wanted.statistic, worst, look)
    figure = draw_panels(found.numbers, look)
    for text in remarks[1:]:
        style.note(figure, text)
    columns = {"y": y} | {role: _words(column) for role, column in {"x": x, **roles}.items()}
    numbers = found.numbers.rename(columns=columns)
    return Drawn(figure, numbers.loc[:, ~numbers.columns.duplicated()], rows, remarks, columns)


def _ordered(
    rows: pd.DataFrame, roles: Mapping[str, str], orders: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the rows that the orders keep, and role -> texts in order."""
    from gfn_vi.analysis.reading.roles import chosen, split
    from gfn_vi.analysis.statistics.lines import in_text, order_of

    for role, text in orders.items():
        if role not in roles:
            raise TableError(f"{role}_order={text}: there is no {role}; give {role}=COLUMN")
        rows = rows[chosen(in_text(rows[roles[role]]), text, f"{role}_order")]
    asked = {role: split(text) for role, text in orders.items()}
    return rows, {role: order_of(in_text(rows[column]).tolist(), asked.get(role)) for role, column in roles.items()}


def _look(
    rows: pd.DataFrame,
    wanted: Wanted,
    judged_by: Sequence[Headline],
    y: str,
    x: str,
    roles: Mapping[str, str],
    orders: Mapping[str, list[str]],
) -> Look:
    from gfn_vi.analysis.pictures.panels import Look
    from gfn_vi.analysis.pictures.words import in_words, metric_in_words
    from gfn_vi.analysis.reading.curves import X_LABELS
    from gfn_vi.analysis.statistics.summary import STATISTICS

    along = x in X_LABELS
    estimate = [STATISTICS[wanted.statistic]] * (wanted.statistic != USUAL)
    label = "\n".join(filter(None, [metric_in_words(y, judged_by), " ".join([*estimate, *(["at the end"] * (not along))])]))
    labels = {"x": X_LABELS[x] if along else in_words(_words(x)), "y": label}
    sharey = _comparable(rows, roles) if wanted.sharey is None else wanted.sharey
    return Look(
        labels | {role: in_words(_words(column)) for role, column in roles.items()},
        orders,
        along,
        wanted.yscale,
        wanted.xscale,
        sharey,
        wanted.width,
        wanted.height,
        wanted.col_wrap,
    )


def _comparable(rows: pd.DataFrame, roles: Mapping[str, str]) -> bool | str:
    """Return whether all panels have one target (True), or those of one "row", or of one "col"; False for neither."""
    from gfn_vi.analysis.reading.targets import target_labels

    labels, texts = target_labels(rows), {role: rows[roles[role]].astype(str) for role in ("col", "row") if role in roles}
    if labels.nunique() == 1 or not texts:
        return True
    return next((role for role, of in texts.items() if len(texts) > 1 and labels.groupby(of).nunique().max() == 1), False)


def _remarks(found: Lines, statistic: str, worst: float | None, look: Look) -> list[str]:
    """Return what lines and bands are, first, and where replicas failed or are missing, in the words of the legend."""
    from gfn_vi.analysis.pictures.panels import line_in_words
    from gfn_vi.analysis.statistics.summary import STATISTICS, interval_in_words

    called = {label: line_in_words(texts, look) for label, texts in found.cells.items()}
    counts = sorted(set(found.n_replicas.values()))
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    bands = f"their {interval_in_words(counts, statistic)}" if counts[-1] > 1 else "no interval, which takes two"
    told = [f"lines are the {STATISTICS[statistic]} over {n} replica{'s' * (n != '1')}, with {bands}"]
    if len(counts) > 1:
        few = [f"{called[label]}: {count}" for label, count in found.n_replicas.items() if count < counts[-1]]
        told.append(f"Fewer than {counts[-1]} replicas: {listed(few, MOST_NAMED, '; ')}.")
    if found.failed:
        which = listed([f"{called[label]}: {count}" for label, count in found.failed.items()], MOST_NAMED, "; ")
        finite = worst is not None and abs(worst) != float("inf")
        how = (
            f"drawn at the worst value, {worst:.3g}"
            if finite
            else "a line has a gap where one is missing; worst=NUMBER stands for it"
        )
        told.append(f"Replicas that failed ({how}): {which}.")
    return told


def _stem(folder: Path, columns: Mapping[str, str], wanted: Wanted) -> Path:
    """Return where the files lie without an ending: <folder>/plots/<y>-<x>-<roles>-<what is kept>, or what was asked for.

    Figures of other runs, in other roles or of other estimates have other names, so that none takes another's place; a name too
    long for a disk ends in a digest.
    """
    if wanted.out is not None:
        path = Path(wanted.out)
        return path.with_suffix("") if path.suffix in (".png", ".pdf", ".csv") else path
    orders = {f"{role}_order": text for role, text in wanted.orders.items()}
    estimates = {"statistic": wanted.statistic} if wanted.statistic != USUAL else {}
    worst = {} if wanted.worst is None else {"worst": f"{wanted.worst:g}"}
    kept = [f"{key}={text}" for key, text in sorted({**wanted.only, **orders, **estimates, **worst}.items())]
    roles = [f"{role}={columns[role]}" for role in ROLES if role in columns]
    name = re.sub(r"[^\w.\-]+", "_", "-".join([columns["y"], columns["x"], *roles, *kept]))
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return folder / PLOTS / name


def _words(column: str) -> str:
    from gfn_vi.analysis.reading.groups import key_in_words

    return key_in_words(column)
