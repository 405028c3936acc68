"""Control variates on the hypergrid, two at a time: by how much is one better? (arXiv 2210.00580, section 4.1.)

A column is a question, a row a setting. Ticks are ratios of the JSDs of two replicas with one seed (right of 1: the baseline
that is named first is better); the mark is a statistic of them (median by default), its line their range. A mark is full, and its
number written, where all pairs lie on one side of 1, and hollow where they disagree.
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
    Key,
    curves_of,
    heights,
    in_every_pair,
    ratios,
)
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import n_failed
from gfn_vi.analysis.statistics.claims import LEVEL, Groups
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADLINES = (JSD,)
METRICS = ("jsd", "modes_covered")  # of the committed results
CONFIG_KEYS = (BASELINE.removeprefix("config."),)

REFERENCE = "GlobalLogZ"  # its JSD stands beside the rows
LOOKS: dict[bool | None, tuple[str, Any, Any, str]] = {  # the baseline that is named first is better: label, color, face, marker
    True: ("Better in every pair", style.palette(4)[0], style.palette(4)[0], "o"),
    False: ("Worse in every pair", style.palette(4)[3], style.palette(4)[3], "s"),
    None: ("Pairs disagree", "0.4", "white", "o"),
}
LEAST = 2.2  # factor that every axis shows, so that what is negligible looks so
BELOW, ABOVE = 0.3, 0.33  # of a row, from a mark to its pairs and to its number
TOP = -0.65  # the height of the words above the rows


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    found = curves_of(table)
    page = Figure(figsize=(style.WIDTH, 5.5), layout="constrained")
    axes = page.subplots(2, len(COMPARED), sharex="row", sharey="row")
    drawn: list[np.ndarray] = []
    for panels, measure in zip(axes, (FINAL, AREA), strict=True):
        for panel, (first, second) in zip(panels, COMPARED, strict=True):
            arms = [arm for arm in SETTINGS if (arm, first) in found and (arm, second) in found]
            compared = {arm: ratios(found[arm, first], found[arm, second], measure) for arm in arms}
            _forest(panel, compared, statistic)
            paired = [of_pairs for of_pairs in compared.values() if len(of_pairs)]
            verdicts = [in_every_pair(of_pairs) for of_pairs in paired]
            counts = f"{verdicts.count(True)} better, {verdicts.count(False)} worse, of {len(verdicts)}"
            panel.set_xlabel(f"{BASELINES[second]} / {BASELINES[first]}\n{counts}", fontsize=7)
            drawn += paired
        _scale(panels)
        _rows(panels[0], measure, found)
    for panel, (first, second) in zip(axes[0], COMPARED, strict=True):
        panel.set_title(f"{BASELINES[first]} better\nthan {BASELINES[second]}?")
    _legend(page, [_meaning(drawn, statistic), n_failed(found.values())])
    return page


def _forest(axes: Axes, compared: Mapping[str, np.ndarray], statistic: str) -> None:
    """Draw the statistic of the ratios of each arm in its row, with their range, and the ratios below."""
    axes.axvline(1, color="0.6", linewidth=0.8)
    place = axes.get_yaxis_transform()
    axes.text(0.98, TOP, "better \N{RIGHTWARDS ARROW}", transform=place, ha="right", va="center", fontsize=6.5, color="0.3")
    for row, arm in enumerate(SETTINGS):
        if arm not in compared or not len(compared[arm]):
            why = "no seed in common" if arm in compared else "not run"
            axes.text(0.98, row, why, transform=place, ha="right", va="center", fontsize=6.5, color="0.5")
            continue
        of_pairs = compared[arm]
        verdict = in_every_pair(of_pairs)
        _, color, face, marker = LOOKS[verdict]
        estimate = float(10 ** interval(np.log10(of_pairs), statistic).estimate)
        axes.plot([of_pairs.min(), of_pairs.max()], [row, row], color=color, linewidth=1.2)
        axes.plot(estimate, row, marker, color=color, markerfacecolor=face, markersize=4.5)
        axes.plot(of_pairs, np.full(len(of_pairs), row + BELOW), "|", color=color, markersize=3.5, markeredgewidth=0.7)
        if verdict is not None:  # beside the line at 1, not on it
            shift, side = ((1, 0), "left") if verdict else ((-1, 0), "right")
            look = {"ha": side, "va": "center", "fontsize": 5.5, "color": color}
            axes.annotate(f"{estimate:.3g}", (estimate, row - ABOVE), shift, textcoords="offset points", **look)


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
    for arm, label in SETTINGS.items():
        curve = found.get((arm, REFERENCE))
        level = "" if curve is None else f"\nJSD with log Z {np.median(heights(measure, curve.x, curve.values)):.2g}"
        labels.append(f"{label}{level}")
    axes.set_yticks(range(len(SETTINGS)), labels, fontsize=6.5)
    axes.set_ylim(len(SETTINGS) - 0.4, TOP - 0.3)
    axes.set_ylabel(measure)


def _meaning(drawn: Sequence[np.ndarray], statistic: str) -> str:
    """Say what is drawn, and in how many rows pairs agree by chance; drawn: the ratios of all rows that have some."""
    sizes = [len(of_pairs) for of_pairs in drawn]
    if not sizes:
        return ""
    least, n_full = min(sizes), sum(in_every_pair(of_pairs) is not None for of_pairs in drawn)
    expected = sum(2 / 2**size for size in sizes)
    alone = ": no row alone is a decision at 5%" if 2 / 2 ** max(sizes) >= LEVEL else ""
    return (
        f"Mark, number: {statistic} of the pairs; line: their range. "
        f"Full where all pairs lie on one side of 1: {n_full} of {len(sizes)} rows.\n"
        f"Where nothing differs, {least} {'pair does' if least == 1 else 'pairs do'} so by chance in 1 row of {2 ** (least - 1)} "
        f"(p = {2 / 2**least:.2f}), {expected:.1f} of {len(sizes)}{alone}."
    )


def _legend(page: Figure, notes: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, markerfacecolor=face, label=label)
        for label, color, face, marker in LOOKS.values()
    ]
    handles.append(Line2D([], [], color="0.4", marker="|", linestyle="", markersize=3.5, label="Pairs of one seed"))
    told = "\n".join(filter(None, notes))
    page.legend(handles=handles, loc="outside upper center", ncols=4, title=told or None, title_fontsize=7, **style.LEGEND)
