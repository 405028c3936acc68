"""The user's own table, from a CSV file; what would make its posterior meaningless is refused by name.

Beside what csv_reading.py refuses (no numbers, missing or infinite values): columns that are constant or equal to another,
and fewer rows than columns. A column that is a sum of others is not refused, since the priors of the scores keep them finite,
but the user is told, as of all that columns.py finds doubtful.

The priors of the Gaussian scores are in units of the columns (BGe's defaults expect variances about 1), so columns are
standardized unless one says otherwise: x -> (x - mean) / standard deviation, both of the training rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.targets.columns import doubts, is_constant, standardized
from gfn_vi.targets.csv_reading import KEY, checked_format, read_file, read_table
from gfn_vi.targets.dags.data import Data, Table, check_seed, generator
from gfn_vi.targets.dags.kinds import few_values


class CsvTable:
    """The table in the CSV file at `path`, or that of `otherwise` where the path is null."""

    def __init__(
        self,
        path: str | None,
        otherwise: Data,
        separator: str,
        standardize: bool,
        held_out_fraction: float,
        seed: int,
        digest: str | None,
        columns: list[str] | None,
        decimal: str,
        thousands: str | None,
        missing: list[str | float],
    ) -> None:
        r"""separator: one character, or \t; standardize: whether columns get mean 0 and variance 1.

        held_out_fraction: share of the rows that the score does not see, chosen by the seed; digest: the file's, or None for any.
        columns: names of those to use, None for all; decimal, thousands: characters within a number; missing: texts and numbers
        that mean a missing value.
        """
        self.format, self.columns = checked_format(separator, decimal, thousands, missing), columns
        expected = "expected a number from 0 to below 1: what share of the rows the score does not see"
        require(0 <= held_out_fraction < 1, "target.data.held_out_fraction", held_out_fraction, expected)
        check_seed(seed)
        self.path, self.otherwise, self.digest = path, otherwise, digest
        self.standardize, self.held_out_fraction, self.seed = standardize, held_out_fraction, seed

    def table(self) -> Table:
        """Return the table, its rows on either side in the file's order. Raises ConfigError for what cannot be learned from."""
        if self.path is None:
            return self.otherwise.table()
        read = read_table(self.path, read_file(self.path, self.digest), self.format, self.columns)
        names, rows = read.names, read.values
        held_out = self._held_out(len(rows))
        table = Table(names, rows[~held_out], rows[held_out], graph=None, few_values=few_values(names, rows))
        self._check(table, rows)
        said = [*read.doubts, *doubts(names, rows, table.values, "target.data.columns lists those to use")]
        table = replace(table, doubts=tuple(f"{KEY}={self.path}: {doubt}" for doubt in said))
        if not self.standardize:
            return table
        values = standardized(rows, table.values)
        return replace(table, values=values[~held_out], held_out=values[held_out])

    def _held_out(self, n_rows: int) -> Tensor:
        """Return which rows are held out: [n_rows] bool."""
        n_held_out, share = round(n_rows * self.held_out_fraction), self.held_out_fraction
        expected = f"this is none of the {n_rows} rows; raise it, or set it to 0 to hold out nothing"
        require(n_held_out > 0 or share == 0, "target.data.held_out_fraction", share, expected)
        held_out = torch.zeros(n_rows, dtype=torch.bool)
        held_out[torch.randperm(n_rows, generator=generator(self.seed, "held-out rows"))[:n_held_out]] = True
        return held_out

    def _check(self, table: Table, rows: Tensor) -> None:
        n_rows, n_columns = table.values.shape
        without = f" of {len(rows)}, without those of target.data.held_out_fraction={self.held_out_fraction}"
        where = f"the {n_rows} rows{without if len(table.held_out) > 0 else ''}"
        if n_rows < n_columns + 1:
            expected = f"expected {n_columns + 1} or more (columns + 1): add rows or drop columns"
            self._refuse(f"too few rows for {n_columns} columns, {where}: {expected}")
        for name, column in zip(table.names, table.values.T, strict=True):
            if is_constant(column):
                constant = "constant" if bool((column == column[0]).all()) else "constant up to rounding"
                self._refuse(f"column {name} is {constant}, {column[0].item():g} in {where}: drop it")
        seen: dict[bytes, str] = {}
        for name, column in zip(table.names, (rows + 0.0).T.contiguous(), strict=True):  # + 0.0: -0.0 equals 0.0
            twin = seen.setdefault(column.numpy().tobytes(), name)
            if twin != name:
                self._refuse(f"columns {twin} and {name} are equal in every row: drop one of them")

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(KEY, self.path, why)
