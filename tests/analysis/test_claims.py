"""Verdicts on claims, and orders of methods under two conditions, against counts by hand."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from gfn_vi.analysis.claims import Claim, better, first_time, in_words, together, write_claims
from gfn_vi.analysis.ranking import conditions, kendall_tau, ranking, turned_over

LOW, HIGH = np.array([1.0, 2, 3, 4, 5]), np.array([11.0, 12, 13, 14, 15])
MIXED = np.array([0.0, 20, 2, 18, 9])


def test_better_is_decided_by_the_interval() -> None:
    assert better(LOW, HIGH) is True
    assert better(HIGH, LOW) is False
    assert better(LOW, MIXED) is None
    assert better(HIGH, LOW, lower_is_better=False) is True


def test_three_replicas_decide_nothing() -> None:
    """They lie apart by chance in 2 of C(6, 3) = 20 cases."""
    assert better(LOW[:3], HIGH) is None
    assert 2 / math.comb(6, 3) == 0.1


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


def test_conditions_as_published_have_all_deviations() -> None:
    final = {("a", math.nan): LOW, ("a", "x"): HIGH, ("a", "x_and_y"): MIXED, ("b", math.nan): HIGH, ("b", "y"): LOW}
    by_deviation, published = conditions(dict(reversed(final.items())))
    assert {name: sorted(arms) for name, arms in by_deviation.items()} == {
        "none": ["a", "b"],
        "x": ["a"],
        "y": ["b"],
        "x_and_y": ["a"],
    }
    assert published["a"] is MIXED
    assert published["b"] is LOW


def test_ranking_and_what_turns_over() -> None:
    correct, published = {"a": LOW, "b": HIGH, "c": MIXED}, {"a": HIGH, "b": LOW, "c": MIXED}
    assert ranking(correct) == ["a", "c", "b"]
    assert ranking(published) == ["b", "c", "a"]
    assert turned_over(correct, published) == [("a", "b")]
    assert turned_over(correct, correct) == []


def test_kendall_tau_counts_pairs() -> None:
    """(concordant - discordant) / pairs, by hand; two conditions that are the same agree in every draw."""
    a = {name: np.full(5, value) for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)}
    b = {name: np.full(5, value) for name, value in zip("abcd", (2.0, 1.0, 3.0, 4.0), strict=True)}
    pairs = list(itertools.combinations("abcd", 2))
    signs = [np.sign((a[x][0] - a[y][0]) * (b[x][0] - b[y][0])) for x, y in pairs]
    found = kendall_tau(a, b)
    assert float(found.estimate) == pytest.approx(sum(signs) / len(pairs))
    assert found.low == pytest.approx(found.high)
    noisy = {"a": LOW, "b": MIXED, "c": HIGH}
    assert kendall_tau(noisy, noisy).low == pytest.approx(1)


def test_the_interval_of_tau_is_that_of_all_resamples() -> None:
    """Of two methods with two replicas each tau is 1 or -1 (ties are not a number): exact probabilities against 2000 draws."""
    a, b = {"x": np.array([0.0, 3.0]), "y": np.array([1.0, 1.0])}, {"x": np.array([0.0, 0.0]), "y": np.array([1.0, 1.0])}
    # x is [0, 0], [0, 3], [3, 0], [3, 3] with equal probability: its median is 0, 1.5, 1.5, 3: before y in 1 of 4 draws
    assert float(kendall_tau(a, b, level=0.4).high) == -1
    assert float(kendall_tau(a, b, level=0.6).high) == 1
