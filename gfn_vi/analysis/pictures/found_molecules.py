"""The molecules that a finished run has left in arrays.npz: a row per molecule and replica, and replicas together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_arrays

if TYPE_CHECKING:
    import pandas as pd

MOLECULES = "best_smiles"  # an array that only runs over molecules have
SETS = ("best", "met")  # the best of fresh samples, and the best that training met


def read_molecules(directory: Path) -> tuple[pd.DataFrame, int, str]:
    """Return the table of a run directory, the number of fresh samples of each replica, and the digest of arrays.npz.

    Columns, the best molecule first: smiles, value (of the proxy), log_reward, log_P_T (exact), drawn (among the fresh samples),
    drawn_in_training and first_met (as the how-manyth trajectory of training; both missing where training did not keep the
    molecule, the second where the replica never met it), n_blocks, replica. Raises TableError for a run without molecules.
    """
    import pandas as pd

    arrays, digest = read_arrays(directory)
    if MOLECULES not in arrays:
        raise TableError(f"{directory / ARRAYS} holds no molecules: expected a run with target=molecules")
    parts = [_rows(prefix, arrays) for prefix in reversed(SETS) if f"{prefix}_smiles" in arrays]
    table = pd.concat(parts, ignore_index=True).drop_duplicates(["state", "replica"])  # met ones first: they know more
    table = table.drop(columns="state").astype({"drawn_in_training": "Int64", "first_met": "Int64"})
    table = table.sort_values(["log_reward", "smiles", "replica"], ascending=[False, True, True], ignore_index=True)
    return table, int(arrays["n_drawn"]), digest


def _rows(prefix: str, arrays: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of one set of M molecules in R replicas: R M rows."""
    import pandas as pd

    def of_set(name: str) -> Any:
        return arrays.get(f"{prefix}_{name}")

    n_replicas, n_molecules = of_set("drawn").shape
    molecule, replica = np.tile(np.arange(n_molecules), n_replicas), np.repeat(np.arange(n_replicas), n_molecules)
    times, first = of_set("times"), of_set("first")
    columns = {
        "state": [state.tobytes() for state in of_set("states")[molecule]],
        **{name: of_set(name)[molecule] for name in ("smiles", "value", "log_reward")},
        "log_P_T": of_set("log_terminating").reshape(-1),
        "drawn": of_set("drawn").reshape(-1),
        "drawn_in_training": pd.NA if times is None else times.reshape(-1),
        "first_met": pd.NA if first is None else pd.array(first.reshape(-1), "Int64"),
        "n_blocks": of_set("n_blocks")[molecule],
        "replica": replica,
    }
    table = pd.DataFrame(columns)
    table.loc[table["first_met"].eq(0).fillna(False), "first_met"] = pd.NA
    return table


def together(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per SMILES, replicas together: drawn is their sum, log_P_T their median, with log_P_T_low and log_P_T_high.

    Of several states with one SMILES the best one counts.
    """
    best = table["log_reward"].eq(table.groupby("smiles")["log_reward"].transform("max"))
    grouped = table[best].groupby("smiles", sort=False)
    found = grouped.agg(
        value=("value", "first"),
        log_reward=("log_reward", "first"),
        log_P_T=("log_P_T", "median"),
        log_P_T_low=("log_P_T", "min"),
        log_P_T_high=("log_P_T", "max"),
        drawn=("drawn", "sum"),
        n_blocks=("n_blocks", "first"),
    )
    return found.reset_index()
