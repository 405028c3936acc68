"""Statistics of replicas against hand counts, closed forms and all possible draws; what intervals cover, repeat and refuse."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from gfn_vi.analysis.statistics.estimates import area_under_curve, interval, probability_of_improvement, with_worst
from gfn_vi.analysis.statistics.summary import STATISTICS, interval_in_words


@pytest.mark.parametrize(
    ("statistic", "n_replicas", "expected"),
    [("median", 5, 1 - 2 / 2**5), ("mean", 5, 0.84), ("mean", 30, 0.935), ("iqm", 5, 0.90), ("iqm", 3, 1 - 2 / 2**3)],
)
def test_coverage(statistic: str, n_replicas: int, expected: float) -> None:
    """How often the interval holds the truth, on normal data; the figures of the module's docstring.

    One call serves 1,500 experiments: the draws are shared along the curve, the data are not, so each point is a fair
    trial given the draws. The binomial standard error is 0.6 to 1.1%; 2.5% leaves room for 1,000 draws being finite.
    """
    values = np.random.default_rng(1).standard_normal((n_replicas, 1500))
    low, _, high = interval(values, statistic, n_resamples=1000)
    covered = ((low <= 0) & (high >= 0)).mean()
    assert covered == pytest.approx(expected, abs=0.025)


def test_median_of_five_spans_the_range() -> None:
    """P(median of a draw is the minimum) = 5.8% > 2.5%, so the 95% interval reaches both ends."""
    low, estimate, high = interval(np.array([3.0, 1.0, 9.0, 4.0, 5.0]))
    assert (low, estimate, high) == (1.0, 4.0, 9.0)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("n_replicas", range(2, 8))
def test_an_interval_that_is_a_range_is_called_so(statistic: str, n_replicas: int) -> None:
    """Where both ends of the interval are those of the values, and nowhere else, the words are the share of ranges that hold."""
    values = np.random.default_rng(n_replicas).standard_normal((n_replicas, 40))
    low, _, high = interval(values, statistic)
    is_range = np.allclose(low, values.min(0)) and np.allclose(high, values.max(0))
    share = {2: "50%", 3: "75%", 4: "88%", 5: "94%"}.get(n_replicas)
    told = f"range, which holds the true {STATISTICS[statistic]} in {share} of cases"
    told += "" if statistic == "median" else " if values scatter evenly to both sides"
    expected = told if is_range else "95% bootstrap interval"
    assert interval_in_words([n_replicas], statistic) == expected


def test_intervals_of_few_and_many_replicas_in_words() -> None:
    told = "of 2 to 3 replicas their range, which holds the true median in 50% to 75% of cases"
    assert interval_in_words([10, 3, 1, 2]) == f"95% bootstrap interval ({told})"
    assert interval_in_words([3, 2, 2]) == "range, which holds the true median in 50% to 75% of cases"


def test_agrees_with_scipy() -> None:
    """The same percentile bootstrap as scipy's, up to the noise of 20,000 draws."""
    values = np.random.default_rng(0).gamma(2.0, size=12)
    ours = interval(values, "mean", n_resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert ours.estimate == values.mean()
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=0.03 * values.std())


def test_a_curve_is_its_points_and_repeats() -> None:
    """The same numbers on every call, and point by point as for the curve as a whole."""
    curves = np.random.default_rng(2).lognormal(size=(5, 3, 4))
    whole = interval(curves, "mean")
    again = interval(curves, "mean")
    for first, second in zip(whole, again, strict=True):
        np.testing.assert_array_equal(first, second)
        assert first.shape == (3, 4)
    point = interval(curves[:, 1, 2], "mean")
    np.testing.assert_allclose([bound[1, 2] for bound in whole], list(point), rtol=1e-14)


def test_wider_level_wider_interval() -> None:
    """Nested levels give nested intervals around the estimate."""
    values = np.random.default_rng(3).standard_normal(10)
    narrow, wide = interval(values, "mean", level=0.5), interval(values, "mean", level=0.99)
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_own_statistic() -> None:
    """Any function of (array, axis)."""
    values = np.arange(7.0)
    assert interval(values, np.max).estimate == 6
    assert interval(values, np.max).high == 6


