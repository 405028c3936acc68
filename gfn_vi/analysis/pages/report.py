"""One static page about the runs of a folder: what was run, figures, final values, differences, failures.

The page needs nothing else (pictures are inside, no script, no network) and is the same for the same files. Runs that
are running, broken or missing are told, never in the way.
"""

from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from gfn_vi.analysis.pages.figures import Experiment, find_pictures, read_experiment
from gfn_vi.analysis.pages.sampled import sampled_sections
from gfn_vi.analysis.pages.status_view import short_labels
from gfn_vi.analysis.reading.differences import differences
from gfn_vi.analysis.reading.facts import facts, headlines, run_command, sweep_command
from gfn_vi.analysis.reading.seeds import check_seeds
from gfn_vi.analysis.reading.table import collect, table_hash
from gfn_vi.analysis.statistics.final_values import STATISTICS, Section, final_sections, in_words
from gfn_vi.analysis.statistics.summary import grouped_curves, summary
from gfn_vi.core.headline import Headline
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.state import BROKEN, RunState
from gfn_vi.runs.sweep_states import SweepStates, count

PAGE, CLAIMS = "report.html", "claims.csv"
MOST_DETAILS = 100  # runs with a paragraph each; of more, the number


@dataclass(frozen=True)
class Trouble:
    """A run that is not done, or done with replicas that became non-finite."""

    name: str
    label: str
    state: str
    overrides: str
    error_line: str
    error: str  # the whole text where it has more than the line
    command: str | None


def write_report(folder: Path, figure: Path | None, draw: str | None) -> Path:
    """Write <folder>/report.html; TableError if there are no runs.

    figure: figure.py of the experiment, if it has one; draw: the command that draws it.
    """
    text = render(folder, figure, draw)
    path, temporary = folder / PAGE, folder / f".{PAGE}.{os.getpid()}"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render(folder: Path, figure: Path | None, draw: str | None) -> str:
    """The page as text."""
    import jinja2

    runs = SweepStates(folder).look()
    experiment = Experiment("", "", ()) if figure is None else read_experiment(figure)
    table, remark = _table(folder, experiment.config_keys)
    content = _content(folder, runs, table) | {
        "experiment": experiment,
        "remark": remark,
        "pictures": find_pictures(folder, None if table is None else table_hash(table)),
        "draw": draw,
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("gfn_vi.analysis.pages") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(content) + "\n"


def _content(folder: Path, runs: Sequence[RunState], table: pd.DataFrame | None) -> dict[str, Any]:
    labels = short_labels(runs)
    broken = [run for run in runs if run.state in (*BROKEN, "interrupted")]
    return {
        "title": folder.resolve().name,
        "counts": ", ".join(f"{n} {state}" for state, n in count(runs).items()),
        "n_runs": len(runs),
        "facts": _sizes(table) | facts(folder, runs),
        "table_hash": None if table is None else table_hash(table),
        "sections": [] if table is None else _sections(table, headlines(folder, table["run"].unique())),
        "differences": None if table is None else differences(table),
        "claims": _claims(folder),
        "troubles": [_trouble(run, labels[run.name]) for run in broken[:MOST_DETAILS]],
        "n_troubles": len(broken),
        "missing": [_trouble(run, labels[run.name]) for run in runs if run.state == "missing"][:MOST_DETAILS],
        "n_missing": sum(run.state == "missing" for run in runs),
        "running": [labels[run.name] for run in runs if run.state == "running"],
        "silent": _silent(runs, table),
        "sweep_command": sweep_command(runs),
        "folder": shlex.quote(str(folder)),
    }


def _table(folder: Path, keys: Sequence[str]) -> tuple[pd.DataFrame | None, str]:
    """(the table, what is to be known of all its numbers), or without any numbers (None, why)."""
    try:
        table = collect(folder, keys, say=lambda line: None)
    except TableError as error:
        return None, str(error)
    try:
        check_seeds(table)
    except TableError as error:
        return table, f"Not for reporting: {error}"
    return table, ""


def _sizes(table: pd.DataFrame | None) -> dict[str, str]:
    """How much was measured."""
    if table is None:
        return {}
    by_run = table.groupby("run", observed=True).agg({"replica": "nunique", "trajectories": "max"})
    replicas, trajectories = (sorted(set(by_run[name])) for name in ("replica", "trajectories"))
    return {
        "Replicas": f"{int(by_run['replica'].sum()):,} ({_range(replicas)} in a run)",
        "Trajectories": f"{_range(trajectories)} for each replica",
    }


def _sections(table: pd.DataFrame, judged_by: Sequence[Headline]) -> list[Section]:
    areas = [section for headline in judged_by for section in area_sections(table, headline)]
    return [*final_sections(table, judged_by), *sampled_sections(table), *areas]


def area_sections(table: pd.DataFrame, headline: Headline) -> list[Section]:
    """Return the headline over all of training, where finished runs can be put on one axis; else why they cannot."""
    caption = f"Area under the curve: mean over training of the {headline.words}"
    if table[(table["metric"] == headline.metric) & (table["state"] == "done")].empty:
        return []
    try:
        found = summary(grouped_curves(table, headline))
    except (TableError, ValueError) as error:
        return [Section(caption, f"{caption}: not computed; {error}.", [], [])]
    areas = found[found["measure"] == "area"].sort_values("median", ascending=headline.direction == "minimize").to_dict("records")
    rows = [
        [
            row["group"],
            *(in_words(*(row[f"{name}{end}"] for end in ("_low", "", "_high"))) for name in STATISTICS),
            str(row["replicas"]),
        ]
        for row in areas
    ]
    return [
        Section(
            caption,
            "How low, and how soon: lower is better."
            if headline.direction == "minimize"
            else "How high, and how soon: higher is better.",
            ["", *STATISTICS.values(), "replicas"],
            rows,
        )
    ]


def _range(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _trouble(run: RunState, label: str) -> Trouble:
    error = run.error or ""
    whole = error.strip() if len(error.strip().splitlines()) > 1 else ""
    return Trouble(run.name, label, run.state, shlex.join(run.overrides), run.error_line, whole, run_command(run))


def _silent(runs: Sequence[RunState], table: pd.DataFrame | None) -> list[str]:
    """Runs that are done and have no numbers in the table: their files are damaged or gone."""
    heard = set() if table is None else set(table["run"].unique())
    return [run.name for run in runs if run.is_finished and run.name not in heard]


def _claims(folder: Path) -> list[dict[str, str]]:
    """Rows of claims.csv with claim, measured and agrees; [] without the file, one row that says so for a damaged one."""
    try:
        with open(folder / CLAIMS, newline="", encoding="utf-8") as file:
            return [{name: row[name] or "" for name in ("claim", "measured", "agrees")} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, csv.Error) as error:
        return [{"claim": f"{CLAIMS} is damaged", "measured": str(error), "agrees": ""}]
