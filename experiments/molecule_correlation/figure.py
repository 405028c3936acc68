"""Figure 2 of arXiv 2210.00580 (section 4.2): how log P_T follows log R on held-out molecules, by rate and exponent beta.

(a) Pearson's correlation at the end of training for each rate of P_F, a panel per beta: a box over seeds (quartiles, median,
whole range) with a point for each. Broken: the median before training, of all seeds; sizes of molecules alone make it differ from
0. Dotted: 0.1, which the paper says off-policy forward KL and wake-sleep never exceed. (b) As it should be, and with the
deviations of the published code that touch an arm: a box over all rates and seeds. Beside the figure: correlations.csv.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from gfn_vi.analysis.pictures.arms import SIDES
from gfn_vi.analysis.reading.curves import Curve
from gfn_vi.analysis.statistics.claims import Groups
from gfn_vi.analysis.statistics.estimates import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (CORRELATION,)
CONFIG_KEYS = tuple(name.removeprefix("config.") for name in (BETA, RATE, DEVIATION))
COLORS = dict(zip(ALL_OBJECTIVES, style.palette(len(ALL_OBJECTIVES)), strict=True))  # as in the figures of grids
NO_CORRELATION = 0.1
IN_A_ROW = 2  # panels; four would make boxes too narrow to print
HEIGHT = 2.1  # inches of a row

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
                    _box(axes, position, found[arm, beta, rate].final, arm, 0.8 / len(ARMS))
        untrained = np.concatenate([curve.values[:, 0] for (_, of, _), curve in found.items() if of == beta])
        axes.axhline(float(np.median(untrained)), color="0.45", linewidth=0.8, linestyle="--", zorder=0)
        axes.set(xticks=range(len(rates)), xlim=(-0.5, len(rates) - 0.5), xlabel="Learning rate of $P_F$")
        axes.set_xticklabels([f"{rate:g}" for rate in rates])
        axes.set_title(rf"$\beta = {beta:g}$")
    every[0].set_title("(a)", loc="left")
    _legend(page)


def _deviating(page: SubFigure, compared: Mapping[Condition, Groups[str]], betas: Sequence[float], n_rows: int) -> None:
    every = _panels(page, len(betas), n_rows)
    for axes, beta in zip(every, betas, strict=True):
        for place, arm in enumerate(ARMS):
            for position, is_as_published in zip(_places(2, place), (False, True), strict=True):
                by_arm = compared.get(Condition(beta, is_as_published), {})
                if arm in by_arm:
                    _box(axes, position, by_arm[arm].final, arm, 0.36, hatch="////" if is_as_published else None)
        axes.set(xticks=range(len(ARMS)), xlim=(-0.5, len(ARMS) - 0.5))
        axes.set_xticklabels([_two_lines(arm) for arm in ARMS], fontsize=7)
        axes.set_title(rf"$\beta = {beta:g}$, all rates; hatched: as published")
    every[0].set_title("(b)", loc="left")


def _panels(page: SubFigure, number: int, n_rows: int) -> list[Axes]:
    """Return panels of one height, those of one row with one axis of correlations."""
    every: list[Axes] = list(page.subplots(n_rows, min(number, IN_A_ROW), sharey=True, squeeze=False).flat)
    for axes in every[number:]:
        axes.set_axis_off()
    for axes in every[:number]:
        axes.axhline(0, color="0.75", linewidth=0.6, zorder=0)
        axes.axhline(NO_CORRELATION, color="0.45", linewidth=0.8, linestyle=":", zorder=0)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(r"Correlation of $\log P_T$, $\log R$")
    return every[:number]


def _places(number: int, around: int) -> np.ndarray:
    """Return the centers of boxes that share the place `around` of an axis."""
    return around + 0.84 * ((np.arange(number) + 0.5) / number - 0.5)


def _box(axes: Axes, position: float, values: np.ndarray, arm: str, width: float, hatch: str | None = None) -> None:
    """Draw a box with its points; filled: off-policy."""
    color = COLORS[arm.removesuffix(OFF_POLICY)]
    face = (*color, 0.45) if arm.endswith(OFF_POLICY) else "white"
    line: dict[str, Any] = {"color": color, "linewidth": 0.8}
    axes.boxplot(
        [values],
        positions=[position],
        widths=[0.8 * width],
        whis=(0, 100),
        patch_artist=True,
        manage_ticks=False,
        showcaps=False,
        boxprops={"facecolor": face, "edgecolor": color, "linewidth": 0.8, "hatch": hatch},
        whiskerprops=line,
        medianprops=line | {"linewidth": 1.6},
        label=arm,
    )
    axes.scatter(np.full(len(values), position), values, s=3.5, color="0.15", linewidths=0, zorder=3)


def _legend(page: SubFigure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=(*COLORS[name], 0.45), edgecolor=COLORS[name], label=OBJECTIVES[name]) for name in OBJECTIVES]
    handles += [
        Patch(facecolor="white", edgecolor="0.3", label=SIDES[""]),
        Patch(facecolor="0.75", edgecolor="0.3", label=SIDES[OFF_POLICY]),
    ]
    line = Line2D([], [], color="0.45", linewidth=0.8, linestyle="--", label="Untrained")
    page.legend(handles=[*handles, line], loc="outside upper center", ncols=len(handles) + 1, **style.LEGEND)


def _two_lines(arm: str) -> str:
    return f"{OBJECTIVES[arm.removesuffix(OFF_POLICY)]}\n{'off' if arm.endswith(OFF_POLICY) else 'on'}"
