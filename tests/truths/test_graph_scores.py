"""Scores of graphs against their definitions: prediction row by row, normal densities of all rows, dictionaries of counts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, multivariate_t
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.dags import bde
from gfn_vi.targets.dags.bde import BDe
from gfn_vi.targets.dags.dag import Dag
from gfn_vi.targets.dags.data import Table
from gfn_vi.targets.dags.local_scores import LocalScores
from gfn_vi.targets.dags.priors import Uniform
from gfn_vi.targets.dags.scores import BGe, LinearGaussian, LocalScore

NAMES = ("a", "b", "c", "d")
# Sums of a few hundred logarithms.
CLOSE = {"rtol": 1e-11, "atol": 1e-10}
BGES = {"paper": BGe(0.0, 1.0, None, None), "other": BGe([0.3, -1.0, 0.0, 2.0], 0.7, 5.5, 1.3)}


def normal_rows(n_rows: int, d: int = 4) -> Tensor:
    """Correlated columns of different means and scales."""
    generator = torch.Generator().manual_seed(n_rows)
    mixing = torch.randn(d, d, dtype=torch.float64, generator=generator)
    return torch.randn(n_rows, d, dtype=torch.float64, generator=generator) @ mixing + torch.arange(d)


def category_rows(n_rows: int, sizes: tuple[int, ...]) -> Tensor:
    """Whole numbers below the sizes, later columns depending on earlier ones."""
    uniform = torch.rand(n_rows, len(sizes), generator=torch.Generator().manual_seed(n_rows), dtype=torch.float64)
    return ((uniform + 0.5 * uniform.roll(1, 1)) / 1.5 * torch.tensor(sizes)).floor()


def local_of(score: Any, rows: Tensor) -> LocalScore:
    local: LocalScore = score.local(rows, rows, [f"x{j}" for j in range(rows.shape[1])])
    return local


def families(d: int) -> list[tuple[int, tuple[int, ...]]]:
    """Every node with every set of others."""
    others = {j: [i for i in range(d) if i != j] for j in range(d)}
    return [(j, parents) for j in range(d) for k in range(d) for parents in itertools.combinations(others[j], k)]


def scores(local: LocalScore, wanted: list[tuple[int, tuple[int, ...]]], d: int) -> Tensor:
    """All in one batch."""
    parents = torch.zeros(len(wanted), d, dtype=torch.bool)
    for m, (_, chosen) in enumerate(wanted):
        parents[m, list(chosen)] = True
    return local(torch.tensor([j for j, _ in wanted]), parents)


@cache
def equivalence_classes() -> tuple[Tensor, Tensor]:
    """All 543 graphs of four nodes and the class of each: same skeleton, same v-structures (Verma & Pearl 1990)."""
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    graphs, classes, known = [], [], {}
    for number in range(2 ** len(pairs)):
        edges = {pair for k, pair in enumerate(pairs) if number >> k & 1}
        matrix = torch.zeros(4, 4)
        for i, j in edges:
            matrix[i, j] = 1
        if bool(torch.linalg.matrix_power(matrix, 4).any()):
            continue
        skeleton = frozenset(frozenset(edge) for edge in edges)
        colliders = frozenset(
            (frozenset((i, k)), j) for i, j in edges for k in range(4) if (k, j) in edges and k != i and {i, k} not in skeleton
        )
        graphs.append(matrix)
        classes.append(known.setdefault((skeleton, colliders), len(known)))
    return torch.stack(graphs), torch.tensor(classes)


@pytest.mark.parametrize(("score", "rows"), [
    (BGES["paper"], normal_rows(30, 6)),
    (LinearGaussian(0.1, 1.0, 0.5), normal_rows(30, 6)),
    (BDe(1.0, None), category_rows(300, (2, 3, 4, 2, 3, 4))),
], ids=["bge", "linear_gaussian", "bde"])  # fmt: skip
def test_what_else_is_in_the_batch_does_not_matter_to_the_last_bit(score: Any, rows: Tensor) -> None:
    """A run that continues another remembers nothing, so it computes the same sets in other batches."""
    local, wanted = local_of(score, rows), families(6)
    together = scores(local, wanted, 6)
    for size in (1, 7):
        chunks = [scores(local, wanted[first : first + size], 6) for first in range(0, len(wanted), size)]
        assert torch.equal(torch.cat(chunks), together)


# -- BGe --------------------------------------------------------------------------------------------------------------


def predicted_row_by_row(x: np.ndarray, nu: np.ndarray, alpha_mu: float, df: float, t: float) -> float:
    """log p(x) [N, l] as a product of multivariate Student densities, the normal-inverse-Wishart prior updated after each row."""
    kappa, scale, total = alpha_mu, t * np.eye(len(nu)), 0.0
    for row in x:
        shape = scale * (kappa + 1) / (kappa * df)
        total += multivariate_t.logpdf(row, nu, shape, df)
        scale = scale + kappa / (kappa + 1) * np.outer(row - nu, row - nu)
        nu, kappa, df = (kappa * nu + row) / (kappa + 1), kappa + 1, df + 1
    return total


@pytest.mark.parametrize("n_rows", [1, 2, 25])
@pytest.mark.parametrize(("choice", "nu", "alpha_mu", "alpha_w", "t"), [
    ("paper", (0.0, 0.0, 0.0, 0.0), 1.0, 6.0, 0.5),
    ("other", (0.3, -1.0, 0.0, 2.0), 0.7, 5.5, 1.3),
])  # fmt: skip
def test_bge_is_the_ratio_of_two_predictions(
    choice: str, nu: tuple[float, ...], alpha_mu: float, alpha_w: float, t: float, n_rows: int
) -> None:
    """local(j, P) = log p(x_P, x_j) - log p(x_P); of l columns the covariance is inverse Wishart of alpha_w - d + l."""
    rows = normal_rows(n_rows)

    def log_p(columns: tuple[int, ...]) -> float:
        # the degrees of freedom of the Student density, alpha_w - d + l - l + 1, are the same for every l
        chosen = list(columns)
        return predicted_row_by_row(rows[:, chosen].numpy(), np.array(nu)[chosen], alpha_mu, alpha_w - 3, t) if chosen else 0.0

    expected = torch.tensor([log_p((*parents, j)) - log_p(parents) for j, parents in families(4)], dtype=torch.float64)
    found = scores(local_of(BGES[choice], rows), families(4), 4)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)  # scipy takes pseudo-inverses


@pytest.mark.parametrize("score", BGES.values(), ids=BGES)
def test_bge_scores_markov_equivalent_graphs_equally_and_no_others(score: BGe) -> None:
    assert_one_score_per_class(local_of(score, normal_rows(30)), 1e-9)


def assert_one_score_per_class(local: LocalScore, tolerance: float) -> None:
    graphs, classes = equivalence_classes()
    assert (len(graphs), int(classes.max()) + 1) == (543, 185)
    total = LocalScores(local, Uniform(), 4, 3).total(graphs)
    first = torch.stack([total[classes == c][0] for c in range(185)])
    assert float((total - first[classes]).abs().max()) < tolerance
    assert float(first.sort().values.diff().min()) > 10 * tolerance


def test_the_posterior_of_two_nodes_by_hand() -> None:
    """One row (2, 1), nu = 0, alpha_mu = 1, alpha_w = 4, T = I, so R = I + x x^T / 2 = [[3, 1], [1, 3/2]], det R = 7/2.

    An edge in either direction multiplies the score by Gamma(5/2) Gamma(3/2) / Gamma(2)^2 (R_11 R_22)^2 / det R^(5/2).
    """

    class OneRow:
        def table(self) -> Table:
            row = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
            return Table(("a", "b"), row, row[:0], None)

    target = Dag(OneRow(), BGe(0.0, 1.0, 4.0, 1.0), Uniform(), None, 1000)
    graph = target.state_graph()
    posterior = graph.log_reward.softmax(0)
    factor = 3 * math.pi / 8 * 4.5**2 / 3.5**2.5
    n_edges = graph.states[:, 0].sum((1, 2))
    expected = torch.tensor([1.0, factor, factor], dtype=torch.float64) / (1 + 2 * factor)
    assert n_edges.tolist() == [0, 1, 1]
    torch.testing.assert_close(posterior, expected, rtol=0, atol=1e-12)


def test_the_default_scale_of_bge_is_the_papers() -> None:
    rows = normal_rows(10)
    default, explicit = local_of(BGe(0.0, 1.0, None, None), rows), local_of(BGe([0.0] * 4, 1.0, 6.0, 0.5), rows)
    assert torch.equal(scores(default, families(4), 4), scores(explicit, families(4), 4))


@pytest.mark.parametrize(("score", "message"), [
    (lambda: BGe(0.0, 0.0, None, None), r"^target\.score\.alpha_mu=0\.0: expected a number of rows > 0"),
    (lambda: BGe(0.0, 1.0, None, 0.0), r"^target\.score\.t=0\.0: expected a number > 0, or null"),
    (lambda: BGe(0.0, 1.0, 3.0, 1.0), r"^target\.score\.alpha_w=3\.0: expected more than 3 \(columns - 1\)"),
    (lambda: BGe(0.0, 1.0, 4.5, None), r"^target\.score\.t=None: has no default for alpha_w=4\.5 <= columns \+ 1"),
    (lambda: BGe([0.0, 1.0], 1.0, None, None), r"^target\.score\.prior_mean=.*a list of 4: one for each of x0, x1, x2, x3"),
    (lambda: LinearGaussian(0.0, 0.0, 1.0), r"^target\.score\.weight_scale=0\.0: expected a standard deviation > 0"),
    (lambda: LinearGaussian(0.0, 1.0, -1.0), r"^target\.score\.noise_scale=-1\.0: expected a standard deviation > 0"),
    (lambda: BDe(0.0, None), r"^target\.score\.equivalent_sample_size=0\.0: expected a number of rows > 0"),
    (lambda: BDe(1.0, 1), r"^target\.score\.levels=1: expected a whole number >= 2, or null"),
    (lambda: BDe(1.0, None), r"^target\.score\.levels=null: column x0 is not of whole numbers"),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(score: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        local_of(score(), normal_rows(10))


def test_a_column_that_is_a_sum_of_others_up_to_rounding_is_named() -> None:
    rows = 1e9 * normal_rows(50)
    rows[:, 2] = rows[:, 0] + rows[:, 1]
    with pytest.raises(ConfigError, match=r"^target\.data=column x[012]: is a sum of other columns up to rounding"):
        scores(local_of(BGES["paper"], rows), families(4), 4)


# -- linear-Gaussian --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 2, 25])
@pytest.mark.parametrize(("mean", "scale", "noise"), [(0.0, 1.0, 0.1), (0.4, 0.6, 1.7)])
def test_linear_gaussian_is_a_normal_density_of_all_rows(mean: float, scale: float, noise: float, n_rows: int) -> None:
    """x_j ~ N(m X_P 1, s^2 I + v^2 X_P X_P^T), also where there are fewer rows than parents."""
    rows = normal_rows(n_rows)

    def expected(j: int, parents: tuple[int, ...]) -> float:
        x = rows[:, list(parents)].numpy()
        covariance = noise**2 * np.eye(n_rows) + scale**2 * x @ x.T
        return float(multivariate_normal.logpdf(rows[:, j].numpy(), mean * x.sum(1), covariance))

    found = scores(local_of(LinearGaussian(mean, scale, noise), rows), families(4), 4)
    wanted = torch.tensor([expected(j, parents) for j, parents in families(4)], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)  # scipy inverts N x N


# -- BDe --------------------------------------------------------------------------------------------------------------


def counted(rows: Tensor, j: int, parents: tuple[int, ...], sizes: tuple[int, ...], alpha: float) -> float:
    """By the textbook: a dictionary of counts and lgamma."""
    q = math.prod(sizes[i] for i in parents)
    cells = Counter((tuple(row[i] for i in parents), row[j]) for row in rows.tolist())
    configurations = Counter(tuple(row[i] for i in parents) for row in rows.tolist())
    of_cells = sum(math.lgamma(alpha / (q * sizes[j]) + n) - math.lgamma(alpha / (q * sizes[j])) for n in cells.values())
    return of_cells - sum(math.lgamma(alpha / q + n) - math.lgamma(alpha / q) for n in configurations.values())


@pytest.mark.parametrize("n_rows", [1, 40, 300])
@pytest.mark.parametrize("most", [2**53, 1], ids=["one block", "a block per column"])
def test_bde_is_what_counting_gives(n_rows: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few rows and many, where codes fit into one number and where they are compressed column by column; in batches."""
    monkeypatch.setattr(bde, "MOST_CODES", most)
    monkeypatch.setattr(bde, "MOST_ELEMENTS", 1000)
    sizes = (2, 3, 4, 2, 5)
    whole = torch.cat([category_rows(n_rows, sizes), torch.tensor([[k % size for size in sizes] for k in range(5)])])
    local = BDe(2.5, None).local(whole[:n_rows], whole, "abcde")
    wanted = torch.tensor([counted(whole[:n_rows], j, p, sizes, 2.5) for j, p in families(5)], dtype=torch.float64)
    torch.testing.assert_close(scores(local, families(5), 5), wanted, **CLOSE)


