"""The figures of hypergrid_baselines and deviations: marks look like what is drawn, and stand where the numbers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.deviations import figure as deviations
from gfn_vi.experiments.hypergrid_baselines import figure as baselines
from gfn_vi.experiments.hypergrid_baselines.comparisons import (
    AREA,
    BASELINE,
    COMPARED,
    FINAL,
    SETTINGS,
    curves_of,
    in_every_pair,
    ratios,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from gfn_vi.analysis.statistics.claims import UnfinishedError, better

LOW, HIGH = np.array([1.0, 2, 3, 4, 5]) / 100, np.array([11.0, 12, 13, 14, 15]) / 100
HIGHER = HIGH + 0.1
MIXED = np.array([0.1, 20, 2, 18, 9]) / 100
HOLLOW = to_hex("white")


def rows_of(arm: str, at_end: np.ndarray, before: np.ndarray, seeds: Iterable[int], **config: object) -> list[dict[str, object]]:
    """A finished run that is evaluated at 0, 10 and 30 trajectories: `before`, `before`, `at_end`."""
    shared = {"run": f"{arm} {config}", "state": "done", "arm": arm, "metric": "jsd"} | config
    return [
        shared | {"seed": seed, "replica": r, "trajectories": x, "value": value}
        for r, seed in enumerate(seeds)
        for x, value in ((0, before[r]), (10, before[r]), (30, at_end[r]))
    ]


def of_baselines(arms: Sequence[str] = tuple(SETTINGS)) -> pd.DataFrame:
    """log Z is better at the end and worse before; none is mixed; replicas of the batch mean are in another order."""
    rows = []
    for arm in arms:
        ends = {"GlobalLogZ": (LOW, HIGHER), "NoBaseline": (MIXED, MIXED)} | dict.fromkeys(
            ("BatchMean", "LeaveOneOut"), (HIGHER, LOW)
        )
        for baseline, (at_end, before) in ends.items():
            seeds = [5, 3, 2, 1, 0] if baseline == "BatchMean" else [0, 1, 2, 3, 4]
            rows += rows_of(arm, at_end, before, seeds, **{BASELINE: f"gfn_vi.objectives.baselines.{baseline}"})
    return pd.DataFrame(rows)


def compared(first: str, second: str, measure: str) -> np.ndarray:
    """The ratios in the first setting."""
    found, arm = curves_of(of_baselines()), next(iter(SETTINGS))
    return ratios(found[arm, first], found[arm, second], measure)


def test_pairs_have_one_seed() -> None:
    """Seeds 0 to 3 are shared. Areas by hand: two thirds are a slope, one third is level."""
    np.testing.assert_allclose(compared("GlobalLogZ", "BatchMean", FINAL), [0.25 / 0.01, 0.24 / 0.02, 0.23 / 0.03, 0.22 / 0.04])
    mine, theirs = (HIGHER + (HIGHER + LOW)) / 3, ((LOW + (LOW + HIGHER)) / 3)[[4, 3, 2, 1]]
    np.testing.assert_allclose(compared("GlobalLogZ", "BatchMean", AREA), theirs / mine[:4])


@pytest.mark.parametrize(
    ("of_pairs", "verdict"),
    [([1.001, 9], True), ([0.1, 0.999], False), ([0.999, 9, 9], None), ([1.0, 9], None), ([0.1, 1.0], None)],
)
def test_one_pair_that_is_equal_or_opposite_is_enough_to_disagree(of_pairs: list[float], verdict: bool | None) -> None:
    assert in_every_pair(np.array(of_pairs)) is verdict


def lines(axes: Axes, marker: str) -> list[Any]:
    """The lines of a panel with this marker."""
    return [line for line in axes.lines if line.get_marker() == marker]


def test_a_mark_is_the_median_ratio_and_full_where_all_pairs_agree() -> None:
    """A blue circle is better, an orange square worse, a hollow circle where pairs disagree; a count says how many of each."""
    page = baselines.figure(of_baselines(), {})
    end, area = page.axes[0], page.axes[len(COMPARED)]
    assert (
        end.get_xlabel()
        == area.get_xlabel().replace("0 better, 6 worse", "6 better, 0 worse")
        == ("batch mean / log Z\n6 better, 0 worse, of 6")
    )
    assert end.get_yticklabels()[1].get_text().startswith("Reverse KL, off-policy\n")
    marks = lines(end, "o")
    assert [float(mark.get_ydata()[0]) for mark in marks] == list(range(6))
    estimate = np.sqrt((0.24 / 0.02) * (0.23 / 0.03))  # the mean of the middle two logarithms
    assert float(marks[0].get_xdata()[0]) == pytest.approx(estimate)
    assert to_hex(marks[0].get_markerfacecolor()) != HOLLOW
    assert len(lines(area, "s")) == 6
    assert [text.get_text() for text in end.texts[1:]] == [f"{estimate:.3g}"] * 6
    disagreeing = lines(page.axes[1], "o")
    assert [to_hex(mark.get_markerfacecolor()) for mark in disagreeing] == [HOLLOW] * 6
    assert page.axes[1].get_xlabel().endswith("0 better, 0 worse, of 6")
    assert len(page.axes[1].texts) == 1
    ticks, expected = lines(end, "|")[0], sorted(compared("GlobalLogZ", "BatchMean", FINAL))
    assert sorted(ticks.get_xdata()) == pytest.approx(expected)
    line = next(line for line in end.lines if list(line.get_ydata()) == [0, 0])
    assert list(line.get_xdata()) == pytest.approx([expected[0], expected[-1]])
    assert [text.get_text() for text in page.axes[3].texts[1:]] == ["not run"] * 6  # the optimal constant
    assert "JSD with log Z 0.03" in end.get_yticklabels()[0].get_text()


def of_pairs(log_z: np.ndarray, batch_mean: np.ndarray) -> pd.DataFrame:
    """Two baselines of one setting, each at one level from its start to its end."""
    rows: list[dict[str, object]] = []
    for baseline, values in {"GlobalLogZ": log_z, "BatchMean": batch_mean}.items():
        config = {BASELINE: f"gfn_vi.objectives.baselines.{baseline}"}
        rows += rows_of("forward_kl", values, values, range(len(values)), **config)
    return pd.DataFrame(rows)


def test_a_row_that_the_claims_cannot_decide_is_full_where_all_pairs_agree() -> None:
    """Five replicas that differ much, each a little better than its pair."""
    end = baselines.figure(of_pairs(MIXED, 1.1 * MIXED), {}).axes[0]
    assert better(MIXED, 1.1 * MIXED) is None
    assert [to_hex(mark.get_markerfacecolor()) == HOLLOW for mark in lines(end, "o")] == [False]
    assert end.get_xlabel().endswith("1 better, 0 worse, of 1")


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (1, "1 pair does so by chance in 1 row of 1 (p = 1.00), 2.0 of 2: no row alone is a decision at 5%."),
        (5, "5 pairs do so by chance in 1 row of 16 (p = 0.06), 0.1 of 2: no row alone is a decision at 5%."),
        (6, "6 pairs do so by chance in 1 row of 32 (p = 0.03), 0.1 of 2."),
    ],
)
def test_the_legend_says_what_chance_makes_of_full_marks(pairs: int, told: str) -> None:
    """A row at the end and one along training."""
    values = 0.1 + 0.01 * np.arange(pairs)
    page = baselines.figure(of_pairs(values, 2 * values), {})
    first, second = page.legends[0].get_title().get_text().split("\n")
    assert first.endswith("Full where all pairs lie on one side of 1: 2 of 2 rows.")
    assert second == f"Where nothing differs, {told}"


def test_settings_that_are_not_finished_have_no_mark() -> None:
    """Their row stays."""
    end = baselines.figure(of_baselines(["forward_kl"]), {}).axes[0]
    assert [float(mark.get_ydata()[0]) for mark in lines(end, "o")] == [2]
    assert [text.get_text() for text in end.texts[1:]].count("not run") == 5


def test_runs_without_a_common_seed_have_no_ratio() -> None:
    """The row says so, and is not counted."""
    table = of_baselines()
    table.loc[table[BASELINE].str.endswith("BatchMean"), "seed"] += 10
    end = baselines.figure(table, {}).axes[0]
    assert [text.get_text() for text in end.texts[1:]] == ["no seed in common"] * 6
    assert end.get_xlabel().endswith("0 better, 0 worse, of 0")


def of_deviations() -> pd.DataFrame:
    """Wake-sleep becomes worse with either deviation, TB does not; both replicas and medians are known."""
    runs = [
        *[("wake_sleep_off_policy", None, LOW), ("wake_sleep_off_policy", "constant_stop_bias", HIGH)],
        *[("wake_sleep_off_policy", "frozen_backward", MIXED)],
        *[("wake_sleep_off_policy", "frozen_backward_and_constant_stop_bias", HIGH + 0.2)],
        *[("trajectory_balance_off_policy", None, MIXED), ("trajectory_balance_off_policy", "constant_stop_bias", MIXED)],
        *[("forward_kl", None, HIGH), ("forward_kl_off_policy", None, HIGH)],  # the latter without its deviation
    ]
    factors = {"wake_sleep_off_policy": 1.0}
    rows: list[dict[str, object]] = []
    for arm, name, values in runs:
        config = {"config.deviation_name": name, "config.plateau_factor": factors.get(arm, 0.9)}
        rows += rows_of(arm, values, values, range(5), **config)
    return pd.DataFrame(rows)


def test_effects_and_ranks_show_what_is_decided() -> None:
    """Hollow: undecided. Ranks among the three settings that are finished in both conditions, with their intervals."""
    values, ranks = deviations.figure(of_deviations(), {}).axes
    labels = [label.get_text() for label in values.get_yticklabels()]
    assert labels == ["Forward KL, on-policy", "TB, off-policy", "Forward KL, off-policy", "Wake-sleep, off-policy"]
    looks = {marker: [to_hex(mark.get_markerfacecolor()) == HOLLOW for mark in lines(values, marker)] for marker in "os^D"}
    assert looks == {"o": [False] * 4, "s": [True], "^": [True, False], "D": [False]}
    assert [float(mark.get_xdata()[0]) for mark in lines(values, "^")] == [np.median(MIXED), np.median(HIGH)]
    found = [(round(float(mark.get_ydata()[0])), float(mark.get_xdata()[0])) for mark in lines(ranks, "o")]
    assert found == [(0, 3), (1, 2), (3, 1)]
    found = [(round(float(mark.get_ydata()[0])), float(mark.get_xdata()[0])) for mark in lines(ranks, "X")]
    assert found == [(0, 2), (1, 1), (3, 3)]
    whiskers = [line.get_xdata() for line in ranks.lines if len(line.get_xdata()) == 2 and line.get_color() != "0.4"]
    assert [1, 3] in [list(map(float, whisker)) for whisker in whiskers]  # TB, whose values are mixed
    assert "3 pairs of 3 settings: 0 decided\nalike, 1 turned over, 2 undecided" in ranks.get_title(loc="left")


def test_one_setting_has_no_order_and_the_legend_names_what_is_drawn() -> None:
    """Of a sweep that has just begun there is one panel, without what is not in it."""
    table = of_deviations()
    page = deviations.figure(table[(table["arm"] == "wake_sleep_off_policy") & table["config.deviation_name"].isna()], {})
    assert [axes.get_xlabel() for axes in page.axes] == ["Jensen-Shannon divergence at the end"]
    assert [text.get_text() for text in page.legends[0].get_texts()] == ["As it should be"]


def test_deviations_alone_have_nothing_to_be_compared_with() -> None:
    """The message says what is missing."""
    table = of_deviations()
    with pytest.raises(UnfinishedError, match="no run without a deviation is done yet"):
        deviations.figure(table[table["config.deviation_name"].notna()], {})


def test_one_replica_has_a_mark_and_no_interval() -> None:
    """Nothing is decided, and nothing raises."""
    table = of_deviations()
    values, ranks = deviations.figure(table[table["seed"] == 0], {}).axes
    assert [to_hex(mark.get_markerfacecolor()) for mark in lines(values, "^")] == [HOLLOW] * 2
    assert "tau 0.33\n2 off-policy settings 1.00\n3 pairs of 3 settings: 0 decided" in ranks.get_title(loc="left")
    whole = of_baselines()
    assert len(lines(baselines.figure(whole[whole["seed"] == 0], {}).axes[0], "o")) == 6
