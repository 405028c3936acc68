"""Write one static page about the runs of an experiment.

    python scripts/report.py outputs/quickstart

Writes outputs/quickstart/report.html: what was run, the figures, final values with intervals, what the configurations
differ in, failures with their tracebacks, how to reproduce. One file, no network, for a browser or for printing. Runs
that are still running, failed or damaged are no obstacle.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (2: a clear one-line error on stderr)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    folder = parser.parse_args(arguments).folder

    from gfn_vi.analysis.pages.report import write_report
    from gfn_vi.runs.folders import TableError

    try:
        print(write_report(folder, *find_figure(folder)))
    except (TableError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def find_figure(folder: Path) -> tuple[Path | None, str | None]:
    """(figure.py of the experiment whose folder of runs this is, the command that draws it); (None, None) for another folder."""
    from gfn_vi.commands.figure import VALUES, find_experiments, folder_of

    name, root = folder.resolve().name, str(folder.parent)
    for experiment, path in find_experiments().items():
        for preset in (None, *VALUES["preset"]):
            if folder_of(experiment, preset, None).name == name:
                given = {"experiment": experiment, "preset": preset, "output_root": root if root != "outputs" else None}
                words = [f"{key}={value}" for key, value in given.items() if value is not None]
                return path / "figure.py", shlex.join(["python", "scripts/figure.py", *words])
    return None, None
