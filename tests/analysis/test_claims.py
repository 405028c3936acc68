"""Verdicts on claims, and orders of methods under two conditions, against counts by hand."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.deviations.claims import _order
from gfn_vi.experiments.deviations.conditions import conditions, published
from gfn_vi.experiments.deviations.ranking import kendall_tau, pairs, rank_intervals, ranking
from gfn_vi.experiments.hypergrid_objectives.claims import _in_trajectories

from gfn_vi.analysis.statistics.claims import Claim, Groups, better, first_time, in_words, judged, p_value, together, write_claims

LOW, HIGH = np.array([1.0, 2, 3, 4, 5]), np.array([11.0, 12, 13, 14, 15])
MIXED = np.array([0.0, 20, 2, 18, 9])


def test_better_is_decided_by_the_test() -> None:
    assert better(LOW, HIGH) is True
    assert better(HIGH, LOW) is False
    assert better(LOW, MIXED) is None
    assert better(HIGH, LOW, lower_is_better=False) is True


def test_the_test_is_exact() -> None:
    """By counting orders: 3 against 3 lie apart in 2 of 20, 5 against 5 in 2 of 252, with U <= 2 in 2 (1 + 1 + 2) of 252."""
    assert p_value(LOW[:3], HIGH[:3]) == pytest.approx(2 / math.comb(6, 3))
    assert p_value(LOW, HIGH) == pytest.approx(2 / math.comb(10, 5))
    assert better(LOW[:3], HIGH[:3]) is None
    assert better(np.array([1.0, 2, 3, 5]), np.array([4.0, 6, 7, 8])) is None  # 4 of 70 ways to deal: p = 0.057
    nearly = np.array([1.0, 2, 3, 4, 6.5])
    assert p_value(nearly, np.array([5.0, 6, 7, 8, 9])) == pytest.approx(2 * 4 / 252)
    assert better(nearly, np.array([5.0, 6, 7, 8, 9])) is True


def test_the_test_is_exact_where_values_tie() -> None:
    """By hand, over all ways to deal the values: 3 failed against 3 that did not lie apart in 2 of 20, in either direction."""
    failed = np.full(3, math.inf)
    assert p_value(np.ones(3), failed) == pytest.approx(2 / math.comb(6, 3))
    assert better(np.ones(3), failed) is None
    assert p_value(np.ones(4), np.full(4, 2.0)) == pytest.approx(2 / math.comb(8, 4))
    assert p_value(failed, failed) == 1
    x, y = np.array([1.0, 2, 2, 3, 5]), np.array([2.0, 4, 5, 5, 6])
    rank = [sum(v < w for v in (*x, *y)) + sum(v == w for v in (*x, *y)) / 2 for w in (*x, *y)]
    sums = [sum(rank[k] for k in deal) for deal in itertools.combinations(range(10), 5)]
    assert p_value(x, y) == pytest.approx(2 * sum(total <= sum(rank[:5]) for total in sums) / 252)
    for alone, expected in ((0.0, 2 / 5), (1.0, 1), (2.0, 1), (3.0, 4 / 5)):  # of five values, as low or as high
        assert p_value(np.array([alone]), np.array([1.0, 1, 2, 3])) == pytest.approx(expected)
    assert p_value(np.ones(1), np.ones(1)) == 1
    many = np.arange(30) // 3
    assert p_value(many, many + 20) == pytest.approx(2 / 200_001)  # none of the draws but what was seen, on each side


def test_equal_orders_of_any_number_of_settings_agree() -> None:
    """scipy's tau of equal orders is one rounding below 1 for 6 and for 12 settings: the claim is \"yes\" all the same."""
    for n in range(2, 14):
        settings = {f"s{k}": 10.0 * k + LOW for k in range(n)}
        assert _order(settings, settings)[1] is True, n


def test_the_median_of_an_even_number_of_times_is_the_mean_of_the_middle_two() -> None:
    assert _in_trajectories(np.array([1.0, 2, 4, 8])) == "3"
    assert _in_trajectories(np.array([1.0, 2, math.inf, math.inf])) == "never in most replicas"


def test_a_claim_without_its_runs_is_undecided() -> None:
    groups: Groups[object] = Groups({"a": LOW})
    claim = judged("a before b", lambda: ("told", better(groups["a"], groups["b", 8])))
    assert claim == Claim("a before b", "not measured: no finished run of b, 8", None)


@pytest.mark.parametrize(
    ("verdicts", "expected"), [([True, True], True), ([True, None], None), ([None, False], False), ([True, False], False)]
)
def test_together(verdicts: list[bool | None], expected: bool | None) -> None:
    assert together(verdicts) is expected


def test_first_time() -> None:
    values = np.array([[0, 4, 4], [0, 1, 2], [4, 0, 0]])
    assert first_time(np.array([0, 10, 20]), values, 4).tolist() == [10, math.inf, 0]


def test_claims_on_disk(tmp_path: Path) -> None:
    claims = [Claim("A, b", in_words(LOW), True), Claim("c", "d", None), Claim("e", "f", False)]
    with open(write_claims(claims, tmp_path), newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["claim", "measured", "agrees"], ["A, b", "3 (1 to 5)", "yes"], ["c", "d", "undecided"], ["e", "f", "no"]]


