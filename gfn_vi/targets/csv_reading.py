"""The text of a CSV file -> names and numbers; what is in the way is refused by column and line.

The first line has the names, every other line the numbers of a row. pandas parses; all cells are read as text first, since
only then a message can quote what stands in the file.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, require

if TYPE_CHECKING:
    import pandas as pd

KEY = "target.data.path"
SEPARATORS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}  # as they are said in an override
WITHOUT_NAME = re.compile(r"|Unnamed: \d+")  # what pandas writes for the index, and reads in its place
MOST_LISTED = 5


def checked_separator(separator: str) -> str:
    r"""Return the one character between columns, a tab for \t. Raises ConfigError for anything else."""
    character = "\t" if separator == r"\t" else separator
    is_one = len(character) == 1 and character not in '"\r\n'
    require(is_one, "target.data.separator", separator, r"expected one character such as ',' or ';', or '\t' for tabs")
    return character


def read_file(path: str, digest: str | None) -> bytes:
    """Return the content of the file; digest: what it had when the run was named, or null. Raises ConfigError."""
    content = user_files.read(path, KEY)
    found = user_files.digest(content)
    if digest is not None and digest != found:
        why = f"the file has changed: its digest was {digest} and now is {found}; start a run of the new table"
        raise ConfigError(KEY, path, why)
    return content


def read_table(path: str, content: bytes, separator: str) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the columns and the numbers [rows, columns] float64 of the content of a file. Raises ConfigError."""
    return _Reader(path, content, separator, "a graph").read()


def read_points(path: str, content: bytes, separator: str) -> Tensor:
    """Return the points [n, 2] float64 of a file of two columns; numbers of rows, as R writes them, may stand in front."""
    reader = _Reader(path, content, separator, "a point", has_row_names=True)
    names, points = reader.read()
    if len(names) != 2:
        reader.refuse(f"{len(names)} columns, {_listed(list(names))}: expected two, the coordinates of points")
    return points


def read_labeled_table(path: str, content: bytes, separator: str, label: str | None, leave_out: Sequence[str]) -> LabeledTable:
    """Read a table with a column of classes, which may be texts: the one of that name, or the last. Raises ConfigError.

    leave_out: columns that are not looked at, not even for whether they are numeric.
    """
    return _Reader(path, content, separator, "a regression").read_labeled(label, leave_out)


@dataclass(frozen=True)
class LabeledTable:
    """names: of the columns but the label's; values [rows, columns] float64; classes: sorted; class_of [rows] long."""

    names: tuple[str, ...]
    values: Tensor
    label: str
    classes: tuple[str, ...]
    class_of: Tensor


class _Reader:
    """purpose: what needs two columns; has_row_names: whether a first column without a name is left out."""

    def __init__(self, path: str, content: bytes, separator: str, purpose: str, has_row_names: bool = False) -> None:
        self.path, self.separator, self.purpose, self.has_row_names = path, separator, purpose, has_row_names
        try:
            self.text = content.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("this is no text in UTF-8: a spreadsheet is saved as 'CSV UTF-8'")

    def refuse(self, why: str) -> NoReturn:
        raise ConfigError(KEY, self.path, why)

    def read(self) -> tuple[tuple[str, ...], Tensor]:
        names, cells = self.names_and_cells()
        return names, self.table(names, [self.numbers(name, cells.iloc[:, j]) for j, name in enumerate(names)])

    def read_labeled(self, label: str | None, leave_out: Sequence[str]) -> LabeledTable:
        names, cells = self.names_and_cells()
        for key, name in (("label", label), *(("leave_out", name) for name in leave_out)):
            if name is not None and name not in names:
                raise ConfigError(f"target.data.{key}", name, f"no column of {self.path}: they are {_listed(list(names))}")
        kept = [j for j, name in enumerate(names) if name not in leave_out]
        names, cells = tuple(names[j] for j in kept), cells.iloc[:, kept]
        if len(names) < 2 or (label is not None and label not in names):
            advice = "expected the label and another column to be left over"
            raise ConfigError("target.data.leave_out", list(leave_out), advice)
        place = names.index(label) if label is not None else len(names) - 1
        others = names[:place] + names[place + 1 :]
        columns = [self.numbers(name, cells.iloc[:, j]) for j, name in enumerate(names) if j != place]
        label_cells = cells.iloc[:, place].str.strip()
        self.check_complete((*others, names[place]), [*columns, label_cells])
        classes = sorted(label_cells.unique(), key=_class_order)
        class_of = torch.tensor([classes.index(cell) for cell in label_cells])
        return LabeledTable(others, self.table(others, columns), names[place], tuple(classes), class_of)

    def names_and_cells(self) -> tuple[tuple[str, ...], pd.DataFrame]:
        names, cells = self.names(), self.frame().iloc[1:]
        if len(cells) == 0:
            self.refuse("there are names but no rows below them")
        return names, cells

    def table(self, names: tuple[str, ...], columns: list[pd.Series]) -> Tensor:
        self.check_complete(names, columns)
        return torch.stack([torch.tensor(column.to_numpy("float64")) for column in columns], 1)

    def frame(self, n_rows: int | None = None, empty_is_missing: bool = True) -> pd.DataFrame:
        """Return all lines that are not blank, the first one too, as text."""
        import pandas as pd

        try:
            frame = pd.read_csv(
                io.StringIO(self.text),
                sep=self.separator,
                header=None,
                nrows=n_rows,
                dtype=str,
                keep_default_na=empty_is_missing,
                skipinitialspace=True,
            )
            without_name = frame.isna().iloc[0, 0] or WITHOUT_NAME.fullmatch(str(frame.iloc[0, 0]).strip())
            return frame.iloc[:, 1:] if self.has_row_names and without_name else frame
        except pd.errors.ParserError as error:
            why = str(error).strip().rpartition("C error: ")[2]
            said = SEPARATORS.get(self.separator, repr(self.separator))
            self.refuse(f"no table: {why}; every line needs as many values as the first one has names, separated by {said}")

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns, from the first line."""
        names = tuple(str(name).strip() for name in self.frame(1, empty_is_missing=False).iloc[0])
        if len(names) == 1:
            self.refuse(f"a single column, {names[0]:.50}: {self.purpose} needs two; {self.advice_on_separators(names[0])}")
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


def _class_order(text: str) -> tuple[bool, float, str]:
    """Numbers first, in their order."""
    return (False, float(text), text) if _is_number(text) else (True, 0.0, text)


def _listed(words: list[str]) -> str:
    """Return the first few words, and how many there are more."""
    more = f" and {len(words) - MOST_LISTED} more" if len(words) > MOST_LISTED else ""
    return ", ".join(words[:MOST_LISTED]) + more
