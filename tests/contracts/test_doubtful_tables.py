"""Columns that read well and may mean something else: what is said of them, and units that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.columns import doubts, is_constant, standardized
from gfn_vi.targets.dags.csv_table import CsvTable
from gfn_vi.targets.dags.dag import Dag
from gfn_vi.targets.dags.data import Data, ErdosRenyiData
from gfn_vi.targets.dags.priors import Uniform
from gfn_vi.targets.dags.scores import BGe, LinearGaussian, Score
from gfn_vi.targets.densities.binary_table import BinaryTable
from gfn_vi.targets.densities.logistic_regression import LogisticRegression

SIMULATED = ErdosRenyiData(3, 1.0, 1.0, 0.1, n_samples=7, n_held_out=2, seed=5)
NUMBERS = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BGE = BGe(0.0, 1.0, None, None)


def dag(data: Data, score: Score) -> Dag:
    return Dag(data, score, Uniform(), None, 1000)


def file(folder: Path, columns: Tensor, standardize: bool = True, held_out: float = 0.0) -> CsvTable:
    path = folder / "my.csv"
    names = ",".join("abcdefgh"[: columns.shape[1]])
    path.write_text("\n".join([names, *(",".join(map(repr, row)) for row in columns.tolist())]))
    return CsvTable(str(path), SIMULATED, ",", standardize, held_out, 0, None, None, ".", None, [])


def said_of(*columns: Tensor) -> list[str]:
    rows = torch.stack(columns, 1)
    return doubts("abcdefgh"[: len(columns)], rows, rows, "drop it")


# -- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e307, 1e-307, 1e-300])
def test_standardized_columns_do_not_depend_on_their_units(scale: float) -> None:
    """Squares of 1e200 are infinite and those of 1e-200 are 0; sums of values of 1e307 are infinite, too."""
    torch.testing.assert_close(standardized(NUMBERS * scale, NUMBERS * scale), standardized(NUMBERS, NUMBERS))


def test_standardized_columns_are_as_by_the_formula_to_the_last_bit() -> None:
    rows = NUMBERS * torch.tensor([3.0, 1e-4, 7e8]) + torch.tensor([7.0, 0.0, -1e9])
    training = rows[:30]
    assert torch.equal(standardized(rows, training), (rows - training.mean(0)) / training.std(0, correction=0))


def test_a_posterior_does_not_depend_on_units(tmp_path: Path) -> None:
    graphs = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    graphs[0, 0, 0, 1] = graphs[0, 0, 2, 1] = 1
    scale = torch.tensor([1e200, 1.0, 1e-200], dtype=torch.float64)
    found, expected = (dag(file(tmp_path, NUMBERS * s), BGE).log_reward(graphs) for s in (scale, torch.ones(3)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("score", [BGE, LinearGaussian(0.0, 1.0, 0.1)])
def test_squares_that_overflow_are_refused_by_name(score: Score, tmp_path: Path) -> None:
    said = r"target.data=column b: has squares that overflow: bring it to other units .a CSV file: target.data.standardize=true"
    with pytest.raises(ConfigError, match=said):
        dag(file(tmp_path, NUMBERS * torch.tensor([1.0, 1e200, 1.0], dtype=torch.float64), standardize=False), score)


def test_constant_up_to_rounding() -> None:
    """A sum of a tenth and some rounding is constant; a clock that counts seconds since 1970 is not."""
    tenths = torch.tensor([0.1, 0.10000000000000002, 0.1], dtype=torch.float64)
    clock = 1.7e9 + torch.arange(3, dtype=torch.float64) / 100
    zero = torch.zeros(3, dtype=torch.float64)
    found = [is_constant(column) for column in (tenths, tenths * 1e-200, tenths * 1e300, clock, zero, NUMBERS[:, 0] * 1e307)]
    assert found == [True, True, True, False, True, False]


# -- combinations -----------------------------------------------------------------------------------------------------


def test_combinations_are_named_with_their_parts() -> None:
    a, b, c = NUMBERS.T
    end = ", so rows cannot tell their effects apart: drop it"
    assert said_of(a, b, 2 * a) == [f"column c is a sum of a multiple of a and a constant{end}"]
    assert said_of(a, b, 32 - 1.8 * b) == [f"column c is a sum of a multiple of b and a constant{end}"]
    assert said_of(a, b, c, a - 3 * c + 5) == [f"column d is a sum of multiples of a, c and a constant{end}"]
    assert said_of(a, 1e100 * b, c, a + b) == [f"column d is a sum of multiples of a, b and a constant{end}"]


def test_almost_combinations_are_none() -> None:
    a, b, c = NUMBERS.T
    assert said_of(a, b, a + b + 1e-4 * c) == []


def test_columns_behind_a_combination_are_judged_by_themselves() -> None:
    a, b, c = NUMBERS[:5].T
    assert len(said_of(a, 2 * a, b, c)) == 1


# -- markers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "marked"),
    [
        ([-999, 1, 2, 3, -999], "-999 in 2 of 5 rows"),
        ([9999, 1, 2, 3, 5], "9999 in 1 of 5 rows"),
        ([99, 0, 1, 0, 99, 1], "99 in 2 of 6 rows"),
        ([-99, 1, 99, 0, -99], "-99 in 2 of 5 rows"),
        ([1e30, 1, 2.5, 3, 1e30], "1e+30 in 2 of 5 rows"),
        ([0, 100, 101, 102, 0], "0 in 2 of 5 rows"),
        ([9, 0, 1, 0, 9, 1], "9 in 2 of 6 rows"),  # a survey's
        ([-9, 0, 1, 2, -9, 1], "-9 in 2 of 6 rows"),  # a genotype's
        ([1e308, 1, 2.5, 3, 4], "1e+308 in 1 of 5 rows"),
        ([-100, 1, 2, 3, 4], None),  # one outlier may be one
        ([0, 0, 1, 1, 0], None),
        ([0, 0, 0, 1, 2, 7], None),
        ([97, 98, 99, 100, 99], None),
        ([9, 1, 2, 1, 2], None),
        ([9, 0.5, 1, 0.5, 9, 1], None),
        ([4, 5, 9, 8, 9, 7], None),
        ([1e6, 1, 2.5, 3, 4], None),
    ],
)
def test_values_that_may_mark_missing_ones(values: Sequence[float], marked: str | None) -> None:
    said = said_of(torch.tensor(values, dtype=torch.float64))
    if marked is None:
        assert said == []
    else:
        value = marked.split()[0]
        advice = f"far from all other values: if that means a missing value, say target.data.missing=[{value}]"
        assert said == [f"column a has {marked}, {advice}"]


@pytest.mark.parametrize(
    ("values", "n_marked"),
    [([-1, 0, 1, 2, -1, 0], 2), ([2, 0, 1, -1], 1), ([-1, 0, 1, 0], 0), ([-1, 0, 1, 3], 0), ([-2, -1, 0, 1], 0)],
)
def test_codes_of_categories_with_one_for_none(values: Sequence[float], n_marked: int) -> None:
    """pandas numbers categories from 0 and writes -1 for a missing one; -1, 0, 1 may be three signs."""
    said = f"column a has -1 in {n_marked} of {len(values)} rows beside 0 to 2: if -1 means a missing value, "
    expected = [f"{said}say target.data.missing=[-1]"] if n_marked else []
    assert said_of(torch.tensor(values, dtype=torch.float64)) == expected


def test_rows_that_are_there_twice() -> None:
    """Copies sharpen a posterior; rows of few values are equal by chance."""
    a, b = NUMBERS[:, 0], NUMBERS[:, 1]
    advice = "each is an observation of its own; drop them if they are copies"
    twice = f"40 of 80 rows are equal to an earlier one in every column: {advice}"
    assert said_of(torch.cat([a, a]), torch.cat([b, b])) == [twice]
    assert said_of(torch.cat([a, a]), torch.cat([b, b.flip(0)])) == []
    (one,) = said_of(torch.cat([a, a[:1]]), torch.cat([b, b[:1]]))
    assert one.startswith("1 of 41 rows are equal to an earlier one")
    assert said_of(torch.cat([a, a]), (torch.arange(80) % 3).double()) == []
    assert said_of(torch.cat([a, a]), (torch.arange(80) % 3).double(), torch.cat([b, b])) == [], "one column tells them apart"


def test_numbers_of_rows() -> None:
    assert said_of(NUMBERS[:, 0], torch.arange(40.0, dtype=torch.float64) + 1) == ["column b counts the rows: drop it"]


def test_doubts_are_told_before_the_run_with_file_and_key(tmp_path: Path) -> None:
    rows = NUMBERS.clone()
    rows[3, 1] = rows[8, 1] = -999
    data = file(tmp_path, rows)
    (said,) = dag(data, BGE).remarks
    assert said.startswith(f"target.data.path={data.path}: column b has -999 in 2 of 40 rows")
    assert dag(file(tmp_path, NUMBERS), BGE).remarks == ()


# -- points and classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separator", "cells", "is_doubtful"),
    [
        (";", ["1.234", "950", "12.345", "7"], True),
        (";", ["1.234", "9.5", "12.345", "7"], False),
        (";", ["0.234", "9.512", "2.345", "7"], False),
        (",", ["1.234", "950", "12.345", "7"], False),
    ],
)
def test_points_that_may_separate_thousands(separator: str, cells: list[str], is_doubtful: bool, tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("\n".join([f"a{separator}b", *(f"{cell}{separator}{i * i}" for i, cell in enumerate(cells))]))
    found = CsvTable(str(path), SIMULATED, separator, True, 0.0, 0, None, None, ".", None, []).table().doubts
    said = (
        f"target.data.path={path}: column a has points before three digits only, as in 1.234; if that is a thousand and more: "
        "\"target.data.decimal=','\" \"target.data.thousands='.'\""
    )
    assert found == ((said,) if is_doubtful else ())


def labeled(folder: Path, *classes: str, missing: Sequence[str | float] = ()) -> BinaryTable:
    path = folder / "my.csv"
    path.write_text("\n".join(["a,y", *(f"{i * i},{name}" for i, name in enumerate(classes))]))
    return BinaryTable(str(path), None, [], ",", True, None, ".", None, list(missing))


def test_a_class_that_may_mean_a_missing_value(tmp_path: Path) -> None:
    target = LogisticRegression(labeled(tmp_path, "yes", "?", "yes", "?"), 1.0)
    (said,) = target.remarks
    assert said.endswith("column y has a class ?; if it means a missing value, say \"target.data.missing=['?']\"")
    assert LogisticRegression(labeled(tmp_path, "yes", "no", "yes", "no"), 1.0).remarks == []
    with pytest.raises(ConfigError, match=r"missing values: y in 1 of 3 rows .the first in line 3, with target.data.missing"):
        labeled(tmp_path, "yes", "?", "no", missing=["?"]).table()


def test_a_column_that_says_what_the_label_says(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("a,b,c,y\n1,3,0,no\n2,7,1,yes\n5,7,0,yes\n7,3,1,no\n")
    (said,) = BinaryTable(str(path), None, [], ",", True, None, ".", None, []).table().doubts
    assert said == f"target.data.path={path}: column b says the same as the label y: target.data.leave_out=[b] if it is a copy"


def test_a_class_written_in_two_ways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"column y has classes that differ in capital letters only, Yes, yes: write each in"):
        labeled(tmp_path, "Yes", "yes", "Yes").table()
    with pytest.raises(ConfigError, match=r"column y writes one number in several ways, 1, 1.0: write each class in one way"):
        labeled(tmp_path, "1", "1.0", "1").table()