def test_one_replica_has_no_interval() -> None:
    """Its value is the estimate; of its spread nothing is known."""
    low, estimate, high = interval(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(estimate, [1, 2])
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_failed_replicas_are_not_left_out() -> None:
    """Values that are not finite are refused until they have been given the worst value."""
    values = np.array([0.1, np.nan, 0.2, -np.inf])
    with pytest.raises(ValueError, match="with_worst"):
        interval(values)
    np.testing.assert_array_equal(with_worst(values, 9.0), [0.1, 9.0, 0.2, 9.0])


def test_nonsense_is_refused() -> None:
    """No replica, a level in percent, an unknown statistic."""
    with pytest.raises(ValueError, match="at least one replica"):
        interval(np.empty((0, 3)))
    with pytest.raises(ValueError, match="level=95"):
        interval(np.ones(3), level=95)
    with pytest.raises(ValueError, match=r"statistic=mode: expected mean, median"):
        interval(np.ones(3), "mode")


@pytest.mark.parametrize(("n", "cut"), [(3, 0), (4, 1), (5, 1), (8, 2), (10, 2)])
def test_interquartile_mean_by_hand(n: int, cut: int) -> None:
    """Sort, leave out a quarter at each end, rounded down; along the first axis."""
    values = np.random.default_rng(n).lognormal(size=(n, 2))
    expected = np.sort(values, axis=0)[cut : n - cut].mean(0)
    np.testing.assert_allclose(interval(values, "iqm").estimate, expected, rtol=1e-14)


def quantile(draws: dict[float, float], share: float) -> float:
    """The smallest value whose cumulative probability reaches the share."""
    total = 0.0
    for value in sorted(draws):
        total += draws[value]
        if total >= share:
            return value
    raise AssertionError


def test_strata_keep_their_sizes() -> None:
    """Against all 4 x 4 draws of 2 + 2 values, of 1/16 each; no quantile asked for is near a jump of their distribution."""
    values, strata = np.array([10.0, 0.0, 1.0, 30.0]), ["far", "near", "near", "far"]
    draws: dict[float, float] = {}
    for near, far in itertools.product(itertools.product((0, 1), repeat=2), itertools.product((10, 30), repeat=2)):
        mean = (sum(near) + sum(far)) / 4
        draws[mean] = draws.get(mean, 0.0) + 1 / 16
    for level in (0.3, 0.8, 0.95):
        low, estimate, high = interval(values, "mean", level=level, n_resamples=20_000, strata=strata)
        assert estimate == values.mean()
        assert (low, high) == (quantile(draws, (1 - level) / 2), quantile(draws, (1 + level) / 2))
    assert interval(values, "mean", level=0.8, n_resamples=20_000).low != quantile(draws, 0.1)


def test_strata_are_checked() -> None:
    """A label for each replica; one replica alone in its stratum leaves the interval unknown."""
    with pytest.raises(ValueError, match=r"a stratum for each of the 3 replicas, found \(2,\)"):
        interval(np.arange(3.0), strata=["a", "b"])
    low, estimate, high = interval(np.arange(3.0), "mean", strata=["a", "a", "b"])
    assert estimate == 1
    assert math.isnan(low)
    assert math.isnan(high)


def share_of_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """Pairs in which x is lower, ties by half."""
    return sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)) / (len(x) * len(y))


