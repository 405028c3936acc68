"""What the columns of a user's table are like: constant, of extreme units, combinations of each other, with doubtful values.

Doubts are sentences for the user: a table may well mean what looks doubtful, so nothing is refused for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Spread over size below which the digits of a column in float64 (16 of them) are mostly rounding.
LEAST_SPREAD = 1e-12
# Standard deviation, over that of the column, of what other columns leave unexplained: files of seven digits leave less.
LEAST_RESIDUAL = 1e-6
LEAST_COEFFICIENT = 1e-4
# Distance of a single value from all others, in units of their spread, beyond which they are hardly told apart.
LEAST_OUTLYING = 1e6
MOST_SAID = 5


def is_constant(column: Tensor) -> bool:
    """Return whether the values of a column [N] are equal, or differ by rounding only."""
    spread = column.max() - column.min()
    return bool(spread <= LEAST_SPREAD * column.abs().max())


def standardized(values: Tensor, training: Tensor) -> Tensor:
    """Return columns with mean 0 and variance 1 over the training rows: [N, d], [N', d] -> [N, d].

    Columns are first brought near 1 by powers of two, which changes no digit, so that no square overflows or underflows.
    """
    exponent = torch.cat([values, training]).abs().amax(0).frexp().exponent.double()
    half = (exponent / 2).floor()  # the whole power may itself be no float64

    def near_one(rows: Tensor) -> Tensor:
        return rows * 2.0**-half * 2.0 ** (half - exponent)

    values, training = near_one(values), near_one(training)
    return (values - training.mean(0)) / training.std(0, correction=0)


def doubts(names: Sequence[str], rows: Tensor, training: Tensor, leave_out: str) -> list[str]:
    """Return what looks wrong about the columns, a sentence each; leave_out: how the user leaves a column out.

    rows [N, d]: all of them, in the order of the file; training [N', d]: those of which no column is constant.
    """
    columns = list(zip(names, rows.T, strict=True))
    found = [
        *(doubt for name, column in columns if (doubt := _marker(name, column)) is not None),
        *(doubt for name, column in columns if (doubt := _code_of_missing(name, column)) is not None),
        *_repeated(rows),
        *(f"column {name} counts the rows: {leave_out}" for name, column in columns if _counts_rows(column)),
        *(f"{doubt}, so rows cannot tell their effects apart: {leave_out}" for doubt in _combinations(names, training)),
    ]
    more = [f"{len(found) - MOST_SAID} more columns look doubtful"] if len(found) > MOST_SAID else []
    return [*found[:MOST_SAID], *more]


def _marker(name: str, column: Tensor) -> str | None:
    """Return a sentence on a value at an end of the column that may stand for a missing one, None where there is none.

    It is as far from the other values as those are from each other; and it is repeated, or written in nines (-999, 9999), or
    a million times as far. Among whole numbers a repeated 9 counts as nines: surveys (1, 2, 9) and genotypes (0, 1, 2, -9).
    """
    for value in (column.min(), column.max()):
        others = column[column.abs() != value.abs()]  # -999 and 999 may both be markers
        count = int((column == value).sum())
        digits = f"{abs(value.item()):.0f}"
        is_code = count > 1 and bool((column == column.round()).all())
        in_nines = set(digits) == {"9"} and (len(digits) > 1 or is_code) and bool(value == value.round())
        if len(others.unique()) < (2 if in_nines else 3):
            continue
        gap = torch.minimum((others - value).abs().min(), value.abs() if in_nines else value.new_tensor(torch.inf))
        times = 1.0 if in_nines or count > 1 else LEAST_OUTLYING
        if gap > times * (others.max() - others.min()):
            said = f"{value.item():g}"
            meant = f"if that means a missing value, say target.data.missing=[{said}]"
            return f"column {name} has {said} in {count} of {len(column)} rows, far from all other values: {meant}"
    return None


def _code_of_missing(name: str, column: Tensor) -> str | None:
    """Return a sentence on a column of the codes -1, 0, 1, 2, ..., in which pandas numbers categories and writes -1 for none."""
    found, counts = column.unique(return_counts=True)
    codes = torch.arange(-1, len(found) - 1, dtype=column.dtype, device=column.device)
    if len(found) < 4 or not torch.equal(found, codes):
        return None
    beside = f"-1 in {counts[0].item()} of {len(column)} rows beside 0 to {len(found) - 2}"
    return f"column {name} has {beside}: if -1 means a missing value, say target.data.missing=[-1]"


def _repeated(rows: Tensor) -> list[str]:
    """Return a sentence on rows [N, d] that are there twice, where two columns or more have too many values for chance."""
    n_rows = len(rows)
    n_repeated = n_rows - len(rows.unique(dim=0))
    n_fine = sum(3 * len(column.unique()) >= n_rows for column in rows.T)
    if n_repeated == 0 or n_fine < 2:
        return []
    advice = "each is an observation of its own; drop them if they are copies"
    return [f"{n_repeated} of {n_rows} rows are equal to an earlier one in every column: {advice}"]


def _counts_rows(column: Tensor) -> bool:
    """Return whether a column is n, n + 1, n + 2, ... from 0 or 1 on, as numbers of rows are."""
    return len(column) > MOST_SAID and column[0].item() in (0, 1) and bool((column.diff() == 1).all())


def _combinations(names: Sequence[str], training: Tensor) -> list[str]:
    """Return which columns are combinations of earlier ones, a clause each; by Gram-Schmidt, each column taken twice."""
    unit = standardized(training, training) / len(training) ** 0.5
    basis, independent, found = unit[:, :0], [], []
    for j, column in enumerate(unit.T):
        residual = column
        for _ in range(2):
            residual = residual - basis @ (basis.T @ residual)
        if residual.norm() > LEAST_RESIDUAL:
            basis = torch.cat([basis, (residual / residual.norm())[:, None]], 1)
            independent.append(j)
            continue
        solution = torch.linalg.lstsq(unit[:, independent], column[:, None]).solution[:, 0]
        parts = [names[i] for i, weight in zip(independent, solution.tolist(), strict=True) if abs(weight) > LEAST_COEFFICIENT]
        of_parts = f"of multiples of {', '.join(parts)}" if len(parts) > 1 else f"of a multiple of {parts[0]}"
        found.append(f"column {names[j]} is a sum {of_parts} and a constant")
    return found
