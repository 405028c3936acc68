"""The text of a CSV file -> names and numbers; what is in the way is refused by column and line.

The first line has the names, every other line the numbers of a row. pandas parses; all cells are read as text first, since
only then a message can quote what stands in the file, and 1,23 is not read as 123 where thousands are separated by commas.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, is_number, listed, require
from gfn_vi.targets.cell_advice import COMMA, MISSING, advice

if TYPE_CHECKING:
    import pandas as pd

KEY = "target.data.path"
GZIP = b"\x1f\x8b"  # the first bytes of such a file
SEPARATORS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}  # as they are said in an override
WITHOUT_NAME = re.compile(r"|Unnamed: \d+")  # what pandas writes for the index, and reads in its place
THOUSANDS = (".", ",", " ", "'")
SPACES = {0xA0: " ", 0x202F: " "}  # spaces that break no line, as typesetters separate thousands


@dataclass(frozen=True)
class Format:
    """How a file writes its cells; missing: texts and numbers that mean a missing value, beside those that pandas knows."""

    separator: str
    decimal: str
    thousands: str | None
    missing: tuple[str | float, ...]


def checked_format(separator: str, decimal: str, thousands: str | None, missing: Sequence[str | float]) -> Format:
    r"""Return the format of a file, with a tab for a separator \t. Raises ConfigError."""
    require(decimal in (".", ","), "target.data.decimal", decimal, "expected '.' or ','")
    expected = "expected null, or one of '.' ',' ' ' \"'\" that is not target.data.decimal"
    require(thousands is None or thousands in THOUSANDS, "target.data.thousands", thousands, expected)
    require(thousands != decimal, "target.data.thousands", thousands, expected)
    markers = isinstance(missing, Sequence) and not isinstance(missing, str) and all(_is_marker(m) for m in missing)
    require(markers, "target.data.missing", missing, "expected a list of texts and numbers such as [-999,unknown], [] for none")
    return Format(checked_separator(separator), decimal, thousands, tuple(missing))


def checked_separator(separator: str) -> str:
    r"""Return the one character between columns, a tab for \t. Raises ConfigError for anything else."""
    character = "\t" if separator == r"\t" else separator
    is_one = len(character) == 1 and character not in '"\r\n'
    require(is_one, "target.data.separator", separator, r"expected one character such as ',' or ';', or '\t' for tabs")
    return character


def read_file(path: str, digest: str | None) -> bytes:
    """Return the content of the file; digest: what it had when the run was named, or null. Raises ConfigError."""
    return user_files.read_known(path, digest, KEY, "table")


def read_table(path: str, content: bytes, form: Format, columns: Sequence[str] | None) -> NumberTable:
    """Read a table of numbers only. Raises ConfigError.

    columns: the names of those that are looked at, in that order; None: all of them.
    """
    reader = _Reader(path, content, form, "a graph")
    names, values = reader.read(columns)
    return NumberTable(names, values, tuple(reader.doubts))


def read_points(path: str, content: bytes, form: Format, columns: Sequence[str] | None) -> Tensor:
    """Return the points [n, 2] float64 of a file of two columns, or of the two that are named.

    Numbers of rows, as R writes them, may stand in front.
    """
    reader = _Reader(path, content, form, "a point", has_row_names=True)
    names, points = reader.read(columns)
    if len(names) != 2:
        reader.refuse(f"{len(names)} columns, {listed(names)}: expected two, the coordinates of points; see target.data.columns")
    return points


def read_labeled_table(path: str, content: bytes, form: Format, label: str | None, leave_out: Sequence[str]) -> LabeledTable:
    """Read a table with a column of classes, which may be texts: the one of that name, or the last. Raises ConfigError.

    leave_out: columns that are not looked at, not even for whether they are numeric.
    """
    return _Reader(path, content, form, "a regression").read_labeled(label, leave_out)


@dataclass(frozen=True)
class NumberTable:
    """names: of the columns; values [rows, columns] float64; doubts: what may be meant in another way, a sentence each."""

    names: tuple[str, ...]
    values: Tensor
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class LabeledTable:
    """names: of the columns but the label's; values [rows, columns] float64; classes: sorted; class_of [rows] long."""

    names: tuple[str, ...]
    values: Tensor
    label: str
    classes: tuple[str, ...]
    class_of: Tensor
    doubts: tuple[str, ...] = ()  # what looks wrong about the columns, a sentence each


