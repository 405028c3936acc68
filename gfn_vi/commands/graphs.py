"""Draw what a run over graphs (target=dag) has learned.

    gfn-vi-graphs outputs/default/<run>

Writes into the run's directory, from its arrays.npz: edge_probabilities.csv (every edge by the names of the columns),
edge_probabilities.png and .pdf (learned beside exact, or beside the true graph), top_graphs.png and .pdf (the most probable
graphs). A single run does this at its end; a sweep only writes the CSV, since pictures take seconds for each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gfn_vi.terminal.arguments import answers_in_one_line, parser_of


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the run has learned and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("graphs", __doc__)
    parser.add_argument("run", type=Path, help="the directory of one run, as printed at its end")
    directory = parser.parse_args(arguments).run

    from gfn_vi.analysis.pictures.graphs import report

    print(report(directory, with_pictures=True), directory, sep="\n")
    return 0
