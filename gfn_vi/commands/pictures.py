"""Draw what a run has learned, for any target whose run leaves something to draw.

    gfn-vi-pictures outputs/default/<run>

Writes into the run's directory, from its arrays.npz. Of graphs: edge_probabilities.csv (every edge by the names of the columns),
edge_probabilities.png and .pdf (learned beside exact, or beside the true graph), top_graphs.png and .pdf (the most probable
graphs). Of a density: samples.png and .pdf (over the target or by coordinates, beside exact samples), trajectories.png and .pdf,
and coordinates.csv where coordinates have names. Of molecules: molecules.csv (the best, with values, log P_T and how often each
was drawn), molecules.sdf (their structures), molecules.html (a page of the best), molecules.png and .svg (the same for papers).
Of other targets whose states can be listed, such as hypergrids: picture.png and .pdf (learned beside the target's distribution).
A single run over graphs, a density or molecules does this at its end, other runs with pictures=true: it takes seconds for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gfn_vi.terminal.arguments import answers_in_one_line, parser_of


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the run has learned and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("pictures", __doc__)
    parser.add_argument("run", type=Path, help="the directory of one run, as printed at its end")
    directory = parser.parse_args(arguments).run

    from gfn_vi.analysis.pictures import densities, graphs, molecules, of_run
    from gfn_vi.analysis.pictures.found_molecules import MOLECULES
    from gfn_vi.runs.reading import read_arrays

    # by what the run has left, not by its configuration: those of older runs name classes that are gone
    arrays = read_arrays(directory)[0]
    families = {densities.SAMPLES: densities, MOLECULES: molecules, "edges_learned": graphs}
    family = next((module for name, module in families.items() if name in arrays), of_run)
    print(family.report(directory, with_pictures=True), directory, sep="\n")
    return 0
