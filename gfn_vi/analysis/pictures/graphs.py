"""What a run over graphs has found, for people: read from arrays.npz alone, told by the names of the user's columns.

    learned(i -> j) = mean over replicas of  sum over graphs G with the edge i -> j of P_T(G)

The range over replicas tells how far training can be trusted, the exact posterior (where all graphs can be listed) how far the
learned one can. Of samples there is a standard error instead: that of the mean, the replicas' own being independent. A replica
that became NaN is left out.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gfn_vi.analysis.pictures.found_graphs import Graphs, agreement, read_graphs
from gfn_vi.core.command_line import command
from gfn_vi.runs.files import ARRAYS

TABLE = "edge_probabilities.csv"
PICTURES = ("edge_probabilities", "top_graphs")
ROWS_ON_SCREEN = 8
TOO_FAR = 0.1  # an edge probability that is wrong by more is no answer


def edge_rows(graphs: Graphs) -> list[dict[str, str | float | int]]:
    """One row per ordered pair of columns, the most probable first, equal ones in the order of the columns.

    source, target; learned: mean over replicas, with learned_low and learned_high (smallest and largest replica) if there
    are more, and of samples learned_se; exact; true (0 or 1): as far as they are known.
    """
    columns: dict[str, np.ndarray | None] = {
        "learned": graphs.mean,
        "learned_low": graphs.learned.min(0) if len(graphs.replicas) > 1 else None,
        "learned_high": graphs.learned.max(0) if len(graphs.replicas) > 1 else None,
        "learned_se": graphs.standard_error_of_mean,
        "exact": graphs.exact,
        "true": None if graphs.true is None else graphs.true.astype(int),
    }
    known = {name: values for name, values in columns.items() if values is not None}
    nodes = range(len(graphs.names))
    pairs = [(i, j) for i in nodes for j in nodes if i != j]
    pairs.sort(key=lambda pair: -graphs.mean[pair])
    return [
        {"source": graphs.names[i], "target": graphs.names[j]} | {name: values[i, j].item() for name, values in known.items()}
        for i, j in pairs
    ]


def write_edges(graphs: Graphs, directory: Path) -> Path:
    """edge_probabilities.csv: edge_rows with ten digits."""
    rows = edge_rows(graphs)
    path = directory / TABLE
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.10g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return path


def report(directory: Path, with_pictures: bool) -> str:
    """Write edge_probabilities.csv and, if asked for, draw the pictures; returns what to tell of them in a terminal.

    Raises TableError for a run without graphs, OSError where the files cannot be written.
    """
    graphs = read_graphs(directory)
    write_edges(graphs, directory)
    if with_pictures:
        draw(graphs, directory)
    return edge_lines(graphs, with_pictures)


def edge_lines(graphs: Graphs, with_pictures: bool) -> str:
    """The most probable edges as a small table for a terminal, and which files have the rest."""
    rows = edge_rows(graphs)[:ROWS_ON_SCREEN]
    columns = [
        ["most probable edges", *(" ".join(f"{row['source']} -> {row['target']}".split()) for row in rows)],
        ["learned", *(_with_spread(row) for row in rows)],
    ]
    if graphs.exact is not None:
        columns.append(["exact", *(f"{row['exact']:.3f}" for row in rows)])
    if graphs.true is not None:
        columns.append(["true", *("yes" if row["true"] else "no" for row in rows)])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]
    if graphs.exact is not None:
        is_far = np.abs(graphs.mean - graphs.exact).max() > TOO_FAR
        more = "; far from the posterior: train longer (trainer.n_trajectories) or off-policy (exploration=...)" if is_far else ""
        lines.append(f"learned against exact, all edges: {agreement(graphs.mean, graphs.exact)}{more}")
    pictures = f", {', '.join(f'{stem}.png' for stem in PICTURES)} (and .pdf)" if with_pictures else ""
    return "\n".join([*lines, f"files of the directory below: {TABLE} (all edges){pictures}"])


def _with_spread(row: Mapping[str, str | float | int]) -> str:
    """The range over replicas, or of the samples of a single one the standard error."""
    text = f"{row['learned']:.3f}"
    if "learned_low" in row:
        return f"{text} ({row['learned_low']:.3f} to {row['learned_high']:.3f})"
    return f"{text} +- {row['learned_se']:.3f}" if "learned_se" in row else text


def draw(graphs: Graphs, directory: Path) -> list[Path]:
    """edge_probabilities and top_graphs, each as .pdf and .png; both name arrays.npz and the command that draws them again."""
    from gfn_vi.analysis.pictures import style
    from gfn_vi.analysis.pictures.edge_pictures import edge_figure
    from gfn_vi.analysis.pictures.graph_pictures import top_figure

    drawn_by = f"{command('graphs')} {shlex.quote(str(directory))}"
    paths: list[Path] = []
    with style.paper():
        for stem, figure in zip(PICTURES, (edge_figure, top_figure), strict=True):
            paths += style.save(figure(graphs), directory / stem, graphs.digest, drawn_by, source=ARRAYS)
    return paths
