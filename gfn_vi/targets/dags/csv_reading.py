"""The text of a CSV file -> names and numbers; what is in the way is refused by column and line.

The first line has the names, every other line the numbers of a row. pandas parses; all cells are read as text first, since
only then a message can quote what stands in the file.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

KEY = "target.data.path"
SEPARATORS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}  # as they are said in an override
WITHOUT_NAME = re.compile(r"|Unnamed: \d+")  # what pandas writes for the index, and reads in its place
MOST_LISTED = 5


def read_table(path: str, content: bytes, separator: str) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the columns and the numbers [rows, columns] float64 of the content of a file. Raises ConfigError."""
    return _Reader(path, content, separator).read()


class _Reader:
    def __init__(self, path: str, content: bytes, separator: str) -> None:
        self.path, self.separator = path, separator
        try:
            self.text = content.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("this is no text in UTF-8: a spreadsheet is saved as 'CSV UTF-8'")

    def refuse(self, why: str) -> NoReturn:
        raise ConfigError(KEY, self.path, why)

    def read(self) -> tuple[tuple[str, ...], Tensor]:
        names, cells = self.names(), self.frame().iloc[1:]
        if len(cells) == 0:
            self.refuse("there are names but no rows below them")
        columns = [self.numbers(name, cells.iloc[:, j]) for j, name in enumerate(names)]
        self.check_complete(names, columns)
        return names, torch.stack([torch.tensor(column.to_numpy("float64")) for column in columns], 1)

    def frame(self, n_rows: int | None = None, empty_is_missing: bool = True) -> pd.DataFrame:
        """Return all lines that are not blank, the first one too, as text."""
        import pandas as pd

        try:
            return pd.read_csv(
                io.StringIO(self.text),
                sep=self.separator,
                header=None,
                nrows=n_rows,
                dtype=str,
                keep_default_na=empty_is_missing,
                skipinitialspace=True,
            )
        except pd.errors.ParserError as error:
            why = str(error).strip().rpartition("C error: ")[2]
            said = SEPARATORS.get(self.separator, repr(self.separator))
            self.refuse(f"no table: {why}; every line needs as many values as the first one has names, separated by {said}")

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns, from the first line."""
        names = tuple(str(name).strip() for name in self.frame(1, empty_is_missing=False).iloc[0])
        if len(names) == 1:
            self.refuse(f"a single column, {names[0]:.50}: a graph needs two; {self.advice_on_separators(names[0])}")
        if all(map(_is_number, names)):
            self.refuse("the first line has numbers only: expected the names of the columns there, add such a line")
        for j, name in enumerate(names):
            if WITHOUT_NAME.fullmatch(name):
                hint = "if it counts the rows, drop it (pandas: to_csv(..., index=False); R: row.names = FALSE), else name it"
                self.refuse(f"column {j + 1} of {len(names)} has no name in the first line ({name!r}): {hint}")
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            self.refuse(f"{_listed(twice)} is the name of more than one column: rename or drop all but one")
        return names

    def advice_on_separators(self, line: str) -> str:
        others = [said for character, said in SEPARATORS.items() if character in line and character != self.separator]
        if others:
            return f'is there another character between the columns: "target.data.separator={others[0]}"?'
        return "see target.data.separator"

    def numbers(self, name: str, cells: pd.Series) -> pd.Series:
        """Return the cells of a column as float64, NaN where one is missing."""
        import pandas as pd

        numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
        texts = (numbers.isna() & cells.notna()).to_numpy()
        if texts.any():
            row = int(texts.argmax())
            cell = str(cells.iloc[row])
            advice = "drop the column, or write its categories as whole numbers"
            if re.fullmatch(r"[-+]?\d+,\d+([eE][-+]?\d+)?", cell):
                advice = "write decimals with a point"
            self.refuse(f"column {name} is not numeric: {cell!r} in line {self.line(row)}; {advice}")
        infinite = numbers.abs().eq(float("inf")).to_numpy()
        if infinite.any():
            row = int(infinite.argmax())
            self.refuse(f"column {name} is infinite in line {self.line(row)}: drop the row, or write a number")
        return numbers

    def check_complete(self, names: tuple[str, ...], columns: list[pd.Series]) -> None:
        """Check that no value is missing: rows with gaps are for the user to fill or to drop."""
        missing = {name: column.isna().to_numpy() for name, column in zip(names, columns, strict=True) if column.isna().any()}
        if missing:
            counts = [f"{name} in {gaps.sum()} of {len(gaps)} rows" for name, gaps in missing.items()]
            first = self.line(min(int(gaps.argmax()) for gaps in missing.values()))
            self.refuse(f"missing values: {_listed(counts)} (the first in line {first}); fill them or drop these rows or columns")

    def line(self, row: int) -> int:
        """Return the number, from 1, of the line in the file that has a row below the names."""
        filled = [number for number, line in enumerate(re.split(r"\r\n|\r|\n", self.text), 1) if line.strip()]
        return filled[row + 1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(words: list[str]) -> str:
    """Return the first few words, and how many there are more."""
    more = f" and {len(words) - MOST_LISTED} more" if len(words) > MOST_LISTED else ""
    return ", ".join(words[:MOST_LISTED]) + more
