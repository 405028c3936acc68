"""The figures of hypergrid_baselines and deviations: what is decided looks so, and marks stand where the numbers are."""

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
    Comparison,
    comparison,
    curves_of,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from gfn_vi.analysis.statistics.claims import UnfinishedError

LOW, HIGH = np.array([1.0, 2, 3, 4, 5]) / 100, np.array([11.0, 12, 13, 14, 15]) / 100
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
        ends = {"GlobalLogZ": (LOW, HIGH), "BatchMean": (HIGH, LOW), "NoBaseline": (MIXED, MIXED), "LeaveOneOut": (HIGH, LOW)}
        for baseline, (at_end, before) in ends.items():
            seeds = [5, 3, 2, 1, 0] if baseline == "BatchMean" else [0, 1, 2, 3, 4]
            rows += rows_of(arm, at_end, before, seeds, **{BASELINE: f"gfn_vi.objectives.baselines.{baseline}"})
    return pd.DataFrame(rows)


def compared(first: str, second: str, measure: str) -> Comparison:
    """The comparison in the first setting."""
    return comparison(curves_of(of_baselines()), next(iter(SETTINGS)), first, second, measure)


def test_pairs_have_one_seed() -> None:
    """Seeds 0 to 3 are shared; the verdict is that of all replicas. Areas by hand: two thirds are a slope, one third is level."""
    at_end = compared("GlobalLogZ", "BatchMean", FINAL)
    np.testing.assert_allclose(at_end.ratios, [0.15 / 0.01, 0.14 / 0.02, 0.13 / 0.03, 0.12 / 0.04])
    assert at_end.is_better is True
    area = compared("GlobalLogZ", "BatchMean", AREA)
    mine, theirs = (HIGH + (HIGH + LOW)) / 3, ((LOW + (LOW + HIGH)) / 3)[[4, 3, 2, 1]]
    np.testing.assert_allclose(area.ratios, theirs / mine[:4])
    assert area.is_better is False
    assert compared("GlobalLogZ", "NoBaseline", FINAL).is_better is None


def lines(axes: Axes, marker: str) -> list[Any]:
    """The lines of a panel with this marker."""
    return [line for line in axes.lines if line.get_marker() == marker]


def test_a_mark_is_the_median_ratio_and_full_where_it_is_decided() -> None:
    """A blue circle is better, an orange square worse, a hollow circle undecided, and a count says how many of each."""
    page = baselines.figure(of_baselines(), {})
    end, area = page.axes[0], page.axes[len(COMPARED)]
    assert (
        end.get_xlabel()
        == area.get_xlabel().replace("0 for, 6 against", "6 for, 0 against")
        == ("batch mean / log Z\n6 for, 0 against of 6")
    )
    marks = lines(end, "o")
    assert [float(mark.get_ydata()[0]) for mark in marks] == list(range(6))
    estimate = np.sqrt((0.14 / 0.02) * (0.13 / 0.03))  # the mean of the middle two logarithms
    assert float(marks[0].get_xdata()[0]) == pytest.approx(estimate)
    assert to_hex(marks[0].get_markerfacecolor()) != HOLLOW
    assert len(lines(area, "s")) == 6
    undecided = lines(page.axes[1], "o")
    assert [to_hex(mark.get_markerfacecolor()) for mark in undecided] == [HOLLOW] * 6
    assert page.axes[1].get_xlabel().endswith("0 for, 0 against of 6")
    ticks = lines(end, "|")[0]
    assert sorted(ticks.get_xdata()) == pytest.approx(sorted(compared("GlobalLogZ", "BatchMean", FINAL).ratios))
    assert [text.get_text() for text in page.axes[3].texts[1:]] == ["not run"] * 6  # the optimal constant
    assert "JSD with log Z 0.03" in end.get_yticklabels()[0].get_text()


def test_settings_that_are_not_finished_have_no_mark() -> None:
    """Their row stays."""
    end = baselines.figure(of_baselines(["forward_kl"]), {}).axes[0]
    assert [float(mark.get_ydata()[0]) for mark in lines(end, "o")] == [2]
    assert [text.get_text() for text in end.texts[1:]] == ["not run"] * 5


def test_runs_without_a_common_seed_have_a_verdict_and_no_ratio() -> None:
    """The row says so."""
    table = of_baselines()
    table.loc[table[BASELINE].str.endswith("BatchMean"), "seed"] += 10
    assert not len(comparison(curves_of(table), "forward_kl", "GlobalLogZ", "BatchMean", FINAL).ratios)
    end = baselines.figure(table, {}).axes[0]
    assert [text.get_text() for text in end.texts[1:]] == ["no seed in common"] * 6
    assert end.get_xlabel().endswith("6 for, 0 against of 6")


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
