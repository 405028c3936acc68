"""What a run over molecules has found, for people: a table, structures for other programs, a page and pictures of the best.

All is read from arrays.npz and config.yaml. Without RDKit only the table is written.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from gfn_vi.analysis.pictures.found_molecules import read_molecules, together

if TYPE_CHECKING:
    import pandas as pd

TABLE, STRUCTURES, PAGE = "molecules.csv", "molecules.sdf", "molecules.html"
ROWS_ON_SCREEN, LONGEST_ON_SCREEN = 8, 60


def report(directory: Path, with_pictures: bool) -> str:
    """Write molecules.csv and molecules.sdf and, if asked for, the page and the pictures; return what to tell in a terminal.

    Raises TableError for a run without molecules, OSError where the files cannot be written.
    """
    table, n_drawn, digest = read_molecules(directory)
    table.to_csv(directory / TABLE, index=False, float_format="%.10g", lineterminator="\n")
    best, files = together(table), [f"{TABLE} (all {table['smiles'].nunique()})"]
    n_drawn *= int(table["replica"].nunique())
    try:
        from gfn_vi.analysis.pictures import structures
    except ModuleNotFoundError as error:
        if error.name != "rdkit":
            raise
        missing = f"no {STRUCTURES} and no {PAGE}: RDKit is not installed (pip install 'gfn_vi[molecules]')"
        return "\n".join([molecule_lines(best, n_drawn), missing, _files(files)])
    structures.write_structures(best, directory / STRUCTURES)
    files.append(STRUCTURES)
    if with_pictures:
        from gfn_vi.analysis.pages.molecules import write_page

        write_page(best, n_drawn, directory, PAGE)
        files = [f"{PAGE} (the best, drawn)", *files, structures.draw_best(best, directory, digest)]
    return "\n".join([molecule_lines(best, n_drawn), _files(files)])


def _files(files: list[str]) -> str:
    return f"files of the directory below: {', '.join(files)}"


def molecule_lines(best: pd.DataFrame, n_drawn: int) -> str:
    """Return the best molecules as a small table for a terminal. n_drawn: fresh samples of all replicas together."""
    rows = best.head(ROWS_ON_SCREEN)
    short = rows["smiles"].map(lambda text: text if len(text) <= LONGEST_ON_SCREEN else f"{text[: LONGEST_ON_SCREEN - 3]}...")
    columns = {
        "best molecules": short,
        "value": rows["value"].map("{:#.4g}".format),
        "log R": rows["log_reward"].map("{:.3f}".format),
        "log P_T": rows["log_P_T"].map(lambda value: "unknown" if math.isnan(value) else f"{value:.2f}"),
        f"drawn of {n_drawn}": rows["drawn"].map(str),
    }
    cells = [[name, *column] for name, column in columns.items()]
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in cells]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))
