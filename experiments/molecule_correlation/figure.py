"""Figure 2 of arXiv 2210.00580 (section 4.2): how log P_T follows log R on held-out molecules, by rate and exponent beta.

(a) Pearson's correlation at the end of training for each rate of P_F, a panel per beta: a point per seed, a bar at their median.
Broken: before training, a line per seed; sizes of molecules alone make it differ from 0. (b) As it should be, and on gray with
the deviations of the published code that touch an arm: a point per rate and seed, from the lowest rate on the left. All panels
have one axis, which starts near the data. Beside the figure: correlations.csv.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from gfn_vi.experiments.molecule_correlation.settings import (
    ARMS,
    BETA,
    CORRELATION,
    DEVIATION,
    NONE,
    OBJECTIVES,
    RANK_CORRELATION,
    RATE,
    Condition,
    conditions,
    settings,
)
from gfn_vi.experiments.paper_arms import OBJECTIVES as ALL_OBJECTIVES
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import SIDES, parts
from gfn_vi.analysis.reading.curves import Curve
from gfn_vi.analysis.statistics.claims import Groups
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (CORRELATION,)
CONFIG_KEYS = tuple(name.removeprefix("config.") for name in (BETA, RATE, DEVIATION))
COLORS = dict(zip(ALL_OBJECTIVES, style.palette(len(ALL_OBJECTIVES)), strict=True))  # as in the figures of grids
MARKERS = dict(zip(OBJECTIVES, "os^D", strict=True))
IN_A_ROW = 2  # panels; in four, points would lie on each other
HEIGHT = 2.1  # inches of a row
STEP = 0.05  # of correlations, at a multiple of which the axis starts and ends
FILLED = 0.84  # share of a place on the axis that its marks take

Arrays = Mapping[str, Mapping[str, np.ndarray]]


def figure(table: pd.DataFrame, arrays: Arrays) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure

    found = {(arm, beta, rate): curve for (arm, beta, rate, name), curve in settings(table).items() if name == NONE}
    betas = sorted({beta for _, beta, _ in found})
    compared = conditions(table)
    published = [condition.beta for condition in compared if condition.is_as_published]
    upper_rows, lower_rows = (math.ceil(len(of) / IN_A_ROW) for of in (betas, published))
    heights = [0.3 + HEIGHT * upper_rows, HEIGHT * lower_rows]
    page = Figure(figsize=(style.WIDTH, sum(heights)), layout="constrained")
    upper, lower = page.subfigures(2, 1, height_ratios=heights) if published else (page.subfigures(1, 1), None)
    _by_rate(upper, found, betas, upper_rows)
    if lower is not None:
        _deviating(lower, compared, published, lower_rows)
    _one_axis([axes for axes in page.axes if axes.axison], settings(table).values())
    return page


def tables(table: pd.DataFrame, arrays: Arrays) -> dict[str, str]:
    """Return file name -> text: of every setting the correlations at the end, Pearson's and Spearman's, and failed replicas."""
    ranks = settings(table, RANK_CORRELATION)
    rows = []
    for (arm, beta, rate, deviation), curve in settings(table).items():
        row: dict[str, object] = {"deviation": deviation, "beta": beta, "arm": arm, "rate": rate, "replicas": len(curve.seeds)}
        for name, of in {"correlation": curve, "rank_correlation": ranks[arm, beta, rate, deviation]}.items():
            low, estimate, high = map(float, interval(of.final, "median"))
            row |= {f"{name}_median": estimate, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"trajectories": curve.x[-1], "non_finite": curve.n_failed})
    ordered = pd.DataFrame(rows).sort_values(["deviation", "beta"], kind="stable")
    return {"correlations.csv": ordered.to_csv(index=False, float_format="%.4g", lineterminator="\n")}


def _by_rate(page: SubFigure, found: Mapping[tuple[str, float, float], Curve], betas: Sequence[float], n_rows: int) -> None:
    every = _panels(page, len(betas), n_rows)
    for axes, beta in zip(every, betas, strict=True):
        rates = sorted({rate for _, of, rate in found if of == beta})
        for place, rate in enumerate(rates):
            for position, arm in zip(_places(len(ARMS), place), ARMS, strict=True):
                if (arm, beta, rate) in found:
                    _points(axes, position, found[arm, beta, rate].final, arm, FILLED / len(ARMS))
        _untrained(axes, [curve for (_, of, _), curve in found.items() if of == beta])
        for edge in range(1, len(rates)):
            axes.axvline(edge - 0.5, color="0.9", linewidth=0.6, zorder=0)
        axes.set(xticks=range(len(rates)), xlim=(-0.5, len(rates) - 0.5), xlabel="Learning rate of $P_F$")
        axes.set_xticklabels([f"{rate:g}" for rate in rates])
        axes.set_title(rf"$\beta = {beta:g}$")
    every[0].set_title("(a)", loc="left")
    _legend(page)


def _deviating(page: SubFigure, compared: Mapping[Condition, Groups[str]], betas: Sequence[float], n_rows: int) -> None:
    every = _panels(page, len(betas), n_rows)
    for axes, beta in zip(every, betas, strict=True):
        shown = {is_as_published: compared.get(Condition(beta, is_as_published), {}) for is_as_published in (False, True)}
        for place, arm in enumerate(ARMS):
            for position, (is_as_published, by_arm) in zip(_places(2, place), shown.items(), strict=True):
                if is_as_published:
                    axes.axvspan(position - FILLED / 4, position + FILLED / 4, color="0.92", linewidth=0, zorder=0)
                if arm in by_arm:
                    _points(axes, position, by_arm[arm].final, arm, FILLED / 2)
                else:
                    around: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.get_xaxis_transform()}
                    axes.text(position, 0.6, "not done", fontsize=6.5, color="0.35", **around)
        _untrained(axes, [curve for by_arm in shown.values() for rates in by_arm.values() for curve in rates.values()])
        axes.set(xticks=range(len(ARMS)), xlim=(-0.5, len(ARMS) - 0.5))
        names = [(OBJECTIVES[name], SIDES[side].lower()) for name, side in map(parts, ARMS)]
        axes.set_xticklabels([",\n".join(name) for name in names], fontsize=7)
        axes.set_title(rf"$\beta = {beta:g}$, all rates; gray: as published")
    every[0].set_title("(b)", loc="left")


def _panels(page: SubFigure, number: int, n_rows: int) -> list[Axes]:
    """Return panels of one height."""
    every: list[Axes] = list(page.subplots(n_rows, min(number, IN_A_ROW), sharey=True, squeeze=False).flat)
    for axes in every[number:]:
        axes.set_axis_off()
    for axes in every[:number]:
        axes.grid(axis="x", visible=False)
    return every[:number]


def _one_axis(every: Sequence[Axes], drawn: Iterable[Curve]) -> None:
    """Give all panels the range of the correlations before and after training, and say where it starts if that is above 0."""
    ends = np.concatenate([curve.values[:, [0, -1]].ravel() for curve in drawn])
    low, high = STEP * math.floor(ends.min() / STEP - 0.2), STEP * math.ceil(ends.max() / STEP + 0.2)
    start = f"\n(axis starts at {low:.2g})" if low > 0 else ""
    for axes in every:
        axes.set_ylim(low, high)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(rf"Correlation of $\log P_T$, $\log R${start}")


def _places(number: int, around: int) -> np.ndarray:
    """Return the centers of groups of points that share the place `around` of an axis."""
    return around + FILLED * ((np.arange(number) + 0.5) / number - 0.5)


def _points(axes: Axes, position: float, values: np.ndarray, arm: str, width: float) -> None:
    """Draw replicas beside each other, filled off-policy, and a bar at their median."""
    name, side = parts(arm)
    color = COLORS[name]
    where = position + 0.3 * width * np.linspace(-1, 1, len(values)) if len(values) > 1 else [position]
    look: dict[str, Any] = {"linestyle": "", "marker": MARKERS[name], "markersize": 2.8, "markeredgewidth": 0.7}
    axes.plot(where, values, color=color, markerfacecolor=color if side else "white", label=arm, **look)
    axes.plot(position + 0.4 * width * np.array([-1, 1]), [np.median(values)] * 2, color="0.1", linewidth=1.1, zorder=4)


def _untrained(axes: Axes, of: Iterable[Curve]) -> None:
    """Draw the correlation before training of each seed, which all arms and rates share."""
    for height in {seed: value for curve in of for seed, value in zip(curve.seeds, curve.values[:, 0], strict=True)}.values():
        axes.axhline(float(height), color="0.45", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)


def _legend(page: SubFigure) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, color: Any, face: Any) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, markersize=4, color=color, markerfacecolor=face, label=label)

    handles = [mark(label, MARKERS[name], COLORS[name], COLORS[name]) for name, label in OBJECTIVES.items()]
    handles += [mark(SIDES[""], "o", "0.3", "white"), mark(SIDES[OFF_POLICY], "o", "0.3", "0.3")]
    handles += [
        Line2D([], [], color="0.1", linewidth=1.1, label="Median"),
        Line2D([], [], color="0.45", linewidth=0.7, linestyle=(0, (4, 3)), label="Untrained, each seed"),
    ]
    page.legend(handles=handles, loc="outside upper center", ncols=len(handles), **style.LEGEND)
