"""Write one static page about the runs of an experiment.

    gfn-vi-report outputs/quickstart
    gfn-vi-report outputs/quickstart laptop/outputs/quickstart --to both      runs of several folders, each once

Writes outputs/quickstart/report.html, of several folders joined/report.html, or into the folder of --to: what was run, the
figures, final values with intervals, what the configurations differ in, failures with their tracebacks, how to reproduce. One
file, no network, for a browser or for printing. Runs that are still running, failed or damaged are no obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gfn_vi.terminal.arguments import answers_in_one_line, parser_of


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page of the folder and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("report", __doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="outputs/<experiment>, the folder that holds the runs")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where to write the page (default: the folder; of several: joined)"
    )
    given = parser.parse_args(arguments)

    from gfn_vi.analysis.experiments import find_figure
    from gfn_vi.analysis.pages.report import write_report

    print(write_report(given.folder, *find_figure(*given.folder), to=given.to))
    return 0
