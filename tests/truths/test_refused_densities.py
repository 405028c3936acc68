"""What makes no density, no table and no points is refused with the key to change."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from known_densities import MEANS, TABLE, cox, regression, written

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.densities.binary_table import BinaryTable
from gfn_vi.targets.densities.cox import LogGaussianCox
from gfn_vi.targets.densities.funnel import Funnel
from gfn_vi.targets.densities.gaussian import Gaussian
from gfn_vi.targets.densities.logistic_regression import LogisticRegression
from gfn_vi.targets.densities.many_well import ManyWell
from gfn_vi.targets.densities.mixtures import GaussianMixture
from gfn_vi.targets.densities.multi_well import MultiWell
from gfn_vi.targets.densities.points import Points
from gfn_vi.targets.densities.student_mixture import StudentMixture
from gfn_vi.targets.densities.user_density import UserDensity

BAD_VALUES: list[tuple[Callable[[], object], str]] = [
    (lambda: Gaussian(0, 0.0, 1.0), r"target.dim=0: expected a whole number >= 1"),
    (lambda: Gaussian(2, [0.0, 0.0, 0.0], 1.0), r"target.mean=\[0.0, 0.0, 0.0\]: expected one number, or a list of target.dim=2"),
    (lambda: Gaussian(2, [0.0, math.inf], 1.0), r"target.mean=.*finite"),
    (lambda: Gaussian(2, 0.0, [1.0, 1.0, 1.0]), r"target.covariance=.*target.dim=2"),
    (lambda: Gaussian(2, 0.0, [[1.0, 0.0], [0.0]]), r"target.covariance=.*target.dim=2"),
    (lambda: Gaussian(2, 0.0, [[1.0, 2.0], [2.0, 1.0]]), r"target.covariance=.*not positive definite"),
    (lambda: Gaussian(2, 0.0, [[1.0, 0.5], [0.0, 1.0]]), r"target.covariance=.*not symmetric"),
    (lambda: Gaussian(2, 0.0, 0.0), r"target.covariance=0.0: not positive definite"),
    (lambda: Gaussian(2, 0.0, [1.0, -1.0]), r"target.covariance=.*not positive definite"),
    (lambda: GaussianMixture(3, "grid25", 0.3, None), r"target.dim=3: the layout target.means=grid25 lies in 2 dimensions"),
    (lambda: GaussianMixture(2, "grid10", 0.3, None), r"target.means=grid10: expected rows .* or one of circle8, grid9"),
    (lambda: GaussianMixture(2, [[0.0]], 0.3, None), r"target.means=\[\[0.0\]\]: expected rows of target.dim=2 numbers"),
    (lambda: GaussianMixture(2, [], 0.3, None), r"target.means=\[\]: expected rows of target.dim=2 numbers"),
    (lambda: GaussianMixture(2, MEANS, 0.0, None), r"target.covariance=0.0: expected variances > 0"),
    (lambda: GaussianMixture(2, MEANS, [1.0, 1.0], None), r"target.covariance=.*3 variances \(one for each component\)"),
    (lambda: GaussianMixture(2, MEANS, [[1.0, 2.0], [2.0, 1.0]], None), r"target.covariance=.*not positive definite"),
    (lambda: GaussianMixture(2, MEANS, 1.0, [0.0, 0.0]), r"target.log_weights=.*a list of 3 numbers"),
    (lambda: GaussianMixture(2, MEANS, 1.0, [0.0, 0.0, -math.inf]), r"target.log_weights=.*finite"),
    (lambda: Funnel(1, 3.0), r"target.dim=1: expected a whole number >= 2"),
    (lambda: Funnel(10, 0.0), r"target.s=0.0: expected a finite number > 0"),
    (lambda: ManyWell(5), r"target.dim=5: expected an even number"),
    (lambda: ManyWell(0), r"target.dim=0: expected a whole number >= 2"),
    (lambda: MultiWell(3, 4, 2.0), r"target.n_wells=4: expected at most target.dim=3"),
    (lambda: MultiWell(3, 0, 2.0), r"target.n_wells=0: expected a whole number >= 1"),
    (lambda: MultiWell(3, 2, -1.0), r"target.delta=-1.0: expected a finite number > 0"),
    (lambda: StudentMixture(2, 0, 2, 10.0, 0), r"target.n_components=0"),
    (lambda: StudentMixture(2, 10, 0, 10.0, 0), r"target.degrees_of_freedom=0"),
    (lambda: StudentMixture(2, 10, 2, 0.0, 0), r"target.half_width=0.0"),
    (lambda: StudentMixture(2, 10, 2, 10.0, -1), r"target.seed=-1"),
    (lambda: LogGaussianCox(0, 1.0, 1.0, Points(None, ",", 0, None, None, ".", None, [])), r"target.n=0"),
    (lambda: LogGaussianCox(2, 0.0, 1.0, Points(None, ",", 0, None, None, ".", None, [])), r"target.s2=0.0"),
    (lambda: LogGaussianCox(2, 1.0, math.inf, Points(None, ",", 0, None, None, ".", None, [])), r"target.beta=inf"),
    (lambda: Points(None, ",", -1, None, None, ".", None, []), r"target.data.seed=-1"),
    (lambda: Points(None, ",,", 0, None, None, ".", None, []), r"target.data.separator=,,: expected one character"),
    (lambda: LogisticRegression(BinaryTable(None, None, [], ",", True, None, ".", None, []), 0.0), r"target.prior_variance=0.0"),
    (
        lambda: LogisticRegression(BinaryTable(None, "y", [], ",", True, None, ".", None, []), 1.0),
        r"target.data.label=y: expected null",
    ),
    (
        lambda: LogisticRegression(BinaryTable(None, None, ["y"], ",", True, None, ".", None, []), 1.0),
        r"target.data.leave_out=.*expected \[\]",
    ),
    (
        lambda: UserDensity("gfn_vi.targets.densities.user_density.banana", 2, math.inf),
        r"target.log_Z=inf: expected a finite",
    ),
    (lambda: UserDensity("gfn_vi.targets.densities.user_density.banana", 0, None), r"target.dim=0"),
]


@pytest.mark.parametrize(("make", "said"), BAD_VALUES, ids=[said for _, said in BAD_VALUES])
def test_values_that_make_no_density(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


# text -> what is said after the key
BAD_TABLES = {
    "a,y\n1,0\n2,1\n3,2\n": r"target.data.label=None: column y has 3 different values \(0, 1, 2\): expected two",
    "a,y\n1,0\n2,0\n3,0\n": r"target.data.label=None: column y has 1 different values \(0\): expected two",
    "a,b,y\n1,4,0\n2,4,1\n3,4,1\n": r"target.data.path=.*: column b is constant, 4 in the 3 rows: target.data.leave_out=\[b\]",
    "a,b,y\n1,0.1,0\n2,0.10000000000000002,1\n": r"column b is constant, 0.1 in the 2 rows: target.data.leave_out",
    "a,y\n1,0\nx,1\n": r"target.data.path=.*: column a is not numeric: 'x' in line 3",
    "a,y\n1,0\n2,\n3,1\n": r"target.data.path=.*: missing values: y in 1 of 3 rows \(the first in line 3\)",
    "a,y\n,0\n2,1\n": r"target.data.path=.*: missing values: a in 1 of 2 rows \(the first in line 2\)",
    "y\n0\n1\n": r"target.data.path=.*: a single column, y: a regression needs two",
    "intercept,y\n1,0\n2,1\n": r"target.data.path=.*: a column is called intercept",
    "": r"target.data.path=.*: the file is empty",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_tables_that_make_no_regression(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=BAD_TABLES[text]):
        regression(written(tmp_path, text))


def test_labels_that_are_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"target.data.label=die: no column of .*: they are age, dose, died"):
        regression(written(tmp_path, TABLE), label="die")


BAD_POINTS = {
    "x,y\n0.5,0.5\n0.5,1.5\n-1,0\n": r"2 of 3 points lie outside the unit square, the first of them \(0.5, 1.5\): scale",
    "x,y,z\n0.5,0.5,1\n0.1,0.2,3\n": r"target.data.path=.*: 3 columns, x, y, z: expected two",
    "x\n0.5\n": r"target.data.path=.*: a single column, x: a point needs two",
    "x,y\n0.5,low\n": r"target.data.path=.*: column y is not numeric",
}


@pytest.mark.parametrize("text", BAD_POINTS)
def test_points_that_are_none_of_the_unit_square(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=BAD_POINTS[text]):
        cox(4, written(tmp_path, text))


def test_a_file_that_changed_since_its_digest_was_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n0.5,0.5\n")
    for make in (
        lambda: cox_of(path),
        lambda: LogisticRegression(BinaryTable(path, None, [], ",", True, "0" * 16, ".", None, []), 1.0),
    ):
        with pytest.raises(ConfigError, match="the file has changed: its digest was 0000000000000000 and now is"):
            make()


def cox_of(path: str) -> LogGaussianCox:
    return LogGaussianCox(2, 1.0, 1.0, Points(path, ",", 0, "0" * 16, None, ".", None, []))
