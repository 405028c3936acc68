"""One static page about the runs of a folder: what was run, figures, final values, differences, failures.

The page needs nothing else (pictures are inside, no script, no network) and is the same for the same files. Runs that
are running, broken or missing are told, never in the way.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from gfn_vi.analysis.pages.figures import read_experiment, read_picture
from gfn_vi.analysis.pages.sections import sections
from gfn_vi.analysis.pages.status_view import short_labels
from gfn_vi.analysis.reading.facts import facts, headlines, run_command, sweep_command
from gfn_vi.analysis.reading.groups import NOT_SET, differences
from gfn_vi.analysis.reading.joining import JOINED
from gfn_vi.analysis.reading.seeds import check_seeds
from gfn_vi.analysis.reading.sources import check_sources
from gfn_vi.analysis.reading.table import collect, replace_file, table_hash
from gfn_vi.analysis.statistics.claims import CLAIMS_COLUMNS, CLAIMS_FILE, VERDICTS
from gfn_vi.core.command_line import command
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.places import Folders, each_of, run_in, states_in
from gfn_vi.runs.presets import remark_on
from gfn_vi.runs.state import BROKEN
from gfn_vi.runs.sweep_states import count

PAGE = "report.html"
MOST_DETAILS = 100  # runs with a paragraph each; of more, the number
MOST_PICTURES = 24  # of single runs: a third of a megabyte each


def write_report(folders: Folders, figure: Path | None, draw: str | None, to: Path | None = None) -> Path:
    """Write report.html into the folder of the runs, of several into JOINED, or into `to`; TableError if there are no runs.

    figure: figure.py of the experiment, if it has one; draw: the command that draws it, into the same folder.
    """
    every = each_of(folders)
    place = to or (every[0] if len(every) == 1 else JOINED)
    if place.exists() and not place.is_dir():
        raise TableError(f"--to {place}: expected a folder, and it is a file")
    text = render(every, figure, draw, place)
    place.mkdir(parents=True, exist_ok=True)
    replace_file(place / PAGE, lambda path: path.write_text(text, encoding="utf-8"))
    return place / PAGE


def render(folders: Folders, figure: Path | None, draw: str | None, place: Path | None = None) -> str:
    """Return the page as text. place: where figures and claims are, None: where the runs are."""
    every = each_of(folders)
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("gfn_vi.analysis.pages") / "report.html.j2").read_text(encoding="utf-8")
    content = _content(every, place or every[0], read_experiment(figure)) | {"draw": draw}
    return environment.from_string(template).render(content) + "\n"


def _content(folders: list[Path], place: Path, experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows, by the names that it has there. place: where figures and claims are."""
    runs, _ = states_in(folders)
    labels = short_labels(runs)
    table, remark, left_out = _table(folders, experiment["config_keys"])
    decides_nothing = remark_on(*folders)
    digest = None if table is None else table_hash(table)
    heard = set() if table is None else set(table["run"].unique())
    of_search = [("the search", path) for folder in folders for path in sorted(folder.glob("search_*.png"))]
    of_runs = of_search + [(labels[run.name], path) for run in runs for path in sorted(run_in(folders, run.name).glob("*.png"))]
    return {
        "title": place.resolve().name,
        "experiment": experiment,
        "remark": remark,
        "left_out": left_out,
        "decides_nothing": decides_nothing,
        "pictures": [read_picture(path) for path in sorted(place.glob("figure*.png"))],
        "run_pictures": [(label, read_picture(path)) for label, path in of_runs[:MOST_PICTURES]],
        "n_left_out": len(of_runs[MOST_PICTURES:]),
        "counts": ", ".join(f"{n} {state}" for state, n in count(runs).items()),
        "n_runs": len(runs),
        "facts": _sizes(table) | facts(folders, runs),
        "table_hash": digest,
        "sections": [] if table is None else sections(table, headlines(folders, table["run"].unique()), experiment["blocks"]),
        "differences": None if table is None else differences(table),
        "not_set": NOT_SET,
        "claims": [row | ({"agrees": VERDICTS[None]} if decides_nothing else {}) for row in _claims(place)],
        "labels": labels,
        "most": MOST_DETAILS,
        "troubles": [run for run in runs if run.state in (*BROKEN, "interrupted")],
        "missing": [run for run in runs if run.state == "missing"],
        "running": [labels[run.name] for run in runs if run.state == "running"],
        "silent": [run.name for run in runs if run.is_finished and run.name not in heard],
        "sweep_command": sweep_command(runs),
        "run_command": run_command,
        "in_words": shlex.join,
        "command": command,
        "folder": shlex.join([*map(str, folders), *(["--to", str(place)] if place not in folders else [])]),
    }


def _table(folders: list[Path], keys: Sequence[str]) -> tuple[pd.DataFrame | None, str, list[str]]:
    """(the table, what is to be known of all its numbers), or without any numbers (None, why); lines on what is not in it."""
    said: list[str] = []
    try:
        table = collect(folders, keys, say=said.append)
    except TableError as error:
        return None, str(error), said[1:]
    try:
        check_seeds(table)
        check_sources(table)
    except TableError as error:
        return table, f"Not for reporting: {error}", said[1:]
    return table, "", said[1:]


def _sizes(table: pd.DataFrame | None) -> dict[str, str]:
    """How much was measured."""
    if table is None:
        return {}
    by_run = table.groupby("run", observed=True).agg({"replica": "nunique", "trajectories": "max"})
    return {
        "Replicas": f"{int(by_run['replica'].sum()):,} ({_range(by_run['replica'])} in a run)",
        "Trajectories": f"{_range(by_run['trajectories'])} for each replica",
    }


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _claims(folder: Path) -> list[dict[Any, str]]:
    """Rows of claims.csv with claim, measured and agrees; [] without the file, one row that says so for a damaged one."""
    try:
        return pd.read_csv(folder / CLAIMS_FILE, usecols=CLAIMS_COLUMNS, dtype=str, keep_default_na=False).to_dict("records")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [{"claim": f"{CLAIMS_FILE} is damaged", "measured": str(error), "agrees": ""}]
