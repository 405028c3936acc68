"""Noise of five estimators of the gradient of KL(P_F, P_B), of batches of 64, on the same trajectories.

(a) A chain with numbers of its own for each step and dimension, (b) one network for the drift of all steps: on Gaussian targets
N(m, v) in each coordinate, v = 1 / (1 + 2 m), before training, where P_F ends in N(0, 1). First panel: noise, with dots at the
optimum, those of rounding alone at 1e-6; then noise / gradient as the distance KL(P_F, P_B), the dimension and the number of
steps grow, the rest being d = T = 4 and m = 0.3. (c) A network along its training on a mixture. Lines are medians over replicas,
bands their 95% bootstrap intervals. Beside the figure: noise.csv.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.pathwise_variance.noise import ESTIMATORS, MIXTURE, SAMPLERS, SETTING, by_setting, noises, varied

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.statistics.estimates import interval
from gfn_vi.core.headline import Headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

CONFIG_KEYS = tuple(key.removeprefix("config.") for key in SETTING)
# Of the summary beside the figure; the noise is in noise.csv.
HEADLINES = (Headline("sampled_elbo", "maximize", -np.inf, "ELBO (nats)"),)
COLORS = dict(zip(ESTIMATORS, (style.palette(10)[k] for k in (5, 0, 2, 3, 4)), strict=True))
# The last three lie close together: broken lines let the ones below be seen.
LINES = {"reverse_kl_leave_one_out": "-", "trajectory_balance": (0, (1, 1.2)), "log_variance": (0, (4, 2.5))}
TITLES = {"dim": "Dimension $d$", "n_steps": "Steps $T$", "kl": "KL$(P_F, P_B)$ (nats)", "trajectories": "Trajectories"}
NOISE, RELATIVE = "Noise", "Noise / gradient"
SMALLEST_NOISE = 1e-6  # smaller ones, all of rounding, are drawn here


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = noises(table)
    page = Figure(figsize=(style.WIDTH, 6.0), layout="constrained")
    panels = page.subfigures(3, 1)
    for panel, letter, (arm, title) in zip(panels, "ab", SAMPLERS.items(), strict=False):
        _gaussians(panel, rows, arm, f"({letter}) {title}")
    _mixture(panels[2], rows[rows["arm"] == MIXTURE])
    handles = [Line2D([], [], color=COLORS[e], linestyle=LINES.get(e, "-"), label=label) for e, label in ESTIMATORS.items()]
    page.legend(handles=handles, loc="outside upper center", ncols=len(handles), **style.LEGEND)
    return page


def tables(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, str]:
    """Return file name -> text: noise, and noise / gradient, of each setting and estimator, with intervals over replicas."""
    by = ["arm", "dim", "n_steps", "mean", "covariance", "trajectories", "estimator"]
    found = []
    for key, group in noises(table).groupby(by, dropna=False):
        row = dict(zip(by, key, strict=True)) | {
            "replicas": len(group),
            "exact": group["exact"].min(),
            "kl": group["kl"].median(),
        }
        for name in ("noise", "relative"):
            values = group[name].to_numpy()
            # of the optimum there is no relative noise
            low, estimate, high = map(float, interval(values)) if np.isfinite(values).all() else (np.nan,) * 3
            row |= {f"{name}_median": estimate, f"{name}_low": low, f"{name}_high": high}
        found.append(row)
    text = io.StringIO()
    pd.DataFrame(found).to_csv(text, index=False, float_format="%.4g", lineterminator="\n")
    return {"noise.csv": text.getvalue()}


def _gaussians(panel: SubFigure, rows: pd.DataFrame, arm: str, title: str) -> None:
    every = panel.subplots(1, 4)
    distances = varied(rows, arm, "mean")
    away = distances[distances["kl"] > 0]
    _lines(every[0], away, "kl", "noise")
    for estimator, color in COLORS.items():
        at = by_setting(distances[distances["kl"] == 0], "kl", estimator, "noise").clip(lower=SMALLEST_NOISE)
        every[0].plot(at.index, at.median(axis=1), "o", color=color, markersize=3.5)
    if len(away) < len(distances):
        every[0].annotate("the others", (0, SMALLEST_NOISE), (5, 0), textcoords="offset points", fontsize=6, va="center")
    _lines(every[1], away, "kl", "relative")
    for axes, what in zip(every[2:], ("dim", "n_steps"), strict=True):
        changed = varied(rows, arm, what)
        _lines(axes, changed, what, "relative")
        _plain_numbers(axes)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(changed[what].unique())[::2], [str(n) for n in sorted(changed[what].unique())[::2]])
        axes.minorticks_off()
    smallest = 1.0 if away.empty else float(away["kl"].min())
    every[0].set_xscale("symlog", linthresh=smallest, linscale=0.5)
    every[0].set_xlim(-0.15 * smallest)
    every[1].set_xscale("log")
    ticks = [10.0**k for k in range(-2, 3, 2) if 10.0**k > smallest]
    every[0].set_xticks([0, *ticks], ["0", *(f"$10^{{{int(np.log10(t))}}}$" for t in ticks)])
    every[0].minorticks_off()
    for axes, label in zip(every, (NOISE, RELATIVE, RELATIVE, RELATIVE), strict=True):
        axes.set_ylabel(label)
    every[0].set_title(title, loc="left", fontsize=8)


def _mixture(panel: SubFigure, rows: pd.DataFrame) -> None:
    from matplotlib.ticker import EngFormatter

    every = panel.subplots(1, 4)
    # the same for all estimators
    for axes, name in ((every[0], "kl"), (every[1], "gradient")):
        _band(axes, by_setting(rows, "trajectories", next(iter(ESTIMATORS)), name), "0.3", "-")
        axes.set_yscale("log")
    _lines(every[2], rows, "trajectories", "noise")
    _lines(every[3], rows, "trajectories", "relative")
    for axes, label in zip(every, (TITLES["kl"], "Gradient", NOISE, RELATIVE), strict=True):
        axes.set(xlabel=TITLES["trajectories"], ylabel=label)
        _plain_numbers(axes)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    every[0].set_title("(c) Network along training, mixture", loc="left", fontsize=8)


def _plain_numbers(axes: Axes) -> None:
    """Label a logarithmic y-axis of a decade or two with 1, 2, 5, 10."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    for estimator, color in COLORS.items():
        _band(axes, by_setting(rows, x, estimator, y), color, LINES.get(estimator, "-"))
    axes.set_yscale("log")
    axes.set_xlabel(TITLES[x])


def _band(axes: Axes, values: pd.DataFrame, color: object, line: object) -> None:
    """Draw one estimator: values with a row for each place on the x-axis; none where no such run is done yet."""
    if values.empty:
        return
    low, estimate, high = interval(values.to_numpy().T)
    axes.plot(values.index, estimate, color=color, linestyle=line, linewidth=1.1)
    axes.fill_between(values.index, low, high, color=color, alpha=style.BAND_ALPHA, linewidth=0)