def test_one_replica_has_no_interval() -> None:
    """Neither its value nor an order that it takes part in."""
    assert in_words(LOW[:1]) == "1"
    found = kendall_tau({"a": LOW, "b": HIGH[:1]}, {"a": LOW, "b": HIGH[:1]})
    assert found.estimate == pytest.approx(1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_orders_without_any_difference_have_no_tau() -> None:
    """All failed in one condition: nothing to compare, and no error."""
    failed = np.full(5, math.log(2))
    found = kendall_tau({"a": LOW, "b": HIGH}, {"a": failed, "b": failed})
    assert all(map(math.isnan, map(float, found)))


def deviating(runs: list[tuple[str, str | None, float, np.ndarray]]) -> pd.DataFrame:
    """Finished runs (arm, deviation, plateau factor, final JSD of each replica) as rows of a table, replicas by falling seed."""
    rows = [
        {"run": f"{arm} {deviation}", "state": "done", "arm": arm, "seed": 9 - r, "replica": r, "trajectories": 0}
        | {"metric": "jsd", "value": value, "config.deviation_name": deviation, "config.plateau_factor": factor}
        for arm, deviation, factor, values in runs
        for r, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_as_published_is_with_every_deviation_that_applies() -> None:
    """P_B is frozen where there is no plateau factor, the stop bias is constant off-policy; replicas are by seed."""
    both = "frozen_backward_and_constant_stop_bias"
    runs = [
        *[("a", None, 0.9, LOW), ("b", None, 1.0, LOW), ("b", "frozen_backward", 1.0, HIGH)],
        *[("c_off_policy", None, 1.0, LOW), ("c_off_policy", "frozen_backward", 1.0, MIXED), ("c_off_policy", both, 1.0, HIGH)],
        *[("d_off_policy", None, 0.5, LOW), ("d_off_policy", "constant_stop_bias", 0.5, MIXED)],
        *[("e_off_policy", None, 1.0, LOW), ("e_off_policy", "constant_stop_bias", 1.0, MIXED)],  # of which "both" is missing
    ]
    by_deviation = conditions(deviating(runs))
    assert sorted(by_deviation) == ["constant_stop_bias", "frozen_backward", both, "none"]
    found = published(deviating(runs), by_deviation)
    assert {arm: values.tolist() for arm, values in found.items()} == {
        "a": LOW[::-1].tolist(),
        "b": HIGH[::-1].tolist(),
        "c_off_policy": HIGH[::-1].tolist(),
        "d_off_policy": MIXED[::-1].tolist(),
    }


def test_ranking_and_what_turns_over() -> None:
    """A pair is decided only where both conditions decide it; the better one in the first condition stands first."""
    correct, published = {"b": HIGH, "a": LOW, "c": MIXED}, {"a": HIGH, "b": LOW, "c": MIXED}
    assert ranking(correct) == ["a", "c", "b"]
    assert ranking(published) == ["b", "c", "a"]
    undecided = [("b", "c"), ("a", "c")]
    assert pairs(correct, published) == ([], [("a", "b")], undecided)
    assert pairs(correct, correct) == ([("a", "b")], [], undecided)
    assert pairs(correct, {"a": MIXED, "b": HIGH, "c": MIXED}).undecided == [("a", "b"), *undecided]


def test_ranks_by_hand() -> None:
    """The rank of the median, equal ones share; lower is better. What never overlaps has one rank in all draws."""
    found = rank_intervals({"b": HIGH, "a": LOW, "c": HIGH + 100, "d": HIGH})
    assert {name: float(rank.estimate) for name, rank in found.items()} == {"a": 1, "b": 2.5, "d": 2.5, "c": 4}
    assert found["a"] == (1, 1, 1)
    assert found["c"] == (4, 4, 4)
    assert found["b"].low == found["d"].low == 2
    assert found["b"].high == found["d"].high == 3
    alone = rank_intervals({"a": LOW, "b": HIGH[:1]})
    assert float(alone["b"].estimate) == 2
    assert all(math.isnan(rank.low) and math.isnan(rank.high) for rank in alone.values())


def test_the_interval_of_a_rank_is_that_of_all_resamples() -> None:
    """x is before y (rank 1) in 1 of 4 draws and after it in 3: at the level of 0.4 both bounds are 2, at 0.6 the lower is 1."""
    values = {"x": np.array([2.0, 5.0]), "y": np.array([3.0, 3.0])}  # medians of x: 2, 3.5, 3.5, 5
    assert rank_intervals(values, level=0.4)["x"] == (2, 2, 2)
    assert rank_intervals(values, level=0.6)["x"] == (1, 2, 2)
    assert rank_intervals(values, level=0.6)["y"] == (1, 1, 2)


def test_kendall_tau_counts_pairs() -> None:
    """(concordant - discordant) / pairs, by hand; two conditions that are the same agree in every draw."""
    a = {name: np.full(5, value) for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)}
    b = {name: np.full(5, value) for name, value in zip("abcd", (2.0, 1.0, 3.0, 4.0), strict=True)}
    all_pairs = list(itertools.combinations("abcd", 2))
    signs = [np.sign((a[x][0] - a[y][0]) * (b[x][0] - b[y][0])) for x, y in all_pairs]
    found = kendall_tau(a, b)
    assert float(found.estimate) == pytest.approx(sum(signs) / len(all_pairs))
    assert found.low == pytest.approx(found.high)
    noisy = {"a": LOW, "b": MIXED, "c": HIGH}
    assert kendall_tau(noisy, noisy).low == pytest.approx(1)


def test_the_interval_of_tau_is_that_of_all_resamples() -> None:
    """Of two methods with two replicas each tau is 1 or -1 (ties are not a number): exact probabilities against 2000 draws."""
    a, b = {"x": np.array([0.0, 3.0]), "y": np.array([1.0, 1.0])}, {"x": np.array([0.0, 0.0]), "y": np.array([1.0, 1.0])}
    # x is [0, 0], [0, 3], [3, 0], [3, 3] with equal probability: its median is 0, 1.5, 1.5, 3: before y in 1 of 4 draws
    assert float(kendall_tau(a, b, level=0.4).high) == -1
    assert float(kendall_tau(a, b, level=0.6).high) == 1