def test_bde_knows_no_limit_of_parents() -> None:
    """80 binary parents have 2^80 configurations, more than any integer tells apart."""
    rows = category_rows(40, (2,) * 81)
    rows[20:] = rows[:20]  # so that some rows agree in all parents
    rows[30:, 0] = 1 - rows[30:, 0]
    rows[25, 45] = 1 - rows[25, 45]  # and one only in what a code of 64 bits would lose
    everyone = [(0, tuple(range(1, 81))), (0, tuple(range(1, 41))), (80, tuple(range(80)))]
    wanted = torch.tensor([counted(rows, j, p, (2,) * 81, 1.0) for j, p in everyone], dtype=torch.float64)
    torch.testing.assert_close(scores(local_of(BDe(1.0, None), rows), everyone, 81), wanted, **CLOSE)


def test_bde_scores_markov_equivalent_graphs_equally_and_no_others() -> None:
    assert_one_score_per_class(local_of(BDe(3.0, None), category_rows(200, (2, 3, 2, 4))), 1e-10)


@dataclass(frozen=True)
class Given:
    """A table of categories, some rows of which are held out."""

    values: Tensor
    held_out: Tensor

    def table(self) -> Table:
        return Table(("a", "b", "c"), self.values, self.held_out, None)


@pytest.mark.parametrize("levels", [None, 3])
def test_what_is_held_out_does_not_change_the_posterior(levels: int | None) -> None:
    """Rewards are those of the training rows alone, whatever the quantiles of others; what is beyond the ends is in a level."""
    rows = category_rows(60, (3, 4, 2)) if levels is None else normal_rows(60, 3)
    wide = rows[:40] if levels is None else 5 * rows[:40]

    def target(held_out: Tensor) -> Dag:
        return Dag(Given(rows[40:], held_out), BDe(1.0, levels), Uniform(), None, 1000)

    alone, beside = target(rows[:0]), target(wide)
    states = alone.state_graph().states
    assert torch.equal(alone.log_reward(states), beside.log_reward(states))
    # by hand, for graphs without edges: each row's category has probability (n_c + alpha / r) / (n + alpha) given those before
    found = float(beside.held_out_log_likelihood(alone.initial(1))[0])
    local = BDe(1.0, levels).local(rows[40:], rows[40:], "abc")
    counts = [Counter(column.tolist()) for column in categories(rows[40:], rows[40:], levels).T]
    expected = 0.0
    for row in categories(wide, rows[40:], levels).tolist():
        for column, value, size in zip(counts, row, local.sizes.tolist(), strict=True):
            expected += math.log((column[value] + 1 / size) / (sum(column.values()) + 1))
            column[value] += 1
    assert found == pytest.approx(expected, rel=1e-12)


