"""A table with a column of two classes, from a CSV file or scikit-learn; what no regression can use is refused by name."""

from __future__ import annotations

from dataclasses import replace

import torch

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.targets.columns import doubts, is_constant, standardized
from gfn_vi.targets.csv_reading import KEY, LabeledTable, checked_format, read_file, read_labeled_table


class BinaryTable:
    """The table at `path`, or, where the path is null, breast cancer: 569 tumors, 30 columns, malignant or benign.

    Wolberg, Mangasarian, Street & Street (1993), as scikit-learn ships it.
    """

    def __init__(
        self,
        path: str | None,
        label: str | None,
        leave_out: list[str],
        separator: str,
        standardize: bool,
        digest: str | None,
        decimal: str,
        thousands: str | None,
        missing: list[str | float],
    ) -> None:
        r"""label: name of the column of classes, null for the last one; the class that sorts last is y = 1, numbers by size.

        leave_out: names of columns that are no part of the regression. separator: one character, or \t; standardize: the other
        columns to mean 0 and variance 1; digest: of the file, or null. decimal, thousands: characters within a number; missing:
        texts and numbers that mean a missing value.
        """
        self.format = checked_format(separator, decimal, thousands, missing)
        self.path, self.label, self.leave_out = path, label, leave_out
        self.standardize, self.digest = standardize, digest

    def table(self) -> LabeledTable:
        """Read the table. Raises ConfigError."""
        if self.path is None:
            require(self.label is None, "target.data.label", self.label, "expected null: there is no target.data.path")
            require(not self.leave_out, "target.data.leave_out", self.leave_out, "expected []: there is no target.data.path")
            table = breast_cancer()
        else:
            content = read_file(self.path, self.digest)
            table = read_labeled_table(self.path, content, self.format, self.label, self.leave_out)
            self._check(table)
            found = doubts(table.names, table.values, table.values, "target.data.leave_out leaves it out")
            said = [*table.doubts, *found, *_copies(table)]
            table = replace(table, doubts=tuple(f"{KEY}={self.path}: {doubt}" for doubt in said))
        if not self.standardize:
            return table
        return replace(table, values=standardized(table.values, table.values))

    def _check(self, table: LabeledTable) -> None:
        if len(table.classes) != 2:
            listed = ", ".join(table.classes[:5]) + (", ..." if len(table.classes) > 5 else "")
            why = f"column {table.label} has {len(table.classes)} different values ({listed}): expected two"
            raise ConfigError("target.data.label", self.label, f"{why}; name the column of the classes, or keep two of them")
        for name, column in zip(table.names, table.values.T, strict=True):
            if is_constant(column):
                why = f"column {name} is constant, {column[0].item():g} in the {len(column)} rows: target.data.leave_out=[{name}]"
                raise ConfigError(KEY, self.path, why)


def _copies(table: LabeledTable) -> list[str]:
    """Return a sentence on each column that says what the label says, in two values of its own."""
    found = []
    for name, column in zip(table.names, table.values.T, strict=True):
        of_class = column.new_tensor([float(column[table.class_of == c].min()) for c in (0, 1)])
        if of_class[0] != of_class[1] and torch.equal(of_class[table.class_of], column):
            found.append(
                f"column {name} says the same as the label {table.label}: target.data.leave_out=[{name}] if it is a copy"
            )
    return found


def breast_cancer() -> LabeledTable:
    """Return the table that scikit-learn ships. Raises ConfigError where it is not installed."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        advice = "the default table comes with scikit-learn: pip install 'gfn_vi[tables]', or give a file of your own"
        raise ConfigError(KEY, None, advice) from error
    found = load_breast_cancer()
    classes = tuple(map(str, found.target_names))
    return LabeledTable(
        tuple(map(str, found.feature_names)),
        torch.tensor(found.data, dtype=torch.float64),
        "diagnosis",
        classes,
        torch.tensor(found.target, dtype=torch.long),
    )
