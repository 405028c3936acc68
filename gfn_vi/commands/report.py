"""Write one static page about the runs of an experiment.

    gfn-vi-report outputs/quickstart

Writes outputs/quickstart/report.html: what was run, the figures, final values with intervals, what the configurations
differ in, failures with their tracebacks, how to reproduce. One file, no network, for a browser or for printing. Runs
that are still running, failed or damaged are no obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gfn_vi.terminal.arguments import answers_in_one_line, parser_of


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page of the folder and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("report", __doc__)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    folder = parser.parse_args(arguments).folder

    from gfn_vi.analysis.experiments import find_figure
    from gfn_vi.analysis.pages.report import write_report

    print(write_report(folder, *find_figure(folder)))
    return 0