def categories(rows: Tensor, training: Tensor, levels: int | None) -> Tensor:
    """The number of training rows' upper ends, of all levels but the last, that are below each value."""
    if levels is None:
        return rows
    ends = training.sort(0).values[[math.ceil(len(training) * k / levels) - 1 for k in range(1, levels)]]
    return (rows[:, None] > ends).sum(1)


def test_a_held_out_category_that_training_never_saw_is_refused() -> None:
    rows = category_rows(60, (3, 4, 2))
    held_out = rows[:5].clone()
    held_out[2, 1] = 7
    with pytest.raises(ConfigError, match=r"^target\.data=b=7\.0: 1 categories of column b are in held-out rows only.*seed"):
        Dag(Given(rows[5:], held_out), BDe(1.0, None), Uniform(), None, 1000)


def test_names_of_categories_do_not_matter() -> None:
    rows = category_rows(50, (2, 3, 4, 2))
    renamed = torch.tensor([7.0, -2.0, 100.0, 0.0], dtype=torch.float64)[rows.long()]
    for score in (BDe(1.0, None), BDe(1.0, 4)):  # four levels leave columns of four values as they are
        assert torch.allclose(*(scores(local_of(score, x), families(4), 4) for x in (rows, renamed)), rtol=1e-13)


def test_levels_cut_columns_into_categories_of_equal_frequency() -> None:
    """Cut points are those of the training rows, not of the rows that are scored; equal values stay together."""
    whole = torch.stack([torch.randperm(9).double() ** 3, torch.tensor([0, 1, 2, 2, 2, 2, 3, 4, 5]).double()], 1)
    # thirds of nine end after three and six rows: cubes of 0..2, 3..5, 6..8; and values up to 2, up to 2, up to 5
    by_hand = torch.stack([(whole[:, 0] > 8).double() + (whole[:, 0] > 125), (whole[:, 1] > 2).double()], 1)
    found = BDe(1.0, 3).local(whole[:5], whole, "ab")
    expected = BDe(1.0, None).local(by_hand[:5], by_hand, "ab")
    assert torch.equal(scores(found, families(2), 2), scores(expected, families(2), 2))
    mostly_five = torch.tensor([1.0, 2, 3, 4] + [5] * 20, dtype=torch.float64)[:, None].expand(-1, 2)
    with pytest.raises(ConfigError, match=r"^target\.score\.levels=3: leaves column a in one category"):
        BDe(1.0, 3).local(mostly_five, mostly_five, "ab")
