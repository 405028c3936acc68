"""Collect the runs of an experiment into one tidy table.

    gfn-vi-collect outputs/quickstart

Writes table.parquet and table.csv there: one row per recorded value, joined with what the configurations of the runs
differ in. Runs that are still running, failed or damaged are no obstacle; a line counts them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gfn_vi.terminal.arguments import answers_in_one_line, parser_of


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of the folder and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("collect", __doc__)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    folder = parser.parse_args(arguments).folder

    from gfn_vi.analysis.reading.sources import check_sources
    from gfn_vi.analysis.reading.table import collect, table_hash, write_table
    from gfn_vi.runs.folders import TableError

    table = collect(folder)
    paths = write_table(table, folder)
    try:
        check_sources(table)
    except TableError as error:  # the table tells them apart
        print(f"warning: {error}", file=sys.stderr)
    print(f"{len(table)} rows, {len(table.columns)} columns, table {table_hash(table)}")
    print(*paths, sep="\n")
    return 0
