"""Numbers under a score of categories and the reverse: refused where the table says what it is, told where a file does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.dags.bde import BDe
from gfn_vi.targets.dags.csv_table import CsvTable
from gfn_vi.targets.dags.dag import Dag
from gfn_vi.targets.dags.data import Data, ErdosRenyiData, Table
from gfn_vi.targets.dags.priors import Uniform
from gfn_vi.targets.dags.scores import BGe, LinearGaussian

SIMULATED = ErdosRenyiData(3, 1.0, 1.0, 0.1, n_samples=7, n_held_out=2, seed=5)
NUMBERS = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BGE = BGe(0.0, 1.0, None, None)


def dag(data: Data, score: Any) -> Dag:
    return Dag(data, score, Uniform(), None, 1000)


def file(folder: Path, columns: Tensor, standardize: bool = True) -> CsvTable:
    path = folder / "my.csv"
    path.write_text("\n".join(["a,b,c", *(",".join(map(repr, row)) for row in columns.tolist())]))
    return CsvTable(str(path), SIMULATED, ",", standardize, 0.0, 0, None, None, ".", None, [])


class Known:
    """A table of three columns of categories 0, 1 that says so."""

    def table(self) -> Table:
        """Return it."""
        return Table(("a", "b", "c"), (NUMBERS > 0).double(), NUMBERS[:0], None, kind="categories")


def test_a_score_of_numbers_refuses_categories_and_names_its_counterpart() -> None:
    for score, name in ((BGE, "BGe"), (LinearGaussian(0.0, 1.0, 0.1), "LinearGaussian")):
        with pytest.raises(ConfigError, match=rf"target.score={name}: is a score of numbers; .*: score@target.score=bde$"):
            dag(Known(), score)
    assert dag(Known(), BDe(1.0, None)).remarks == ()


def test_categories_that_have_no_order_are_not_cut() -> None:
    with pytest.raises(ConfigError, match=r"target\.score\.levels=3: .* categories, .* no order .*: target\.score\.levels=null$"):
        dag(Known(), BDe(1.0, 3))


def test_a_score_of_categories_refuses_numbers_unless_it_cuts_them() -> None:
    said = r"target.score=BDe: is a score of categories; .*: score@target.score=bge, or target.score.levels=3"
    with pytest.raises(ConfigError, match=said):
        dag(SIMULATED, BDe(1.0, None))
    assert dag(SIMULATED, BDe(1.0, 3)).remarks == ()


def test_numbers_of_a_file_under_a_score_of_categories(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"target.score.levels=null: column a is not of whole numbers; .*score@target.score=bge"
    ):
        dag(file(tmp_path, NUMBERS), BDe(1.0, None))


def test_few_whole_numbers_under_a_score_of_numbers_are_told(tmp_path: Path) -> None:
    rows = NUMBERS.clone()
    rows[:, 0], rows[:, 2] = (rows[:, 0] > 0).double(), (rows[:, 2] * 2).round().clamp(-2, 2)
    for standardize in (True, False):
        (said,) = dag(file(tmp_path, rows, standardize), BGE).remarks
        assert said == (
            "target.data: columns a (2 values), c (5 values): few different whole numbers, which are taken for Gaussian; "
            "if they are categories: score@target.score=bde target.data.standardize=false"
        )


def test_many_whole_numbers_under_a_score_of_categories_are_told(tmp_path: Path) -> None:
    ages = (NUMBERS * 15 + 40).round()
    ages[:, :2] = (NUMBERS[:, :2] * 2).round().clamp(-2, 2)  # five categories, in eight rows each
    (said,) = dag(file(tmp_path, ages, standardize=False), BDe(1.0, None)).remarks
    n = len(ages[:, 2].unique())
    assert said.startswith(f"target.data: column c ({n} values): each value is a category, in fewer than 10 rows on average; ")
    assert "target.score.levels=3" in said
    assert "score@target.score=bge" in said


def test_a_score_that_says_nothing_of_kinds_takes_all() -> None:
    class Own:
        def local(self, rows: Tensor, everything: Tensor, names: Sequence[str]) -> object:
            return BGE.local(rows, everything, names)

    assert math.isfinite(dag(Known(), Own()).log_reward(torch.zeros(2, 3, 3, dtype=torch.uint8)).item())
