"""Control variates on the hypergrid, two at a time: by how much is one better? (arXiv 2210.00580, section 4.1.)

A column is a question, a row a setting. Ticks are ratios of the JSDs of two replicas with one seed (right of 1: the baseline
that is named first is better); the mark is a statistic of them (median by default) with its 95% bootstrap interval. A full mark
is a difference that the test of the claims decides, a hollow one a difference that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.hypergrid_baselines.comparisons import (
    AREA,
    BASELINE,
    BASELINES,
    COMPARED,
    FINAL,
    SETTINGS,
    Comparison,
    Key,
    comparison,
    curves_of,
    heights,
)
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import n_failed
from gfn_vi.analysis.statistics.claims import Groups
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered")  # of the committed results
CONFIG_KEYS = (BASELINE.removeprefix("config."),)

REFERENCE = "GlobalLogZ"  # its JSD stands beside the rows
LOOKS: dict[bool | None, tuple[str, Any, Any, str]] = {  # verdict on the baseline that is named first: label, color, face, marker
    True: ("Decided: better", style.palette(4)[0], style.palette(4)[0], "o"),
    False: ("Decided: worse", style.palette(4)[3], style.palette(4)[3], "s"),
    None: ("Undecided", "0.4", "white", "o"),
}
LEAST = 2.2  # factor that every axis shows, so that what is negligible looks so
BELOW = 0.3  # of a row, from a mark to its pairs
TOP = -0.65  # the height of the words above the rows


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    found = curves_of(table)
    page = Figure(figsize=(style.WIDTH, 5.2), layout="constrained")
    axes = page.subplots(2, len(COMPARED), sharex="row", sharey="row")
    for panels, measure in zip(axes, (FINAL, AREA), strict=True):
        for panel, (first, second) in zip(panels, COMPARED, strict=True):
            arms = [arm for arm in SETTINGS if (arm, first) in found and (arm, second) in found]
            compared = {arm: comparison(found, arm, first, second, measure) for arm in arms}
            _forest(panel, compared, statistic)
            verdicts = [of_arm.is_better for of_arm in compared.values()]
            counts = f"{verdicts.count(True)} for, {verdicts.count(False)} against of {len(verdicts)}"
            panel.set_xlabel(f"{BASELINES[second]} / {BASELINES[first]}\n{counts}", fontsize=7)
        _scale(panels)
        _rows(panels[0], measure, found)
    for panel, (first, second) in zip(axes[0], COMPARED, strict=True):
        panel.set_title(f"{BASELINES[first]} better\nthan {BASELINES[second]}?")
    _legend(page, n_failed(found.values()))
    return page


def _forest(axes: Axes, compared: Mapping[str, Comparison], statistic: str) -> None:
    """Draw the statistic of the ratios of each arm in its row, with its interval, and the ratios below."""
    axes.axvline(1, color="0.3", linewidth=0.8)
    place = axes.get_yaxis_transform()
    axes.text(0.98, TOP, "better \N{RIGHTWARDS ARROW}", transform=place, ha="right", va="center", fontsize=6.5, color="0.3")
    for row, arm in enumerate(SETTINGS):
        if arm not in compared or not len(compared[arm].ratios):
            why = "no seed in common" if arm in compared else "not run"
            axes.text(0.98, row, why, transform=place, ha="right", va="center", fontsize=6.5, color="0.5")
            continue
        ratios, verdict = compared[arm]
        _, color, face, marker = LOOKS[verdict]
        low, estimate, high = (10**bound for bound in interval(np.log10(ratios), statistic))
        axes.plot([low, high], [row, row], color=color, linewidth=1.2)
        axes.plot(estimate, row, marker, color=color, markerfacecolor=face, markersize=4.5)
        axes.plot(ratios, np.full(len(ratios), row + BELOW), "|", color=color, markersize=3.5, markeredgewidth=0.7)


def _scale(panels: Sequence[Axes]) -> None:
    """Give the panels of a measure, which share their axes, one logarithmic scale of ratios."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for panel in panels:
        panel.set_xscale("log")
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
    low, high = panels[0].get_xlim()
    low, high = min(low, 1 / LEAST), max(high, LEAST)
    panels[0].set_xlim(low, high)
    panels[0].xaxis.set_major_locator(LogLocator(subs=(1.0,) if math.log10(high / low) > 1.5 else (1.0, 2.0, 5.0)))
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    panels[0].xaxis.set_minor_formatter(NullFormatter())


def _rows(axes: Axes, measure: str, found: Groups[Key]) -> None:
    """Write the settings beside their rows, with the JSD of the reference."""
    labels = []
    for arm, words in SETTINGS.items():
        curve = found.get((arm, REFERENCE))
        level = "" if curve is None else f"\nJSD with log Z {np.median(heights(measure, curve.x, curve.values)):.2g}"
        labels.append(f"{words[0].upper()}{words[1:]}{level}")
    axes.set_yticks(range(len(SETTINGS)), labels, fontsize=6.5)
    axes.set_ylim(len(SETTINGS) - 0.4, TOP - 0.3)
    axes.set_ylabel(measure)


def _legend(page: Figure, failed: str) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, markerfacecolor=face, label=label)
        for label, color, face, marker in LOOKS.values()
    ]
    handles.append(Line2D([], [], color="0.4", marker="|", linestyle="", markersize=3.5, label="Pairs of one seed"))
    page.legend(handles=handles, loc="outside upper center", ncols=4, title=failed or None, title_fontsize=7, **style.LEGEND)
