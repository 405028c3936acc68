"""Figure 2 of the paper on tables whose numbers are known: claims, numbers, panels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.molecule_correlation import claims as molecules
from gfn_vi.experiments.molecule_correlation.figure import figure, tables
from gfn_vi.experiments.molecule_correlation.settings import ARMS, BETA, BOTH, DEVIATION, ILLEGAL, RATE, conditions
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gfn_vi.analysis.pictures.arms import in_sentence
from gfn_vi.analysis.statistics.claims import Claim

TB, KL = "trajectory_balance", "reverse_kl"
OFF_TB, OFF_KL, OFF_FKL = (f"{name}_off_policy" for name in (TB, KL, "forward_kl"))
RATES = (1e-4, 1e-3)
R = 3
AS_IN_PAPER = {TB: 0.6, KL: 0.6, OFF_TB: 0.9, OFF_KL: 0.4, OFF_FKL: 0.02, "wake_sleep_off_policy": 0.03}
SPREAD = {OFF_TB: 0.001}  # from one replica to the next; others: 0.01

Row = dict[str, object]
Heights = Mapping[str, float | Sequence[float]]


def rows_of(arm: str, heights: float | Sequence[float], beta: float, deviation: str | None, rates: Sequence[float]) -> list[Row]:
    """The rows of one run, replicas of every rate in it: the correlations at the end around a height, or R of them."""
    steps = np.arange(R) + 0.5 * np.arange(len(rates))[:, None]  # [rates, R]
    values = np.asarray(heights) + SPREAD.get(arm, 0.01) * steps if np.ndim(heights) == 0 else np.tile(heights, (len(rates), 1))
    shared = {"run": f"{arm} {beta} {deviation}", "state": "done", "arm": arm, BETA: beta, DEVIATION: deviation}
    return [
        shared | {RATE: rate, "seed": r, "replica": r + R * place, "trajectories": x, "metric": metric, "value": factor * value}
        for place, rate in enumerate(rates)
        for r, value in enumerate(values[place])
        for metric in ("log_p_correlation", "log_p_rank_correlation")
        for x, factor in ((0, 0.0), (100, 1.0 if metric == "log_p_correlation" else 0.5))
    ]


def table(
    changed: Heights = MappingProxyType({}),
    published: Heights | None = None,
    rates: Sequence[float] = RATES,
    untrained: float = 0.0,
) -> pd.DataFrame:
    """All arms at beta = 8 as the paper has them, but for some; published: the same with the deviations that touch them.

    untrained: the correlation of the first seed before training, 0.01 less for each that follows.
    """
    rows = [row for arm, height in (AS_IN_PAPER | dict(changed)).items() for row in rows_of(arm, height, 8.0, None, rates)]
    for arm, height in (AS_IN_PAPER | dict(published)).items() if published is not None else ():
        rows += rows_of(arm, height, 8.0, BOTH if arm.endswith("_off_policy") else ILLEGAL, rates)
    of = pd.DataFrame(rows)
    return of.assign(value=of["value"].where(of["trajectories"] > 0, untrained - 0.01 * of["seed"]))


def told(of: pd.DataFrame, words: str, start: str = "beta = 8") -> Claim:
    """The one claim with these words."""
    (found,) = [claim for claim in molecules.claims(of) if claim.claim.startswith(start) and words in claim.claim]
    return found


STATEMENTS = ("highest", "least", "differ by at most", "lower correlation off-policy", "never above")


@pytest.mark.parametrize("words", STATEMENTS)
def test_what_the_paper_has_is_a_yes(words: str) -> None:
    """At every beta that has runs, and with the published faults."""
    of = table(published={})
    assert told(of, words).agrees is True
    assert told(of, words, "(Not in the paper) with the published faults, beta = 8").agrees is True


@pytest.mark.parametrize(
    ("words", "changed", "agrees"),
    [
        ("highest", {OFF_TB: 0.5}, False),
        ("highest", {OFF_FKL: 0.95}, False),
        ("highest", {TB: 0.895}, None),
        ("least", {TB: [0.6, 0.6, 0.6]}, False),
        ("least", {KL: [0.6, 0.601, 0.602]}, None),
        ("differ by at most", {KL: 0.66}, False),
        ("differ by at most", {KL: 0.53}, False),
        ("differ by at most", {KL: [0.6, 0.61, 0.68]}, None),
        ("lower correlation off-policy", {OFF_KL: 0.7}, False),
        ("lower correlation off-policy", {OFF_KL: 0.6}, None),
        ("never above", {OFF_FKL: [0.0, 0.0, 0.11]}, False),
    ],
)
def test_what_is_otherwise_is_a_no_or_undecided(words: str, changed: Heights, agrees: bool | None) -> None:
    assert told(table(changed), words).agrees is agrees


@pytest.mark.parametrize(("untrained", "agrees"), [(0.09, True), (0.13, None)])
def test_a_correlation_before_training_leaves_no_sense_to_a_limit(untrained: float, agrees: bool | None) -> None:
    """It is named, and the statement is undecided: with the limit itself nothing was learned or unlearned."""
    claim = told(table(untrained=untrained), "never above")
    assert claim.agrees is agrees
    assert claim.measured.endswith("; but it is 0.12 (0.11 to 0.13) before training") is (agrees is None)


@pytest.mark.parametrize(("untrained", "agrees"), [(0.2, True), (-0.1, False), (0.05, None)])
def test_what_ends_no_higher_than_it_began(untrained: float, agrees: bool | None) -> None:
    """Off-policy forward KL ends at 0.02 to 0.045; the seeds of one rate count once at the beginning."""
    claim = told(table(untrained=untrained), f"{in_sentence(OFF_FKL)} ends no higher", "(Not in the paper) beta = 8")
    assert claim.measured.startswith("median correlation: 0.0325 (0.0225 to 0.0425), before training ")
    assert claim.agrees is agrees


@pytest.mark.parametrize("words", STATEMENTS)
def test_three_replicas_decide_nothing(words: str) -> None:
    """Of one rate, three seeds against three: too few even where they lie far apart."""
    assert told(table(rates=RATES[:1]), words).agrees is None


def test_an_arm_that_lacks_a_rate_is_not_compared() -> None:
    """Its replicas are those of other settings; nor is one whose seeds differ paired."""
    of = table()
    claim = told(of[~((of["arm"] == TB) & (of[RATE] == RATES[0]))], "highest")
    assert (claim.measured, claim.agrees) == (f"not measured: no finished run of {TB}", None)
    moved = of.assign(seed=of["seed"].where(of["arm"] != KL, of["seed"] + 5))
    assert told(moved, "differ by at most").measured.endswith(
        "no finished run of on-policy TB and reverse KL with the same seeds"
    )


@pytest.mark.parametrize(("height", "word", "agrees"), [(0.7, "higher", False), (0.1, "lower", False), (0.4, "undecided", None)])
def test_what_the_faults_change(height: float, word: str, agrees: bool | None) -> None:
    """A decided difference refutes that there is none; nothing can prove it."""
    claim = told(table(published={OFF_KL: height}), f"of {in_sentence(OFF_KL)} does not depend", "(Not in the paper) beta = 8")
    assert claim.measured.startswith("median correlation: without them 0.413 (0.403 to 0.423), with them ")
    assert f": {word}" in claim.measured
    assert claim.agrees is agrees


def test_a_replica_that_failed_is_worst() -> None:
    """It counts as -1, which is below all others."""
    of = table({OFF_TB: [np.nan] * R})
    assert [by_arm[OFF_TB].final.tolist() for by_arm in conditions(of).values()] == [[-1.0] * 2 * R]
    assert told(of, "highest").agrees is False


def test_numbers_of_every_setting() -> None:
    """Medians of both correlations, by deviation, beta, arm and rate."""
    written = tables(table(published={OFF_KL: [0.1, np.nan, 0.3]}), {})["correlations.csv"]
    rows = {(row["deviation"], row["arm"], row["rate"]): row for row in csv.DictReader(io.StringIO(written))}
    assert len(rows) == 2 * 6 * 2
    one = rows["none", OFF_TB, "0.0001"]
    assert [one[name] for name in ("beta", "replicas", "trajectories", "non_finite")] == ["8", "3", "100", "0"]
    assert [one[f"correlation_{name}"] for name in ("median", "low", "high")] == ["0.901", "0.9", "0.902"]
    assert one["rank_correlation_median"] == "0.4505"
    failed = rows[BOTH, OFF_KL, "0.001"]
    assert (failed["correlation_median"], failed["correlation_low"], failed["non_finite"]) == ("0.1", "-1", "1")


def groups(axes: Axes) -> list[Line2D]:
    """The points of each arm and rate in a panel."""
    return [line for line in axes.lines if line.get_marker() not in ("None", "")]


def bars(axes: Axes) -> list[float]:
    """The heights of the medians in a panel."""
    return [float(line.get_ydata()[0]) for line in axes.lines if line.get_color() == "0.1"]


def test_a_panel_for_each_beta_and_a_group_of_points_for_each_arm_and_rate() -> None:
    """Points are replicas with a bar at their median; no second row without deviations; what is not done has no points."""
    other = pd.DataFrame(rows_of(OFF_TB, 0.8, 16.0, None, RATES))
    page = figure(pd.concat([table(published={}), other]), {})
    titles = [axes.get_title() for axes in page.axes]
    assert titles == [r"$\beta = 8$", r"$\beta = 16$", r"$\beta = 8$, all rates; gray: as published"]
    assert [len(groups(axes)) for axes in page.axes] == [len(ARMS) * len(RATES), len(RATES), 2 * len(ARMS)]
    points = [groups(axes)[-1].get_ydata() for axes in page.axes[1:]]
    np.testing.assert_allclose(points[0], [0.8005, 0.8015, 0.8025])
    np.testing.assert_allclose(points[1], [0.03, 0.04, 0.05, 0.035, 0.045, 0.055])
    assert bars(page.axes[1]) == pytest.approx([0.801, 0.8015])
    assert len(set(groups(page.axes[1])[0].get_xdata())) == R
    assert [label.get_text() for label in page.axes[0].get_xticklabels()] == ["0.0001", "0.001"]
    assert page.axes[2].get_xticklabels()[2].get_text() == "TB,\noff-policy"
    filled = [group.get_markerfacecolor() != "white" for group in groups(page.axes[0])]
    assert filled == 2 * [arm.endswith("_off_policy") for arm in ARMS]
    assert len(figure(other, {}).axes) == 1


def test_what_is_as_published_stands_on_gray_and_says_where_it_is_not_done() -> None:
    of = table(published={})
    lower = figure(of[~((of["arm"] == OFF_FKL) & (of[DEVIATION] == BOTH))], {}).axes[-1]
    left, right = ([patch.get_x() + end * patch.get_width() for patch in lower.patches] for end in (0, 1))
    is_on_gray = [any(a < np.mean(group.get_xdata()) < b for a, b in zip(left, right, strict=True)) for group in groups(lower)]
    assert is_on_gray == [False, True] * 4 + [False] + [False, True]
    (told,) = lower.texts
    assert (told.get_text(), left[4] < told.get_position()[0] < right[4]) == ("not done", True)


@pytest.mark.parametrize(("untrained", "low", "said"), [(0.54, 0.5, True), (0.35, 0.3, True), (0.0, -0.05, False)])
def test_the_axis_starts_near_the_data_and_says_so(untrained: float, low: float, said: bool) -> None:
    """It has room for untrained samplers, a line for each seed; all panels have the same."""
    high = dict.fromkeys(AS_IN_PAPER, 0.7)
    page = figure(table(high, published=high, untrained=untrained), {})
    assert [axes.get_ylim() for axes in page.axes] == [pytest.approx((low, 0.75))] * 2
    assert [f"(axis starts at {low:g})" in axes.get_ylabel() for axes in page.axes] == [said] * 2
    for axes in page.axes:
        levels = [float(line.get_ydata()[0]) for line in axes.lines if line.get_color() == "0.45"]
        assert levels == pytest.approx([untrained - 0.01 * seed for seed in range(R)])