class _Reader:
    """purpose: what needs two columns; has_row_names: whether a first column without a name is left out."""

    def __init__(self, path: str, content: bytes, form: Format, purpose: str, has_row_names: bool = False) -> None:
        self.path, self.form, self.purpose, self.has_row_names = path, form, purpose, has_row_names
        self.separator = form.separator
        self.doubts: list[str] = []
        try:
            self.text = (gzip.decompress(content) if content.startswith(GZIP) else content).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("this is no text in UTF-8: a spreadsheet is saved as 'CSV UTF-8'")
        except (OSError, EOFError, zlib.error):
            self.refuse("this is a damaged file of gzip: pack it again")
        if "\0" in self.text:
            self.refuse("this is no text in UTF-8, it has zero bytes: a spreadsheet is saved as 'CSV UTF-8'")
        if not self.text.strip("\ufeff \r\n\t"):
            self.refuse("the file is empty")
        mark = re.search(r'\d"\d', self.text)
        if mark is not None:  # pandas reads "2"3 as 23
            line = len(re.findall(r"\r\n|\r|\n", self.text[: mark.start()])) + 1
            self.refuse(f"a quotation mark within a number, {mark[0]!r} in line {line}: every mark stands at an end of a cell")

    def refuse(self, why: str) -> NoReturn:
        raise ConfigError(KEY, self.path, why)

    def read(self, columns: Sequence[str] | None) -> tuple[tuple[str, ...], Tensor]:
        names, cells = self.names_and_cells(columns)
        return names, self.table(names, [self.numbers(name, cells.iloc[:, j]) for j, name in enumerate(names)])

    def read_labeled(self, label: str | None, leave_out: Sequence[str]) -> LabeledTable:
        names, cells = self.names_and_cells()
        for key, name in (("label", label), *(("leave_out", name) for name in leave_out)):
            if name is not None and name not in names:
                raise ConfigError(f"target.data.{key}", name, f"no column of {self.path}: they are {listed(names)}")
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
        self.check_classes(names[place], classes)
        return LabeledTable(others, self.table(others, columns), names[place], tuple(classes), class_of, tuple(self.doubts))

    def names_and_cells(self, columns: Sequence[str] | None = None) -> tuple[tuple[str, ...], pd.DataFrame]:
        """Return the names and the cells, as text, of these columns in their order, or of all."""
        names = self.first_line()
        if columns is None:
            self.check_names(names)
        else:
            self.check_columns(columns, names)
        cells = self.frame().iloc[1:].apply(lambda column: column.str.strip())
        cells = cells.mask(cells.isin(list(map(str, self.form.missing))))  # pandas compares them with their trailing spaces
        if len(cells) == 0:
            self.refuse("there are names but no rows below them")
        if columns is None:
            return names, cells
        return tuple(columns), cells.iloc[:, [names.index(name) for name in columns]]

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
                na_values=list(map(str, self.form.missing)) if empty_is_missing else None,
                skipinitialspace=True,
            )
            without_name = frame.isna().iloc[0, 0] or WITHOUT_NAME.fullmatch(str(frame.iloc[0, 0]).strip())
            return frame.iloc[:, 1:] if self.has_row_names and without_name else frame
        except pd.errors.ParserError as error:
            why = str(error).strip().rpartition("C error: ")[2]
            said = SEPARATORS.get(self.separator, repr(self.separator))
            self.refuse(f"no table: {why}; every line needs as many values as the first one has names, separated by {said}")

    def first_line(self) -> tuple[str, ...]:
        """Return the names in the first line, as they are."""
        names = tuple(str(name).strip() for name in self.frame(1, empty_is_missing=False).iloc[0])
        if names[0].startswith("#"):
            self.refuse(
                f"the first line is a comment, {names[0]:.50}: drop such lines, the first one has the names of the columns"
            )
        if len(names) == 1:
            self.refuse(f"a single column, {names[0]:.50}: {self.purpose} needs two; {self.advice_on_separators(names[0])}")
        if all(map(is_number, names)):
            self.refuse("the first line has numbers only: expected the names of the columns there, add such a line")
        return names

    def check_names(self, names: tuple[str, ...]) -> None:
        """Check that each column has a name of its own."""
        for j, name in enumerate(names):
            if WITHOUT_NAME.fullmatch(name):
                hint = "if it counts the rows, drop it (pandas: to_csv(..., index=False); R: row.names = FALSE), else name it"
                self.refuse(f"column {j + 1} of {len(names)} has no name in the first line ({name!r}): {hint}")
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            self.refuse(f"{listed(twice)} is the name of more than one column: rename or drop all but one")

    def check_columns(self, columns: Sequence[str], names: tuple[str, ...]) -> None:
        """Check that these are names of one column each."""
        key = "target.data.columns"
        require(len(columns) >= 2, key, list(columns), f"expected two or more, {self.purpose} needs two, or null for all")
        for name in columns:
            expected = f"expected a name of one column of {self.path}, once: they are {listed(names)}"
            require(names.count(name) == 1 and list(columns).count(name) == 1, key, name, expected)

    def advice_on_separators(self, line: str) -> str:
        others = [said for character, said in SEPARATORS.items() if character in line and character != self.separator]
        if others:
            return f'is there another character between the columns: "target.data.separator={others[0]}"?'
        return "see target.data.separator"

    def numbers(self, name: str, cells: pd.Series) -> pd.Series:
        """Return the cells of a column as float64, NaN where one is missing."""
        import pandas as pd

        plain = self.plain(cells)
        # float reads to the last bit what pandas takes for a number, as pandas does not behind a plus sign (+0.0000000012)
        numbers = plain.where(pd.to_numeric(plain, errors="coerce").notna()).astype("float64")
        texts = (numbers.isna() & cells.notna()).to_numpy()
        if texts.any():
            row = int(texts.argmax())
            cell = str(cells.iloc[row])
            n = int(texts.sum())
            also = f" (one of {n} such cells)" if n > 1 else ""
            to_do = advice(cell, self.form.decimal, self.form.thousands)
            self.refuse(f"column {name} is not numeric: {cell!r} in line {self.line(row)}{also}; {to_do}")
        long = plain[plain.str.fullmatch(r"[-+]?\d{16,}", na=False)]  # 2^53 has 16 digits
        if long.map(int).nunique() > numbers[long.index].nunique():
            alike = f"different whole numbers that are one in float64, such as {long.iloc[0]}"
            self.refuse(f"column {name} has {alike}: subtract what they share, or drop the column")
        if self.may_be_thousands(cells):
            meant = f"if that is a thousand and more: {COMMA} \"target.data.thousands='.'\""
            example = cells[cells.str.contains(".", regex=False)].iloc[0].strip()
            self.doubts.append(f"column {name} has points before three digits only, as in {example}; {meant}")
        numbers = numbers.mask(numbers.isin([float(marker) for marker in self.form.missing if is_number(str(marker))]))
        infinite = numbers.abs().eq(float("inf")).to_numpy()
        if infinite.any():
            row = int(infinite.argmax())
            self.refuse(f"column {name} is infinite in line {self.line(row)}: drop the row, or write a number")
        return numbers

    def may_be_thousands(self, cells: pd.Series) -> bool:
        """Return whether the points of a column may separate thousands: between semicolons, a decimal comma is usual."""
        pointed = cells[cells.str.contains(".", regex=False, na=False)]
        is_usual = (self.separator, self.form.decimal, self.form.thousands) == (";", ".", None)
        return is_usual and len(pointed) > 0 and bool(pointed.str.fullmatch(r"\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*").all())

    def plain(self, cells: pd.Series) -> pd.Series:
        """Return the cells as programs write numbers: a decimal point, and nothing between thousands.

        A cell that the format does not allow stays one that is not numeric.
        """
        decimal, thousands = self.form.decimal, self.form.thousands
        if thousands is not None:
            cells = cells.str.translate(SPACES) if thousands == " " else cells
            groups = rf"\s*[-+]?\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+(?:{re.escape(decimal)}\d*)?\s*"
            is_grouped = cells.str.fullmatch(groups, na=False)
            cells = cells.mask(is_grouped, cells.str.replace(thousands, "", regex=False))
        if decimal == ",":
            cells = cells.str.translate({ord(","): ".", ord("."): ","})
        return cells

    def check_complete(self, names: tuple[str, ...], columns: list[pd.Series]) -> None:
        """Check that no value is missing: rows with gaps are for the user to fill or to drop."""
        missing = {name: column.isna().to_numpy() for name, column in zip(names, columns, strict=True) if column.isna().any()}
        if missing:
            counts = [f"{name} in {gaps.sum()} of {len(gaps)} rows" for name, gaps in missing.items()]
            first = self.line(min(int(gaps.argmax()) for gaps in missing.values()))
            markers = f", with target.data.missing={list(self.form.missing)}" if self.form.missing else ""
            self.refuse(
                f"missing values: {listed(counts)} (the first in line {first}{markers}); fill them or drop these rows or columns"
            )

    def check_classes(self, label: str, classes: list[str]) -> None:
        """Check that no class is written in two ways, and doubt one that looks like a missing value. Raises ConfigError."""
        numbers = [float(name) for name in classes if is_number(name)]
        if len(set(numbers)) < len(numbers):
            self.refuse(f"column {label} writes one number in several ways, {listed(classes)}: write each class in one way")
        by_letters = Counter(name.casefold() for name in classes)
        alike = [name for name in classes if by_letters[name.casefold()] > 1]
        if alike:
            self.refuse(f"column {label} has classes that differ in capital letters only, {listed(alike)}: write each in one way")
        for name in classes:
            if re.fullmatch(MISSING, name):
                meant = f"if it means a missing value, say \"target.data.missing=['{name}']\""
                self.doubts.append(f"column {label} has a class {name}; {meant}")

    def line(self, row: int) -> int:
        """Return the number, from 1, of the line in the file that has a row below the names."""
        filled = [number for number, line in enumerate(re.split(r"\r\n|\r|\n", self.text), 1) if line.strip()]
        return filled[row + 1]


def _is_marker(value: object) -> bool:
    """Whether a value may stand for a missing one: a text or a number."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _class_order(text: str) -> tuple[bool, float, str]:
    """Numbers first, in their order."""
    return (False, float(text), text) if is_number(text) else (True, 0.0, text)
