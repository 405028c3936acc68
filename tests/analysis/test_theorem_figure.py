"""The figure of proposition_1: every replica has a mark that its legend knows, also where errors are exactly 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gfn_vi.experiments.proposition_1.figure import FLOOR, ROWS_OF_0, TARGETS, THEOREMS, TOP, figure
from matplotlib.axes import Axes

R = 3


def table(**values: float) -> pd.DataFrame:
    """Three replicas of every target and precision before and after training, with one error in each precision."""
    rows = [
        {"state": "done", "arm": arm, "trajectories": x, "metric": metric, "value": value, "config.dtype": precision}
        for precision, value in values.items()
        for arm in TARGETS
        for x in (0, 6400)
        for metric in THEOREMS
        for _ in range(R)
    ]
    return pd.DataFrame(rows)


def marks(axes: Axes) -> np.ndarray:
    """Where the marks of a panel are: [marks, 2]."""
    return np.concatenate([points.get_offsets() for points in axes.collections])


def test_marks_of_exactly_0_do_not_lie_on_each_other() -> None:
    """The precisions have a row each in the band of 0, below all other errors."""
    for axes in figure(table(float32=0.0, float64=0.0), {}).axes:
        places = marks(axes)
        assert len(np.unique(places.round(24), axis=0)) == len(places) == 2 * R * len(TARGETS) * len(THEOREMS)
        assert sorted(set(places[:, 1])) == sorted(ROWS_OF_0.values())
        low, high = axes.get_ylim()
        assert low < min(ROWS_OF_0.values()) < max(ROWS_OF_0.values()) < FLOOR < high
        band = axes.patches[0].get_window_extent()
        middle = axes.transData.transform((0, axes.get_yticks()[0]))[1]
        assert band.y0 < middle < band.y1
        assert axes.get_yticklabels()[0].get_text() == "exactly 0"


@pytest.mark.parametrize(("value", "height"), [(1e-30, FLOOR), (1e-12, 1e-12), (7.0, TOP), (np.inf, TOP), (np.nan, TOP)])
def test_only_0_is_drawn_as_0(value: float, height: float) -> None:
    """What is smaller than the axis shows stands at the edge of the band, and what fails at the top."""
    (axes, _) = figure(table(float64=value), {}).axes
    assert set(marks(axes)[:, 1]) == {height}
