"""Collect the runs of an experiment into one tidy table.

    gfn-vi-collect outputs/quickstart

Writes table.parquet and table.csv there: one row per recorded value, joined with what the configurations of the runs
differ in. Runs that are still running, failed or damaged are no obstacle; a line counts them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gfn_vi.core.command_line import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of the folder and return the exit status (2: a clear one-line error on stderr)."""
    text = str(__doc__).replace("gfn-vi-collect", command("collect"))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    folder = parser.parse_args(arguments).folder

    from gfn_vi.analysis.reading.table import collect, table_hash, write_table
    from gfn_vi.runs.reading import TableError

    try:
        table = collect(folder)
        paths = write_table(table, folder)
    except (TableError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(table)} rows, {len(table.columns)} columns, table {table_hash(table)}")
    print(*paths, sep="\n")
    return 0