def test_probability_of_improvement_counts_pairs() -> None:
    """Also with ties and inf, in both directions; U / (n m) of Mann and Whitney."""
    rng = np.random.default_rng(0)
    for n, m in ((2, 3), (5, 5), (7, 4)):
        x, y = rng.integers(0, 5, n).astype(float), rng.integers(1, 6, m).astype(float)
        x[0] = y[0] = np.inf
        found = probability_of_improvement(x, y)
        assert found.estimate == pytest.approx(share_of_pairs(x, y))
        assert found.estimate == pytest.approx(scipy.stats.mannwhitneyu(y, x).statistic / (n * m))
        assert probability_of_improvement(x, y, lower_is_better=False).estimate == pytest.approx(1 - share_of_pairs(x, y))
        assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_interval_of_probability_of_improvement_against_all_draws() -> None:
    """All 27 x 27 pairs of draws of 3 and 3 values, one of them inf; the levels are away from the jumps."""
    x, y = np.array([1.0, 4.0, np.inf]), np.array([2.0, 5.0, 3.0])
    draws: dict[float, float] = {}
    for mine, theirs in itertools.product(itertools.product(x, repeat=3), itertools.product(y, repeat=3)):
        share = round(9 * share_of_pairs(np.array(mine), np.array(theirs))) / 9
        draws[share] = draws.get(share, 0.0) + 27.0**-2
    for level in (0.5, 0.9, 0.95):
        low, _, high = probability_of_improvement(x, y, level=level, n_resamples=20_000)
        assert [low, high] == pytest.approx([quantile(draws, (1 - level) / 2), quantile(draws, (1 + level) / 2)])


@pytest.mark.parametrize(("n", "told_apart"), [(3, 4), (4, 4), (5, 24)])
def test_how_often_equal_groups_are_told_apart(n: int, told_apart: int) -> None:
    """Over all orders of 2 n values, equally likely where groups do not differ: the figures of the module's docstring.

    Counted over all n^2n draws with exact quantiles; no order is so near to a jump that 4,000 draws decide otherwise.
    """
    count = 0
    for mine in itertools.combinations(range(2 * n), n):
        x, y = np.array(mine), np.array(sorted(set(range(2 * n)) - set(mine)))
        low, _, high = probability_of_improvement(x, y, n_resamples=4000)
        count += bool(low > 0.5 or high < 0.5)
    assert count == told_apart


def test_probability_of_improvement_within_strata() -> None:
    """Pairs of one stratum only; strata count equally, however many replicas they have."""
    x, y = np.array([1.0, 2.0, 101.0, 102.0]), np.array([0.0, 3.0, 1.5, 100.0, 101.5])
    strata = (["a", "a", "b", "b"], ["a", "a", "a", "b", "b"])
    expected = (share_of_pairs(x[:2], y[:3]) + share_of_pairs(x[2:], y[3:])) / 2
    found = probability_of_improvement(x, y, strata=strata)
    assert found.estimate == pytest.approx(expected)
    assert expected != share_of_pairs(x, y)
    with pytest.raises(ValueError, match=r"different strata on the two sides: \['b', 'c'\]"):
        probability_of_improvement(x, y, strata=(strata[0], ["a", "a", "a", "c", "c"]))


def test_probability_of_improvement_is_determined_and_one_replica_has_no_interval() -> None:
    """The same call gives the same numbers; of one replica's spread nothing is known."""
    x, y = np.random.default_rng(4).standard_normal((2, 6))
    assert probability_of_improvement(x, y) == probability_of_improvement(x, y)
    low, estimate, high = probability_of_improvement(x[:1], y)
    assert estimate == share_of_pairs(x[:1], y)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [([np.nan, 1.0], [1.0, 2.0], "with_worst"), ([], [1.0], "at least one replica"), ([[1.0]], [1.0], r"shapes \(1, 1\)")],
)
def test_probability_of_improvement_refuses(x: list[float], y: list[float], message: str) -> None:
    """NaN, nobody, and curves."""
    with pytest.raises(ValueError, match=message):
        probability_of_improvement(np.array(x), np.array(y))


def test_area_under_curve_in_closed_form() -> None:
    """A constant is its own mean height, a line is its middle, on any grid; a parabola is off by h^2 / 6."""
    x = np.array([0.0, 1.0, 3.0, 7.0, 10.0])
    curves = np.stack([np.full(5, 4.0), 2 * x + 1])
    np.testing.assert_allclose(area_under_curve(x, curves), [4, 11], rtol=1e-14)
    fine = np.linspace(-1, 2, 301)
    assert area_under_curve(fine, fine**2) == pytest.approx(1 + 0.01**2 / 6, rel=1e-12)
    for bad in (x[::-1], np.zeros(5), x[:4], x[:1]):
        with pytest.raises(ValueError, match="increasing x"):
            area_under_curve(bad, curves)
