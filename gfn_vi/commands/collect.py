"""Collect the runs of an experiment, or of several folders, into one tidy table.

    gfn-vi-collect outputs/quickstart
    gfn-vi-collect outputs/quickstart laptop/outputs/quickstart --to both

Writes table.parquet and table.csv into the folder, of several into joined, or into the folder of --to: one row per recorded
value, joined with what the configurations of the runs differ in. Runs that are still running, failed or damaged are no obstacle;
a line counts them. A run that lies in several folders is one run, of which the copy that is further counts; a warning says where
copies have other numbers. A seed of one setting counts once, in whatever folders it lies. Experiments of several names are told
apart by the column config.experiment_name.
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
    parser.add_argument("folder", type=Path, nargs="+", help="outputs/<experiment>, the folder that holds the runs")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where to write the table (default: the folder; of several: joined)"
    )
    given = parser.parse_args(arguments)
    folders = given.folder

    from gfn_vi.analysis.reading.joining import JOINED
    from gfn_vi.analysis.reading.sources import check_sources
    from gfn_vi.analysis.reading.table import collect, table_hash, write_table
    from gfn_vi.runs.folders import TableError

    to = given.to or (folders[0] if len(folders) == 1 else JOINED)
    if to not in folders and to.exists() and not to.is_dir():
        raise TableError(f"{'--to ' if given.to else ''}{to}: expected a folder, and it is a file")
    table = collect(folders)
    to.mkdir(parents=True, exist_ok=True)
    paths = write_table(table, to)
    try:
        check_sources(table)
    except TableError as error:  # the table tells them apart
        print(f"warning: {error}", file=sys.stderr)
    print(f"{len(table)} rows, {len(table.columns)} columns, table {table_hash(table)}")
    print(*paths, sep="\n")
    return 0
