"""What a run over graphs has found, for people: edge_probabilities.csv, pictures, lines for a terminal.

All is read from arrays.npz and told by the names of the user's columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.found_graphs import Graphs, edge_table, read_graphs
from gfn_vi.core.reliability import MARK

TABLE = "edge_probabilities.csv"
ROWS_ON_SCREEN = 8
ADVICE = "train longer (trainer.n_trajectories) or off-policy (exploration=...)"
TOO_FAR = 0.1  # an edge probability that is wrong by more is no answer


def report(directory: Path, with_pictures: bool) -> str:
    """Write edge_probabilities.csv and, if asked for, draw the pictures; returns what to tell of them in a terminal.

    Raises TableError for a run without graphs, OSError where the files cannot be written.
    """
    graphs = read_graphs(directory)
    edge_table(graphs).to_csv(directory / TABLE, index=False, float_format="%.10g", lineterminator="\n")
    if not with_pictures:
        return edge_lines(graphs)
    from gfn_vi.analysis.pictures.consensus_pictures import consensus_figure
    from gfn_vi.analysis.pictures.edge_pictures import edge_figure
    from gfn_vi.analysis.pictures.graph_pictures import FEW_NODES, top_figure

    draw = top_figure if len(graphs.names) <= FEW_NODES else consensus_figure
    with style.paper():
        figures = {"edge_probabilities": edge_figure(graphs), "top_graphs": draw(graphs)}
        return edge_lines(graphs, style.save_of_run(figures, directory, graphs.digest))


def edge_lines(graphs: Graphs, *pictures: str) -> str:
    """Return the most probable edges as a small table for a terminal, and which files have the rest."""
    rows = edge_table(graphs).head(ROWS_ON_SCREEN)
    learned = rows["learned"].map("{:.3f}".format)
    if graphs.doubt is not None:  # what the samples say of the sampler, they do not say of the posterior
        learned += f" {MARK}"
    elif "learned_low" in rows:
        learned += rows["learned_low"].map(" ({:.3f} to ".format) + rows["learned_high"].map("{:.3f})".format)
    edges = (rows["source"] + " -> " + rows["target"]).str.split().str.join(" ")
    columns = {"most probable edges": edges, "learned": learned}
    if "exact" in rows:
        columns["exact"] = rows["exact"].map("{:.3f}".format)
    if "true" in rows:
        columns["true"] = rows["true"].map({1: "yes", 0: "no"})
    cells = [[name, *column] for name, column in columns.items()]
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in cells]
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    if graphs.doubt is not None:
        lines.append(
            f"{MARK} frequencies of the sampler, maybe not of the posterior: importance weights {graphs.doubt}; {ADVICE}"
        )
    if graphs.exact is not None:
        is_far = np.abs(graphs.mean - graphs.exact).max() > TOO_FAR
        more = f"; far from the posterior: {ADVICE}" if is_far else ""
        lines.append(f"learned against exact, all edges: {graphs.agreement}{more}")
    return "\n".join([*lines, f"files of the directory below: {', '.join([f'{TABLE} (all edges)', *pictures])}"])
