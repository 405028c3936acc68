"""Whether the columns of a table are what the score is for: numbers (Gaussian scores) or categories (BDe).

A simulated table knows what it is, and a score that does not fit is refused. A file does not say: its whole numbers may count
something or stand for categories, so the user is told what they were taken for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gfn_vi.core.errors import ConfigError, listed
from gfn_vi.targets.dags.data import Table
from gfn_vi.targets.dags.scores import Score

# A column of no more values, each in two rows or more on average, looks like categories; one of more values that are in fewer
# than ten rows on average does not.
MOST_CATEGORIES = 10
FEWEST_ROWS_OF_A_NUMBER = 2
FEWEST_ROWS_OF_A_CATEGORY = 10
MOST_NAMED = 5


def check_kind(table: Table, score: Score) -> None:
    """Raise ConfigError where the score is for another kind of columns than the table says to have.

    A score of the user's that does not say what it is for is taken as it is.
    """
    wanted, levels = getattr(score, "kind", None), getattr(score, "levels", None)
    if table.kind == "categories" and levels is not None:
        cut = "the columns are categories, whose numbers have no order to be cut by: target.score.levels=null"
        raise ConfigError("target.score.levels", levels, cut)
    if table.kind is None or wanted is None or table.kind == wanted:
        return
    advice = {
        "categories": "the columns are categories, which have no mean: score@target.score=bde",
        "numbers": "the columns are numbers: score@target.score=bge, or target.score.levels=3 to cut them into three",
    }
    raise ConfigError("target.score", type(score).__name__, f"is a score of {wanted}; {advice[table.kind]}")


def few_values(names: Sequence[str], rows: Tensor) -> dict[str, int]:
    """Return how many values a column of rows [N, d] has, where these are few whole numbers, as categories are."""
    return {
        name: n
        for name, column in zip(names, rows.T, strict=True)
        if (n := _n_whole_values(column)) is not None and n <= MOST_CATEGORIES and len(column) >= FEWEST_ROWS_OF_A_NUMBER * n
    }


def remarks_on_kind(table: Table, score: Score) -> list[str]:
    """Return a sentence on the columns of a file that look as if they were for another kind of score; else none."""
    if table.kind is not None:
        return []
    wanted = getattr(score, "kind", None)
    if wanted == "numbers" and table.few_values:
        advice = "if they are categories: score@target.score=bde target.data.standardize=false"
        said = "few different whole numbers, which are taken for Gaussian"
        return [f"{_named(table.few_values)}: {said}; {advice}"]
    if wanted == "categories":
        columns = zip(table.names, table.values.T, strict=True)
        many = {
            name: n
            for name, column in columns
            if (n := _n_whole_values(column)) is not None and n > MOST_CATEGORIES and len(column) < FEWEST_ROWS_OF_A_CATEGORY * n
        }
        advice = "if they are numbers: target.score.levels=3 cuts them into three, score@target.score=bge takes them as they are"
        said = f"each value is a category, in fewer than {FEWEST_ROWS_OF_A_CATEGORY} rows on average"
        return [f"{_named(many)}: {said}; {advice}"] if many else []
    return []


def _n_whole_values(column: Tensor) -> int | None:
    """Return the number of different values of a column [N] of whole numbers, None for other columns."""
    return len(column.unique()) if bool((column == column.round()).all()) else None


def _named(columns: Mapping[str, int]) -> str:
    words = [f"{name} ({n} values)" for name, n in columns.items()]
    return f"target.data: {'column' if len(columns) == 1 else 'columns'} {listed(words, MOST_NAMED)}"
