"""Runs of one file in several versions: a reward that was changed between them is another reward under the same name.

A column `config.source.<file>` has the digest of each file of which the runs have several, so groups of runs are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gfn_vi.analysis.reading.choices import PREFIX
from gfn_vi.core.errors import listed
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import Run

SOURCE = "source."  # a key like those of the configuration
MOST_RUNS = 2  # of a version, named in the error


def differing_sources(runs: Sequence[Run]) -> dict[str, list[str | None]]:
    """Return key -> digest in each run, for the files that runs have in several versions; None where a run has no such file."""
    names = sorted({name for run in runs for name in run.sources})
    found = {f"{SOURCE}{name}": [run.sources.get(name) for run in runs] for name in names}
    return {key: digests for key, digests in found.items() if len(set(digests) - {None}) > 1}


def check_sources(table: pd.DataFrame) -> None:
    """TableError, with file and runs, if runs of the table were trained with different versions of one of the user's files.

    table: as `collect` makes it; a change that somebody accepted for a run (checkpoint.accept_changed_sources) counts as none.
    """
    for column in (name for name in map(str, table.columns) if name.startswith(f"{PREFIX}{SOURCE}")):
        name = column.removeprefix(f"{PREFIX}{SOURCE}")
        runs = table[["run", column]].drop_duplicates().groupby(column, observed=True)["run"]
        versions = [f"{digest!s:.8} of {listed(sorted(of_version), MOST_RUNS)}" for digest, of_version in runs]
        raise TableError(
            f"the runs have {len(versions)} versions of {name} ({'; '.join(versions)}): "
            "train them with one, or keep the others in a folder of their own"
        )
