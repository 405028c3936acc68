"""Gradients of all estimators at the same parameters and on the same trajectories: along training, off-policy, and as published.

Row (a): direction (cosine to the exact expected gradient) and relative noise, sqrt(total variance) / |exact gradient|, of
batches of 64 while TB trains. Row (b): the same as the behavior that draws the batches moves away from P_F, and how much of the
exact gradient is missing in expectation. Row (c): the cosine against a reference that contains the small batches, as in the code
of arXiv 2210.00580, beside valid ones. Lines are means over replicas, bands 95% bootstrap intervals of the mean over replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.table import require_columns
from gfn_vi.runs.reading import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEADLINES = (JSD,)

COLUMNS = ("state", "arm", "seed", "trajectories", "metric", "value")
ESTIMATORS = {
    "trajectory_balance": "TB",
    "log_variance": "Log-variance",
    "reverse_kl_none": "Reverse KL, no baseline",
    "reverse_kl_batch_mean": "Reverse KL, batch mean",
    "reverse_kl_leave_one_out": "Reverse KL, leave-one-out",
    "reverse_kl_log_Z": "Reverse KL, log Z",
    "reverse_kl_optimal": "Reverse KL, optimal",
    "reverse_kl_plain": "Reverse KL, plain weights",
    "forward_kl": "Forward KL",
    "forward_kl_plain": "Forward KL, plain weights",
    "wake_sleep": "Wake-sleep",
}
# Several estimators lie on top of each other, as theory says: dashes let the ones below be seen.
DASHES = {
    "log_variance": (4, 1.5),
    "reverse_kl_batch_mean": (1, 1),
    "reverse_kl_leave_one_out": (2, 1),
    "reverse_kl_log_Z": (6, 2),
    "reverse_kl_optimal": (3, 1, 1, 1),
    "reverse_kl_plain": (1, 1),
    "forward_kl_plain": (1, 1),
    "wake_sleep": (3, 1.5),
}
SAME_COLOR = {"reverse_kl_plain": "reverse_kl_leave_one_out", "forward_kl_plain": "forward_kl"}
YELLOW = 7  # of style.palette: too pale for a line
NESTED_REFERENCE = 1024  # trajectories of the published reference, configs/arm/gradient_variance/measurements.yaml


def figure(table: pd.DataFrame, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the finished runs of the table."""
    from matplotlib.figure import Figure

    rows = statistics_in(table)
    page = Figure(figsize=(style.WIDTH, 7.2), layout="constrained")
    top, middle, bottom = page.subfigures(3, 1, height_ratios=[1.1, 1.1, 0.9])
    along_training(top, rows)
    behaviors(middle, rows)
    measurements(bottom, rows)
    return page


def statistics_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per recorded statistic, with <prefix>/<statistic>/<role>/<estimator>/<behavior>/<batch> in columns."""
    require_columns(table, COLUMNS)
    rows = table[(table["state"] == "done") & table["metric"].astype(str).str.count("/").eq(5)]
    if rows.empty:
        raise TableError("no run that measures gradients is done yet: nothing to draw")
    parts = rows["metric"].astype(str).str.split("/", expand=True)
    parts.columns = pd.Index(["prefix", "statistic", "role", "estimator", "behavior", "batch"])
    rows = pd.concat([rows[["arm", "seed", "trajectories", "value"]], parts], axis=1)
    return rows.astype({"arm": str, "batch": int, "value": float})


def _chosen(rows: pd.DataFrame, arm: str, **wanted: str) -> pd.DataFrame:
    chosen = rows[rows["arm"] == arm]
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        raise TableError(f"the arm {arm} has not recorded {wanted}: run it to its end")
    return chosen


def _lines(axes: Axes, rows: pd.DataFrame, x: str, legend: bool = False) -> None:
    """Draw means over replicas with their intervals, a line per estimator."""
    import seaborn

    present = [name for name in ESTIMATORS if name in set(rows["estimator"])]
    own = [name for name in ESTIMATORS if name not in SAME_COLOR]
    readable = [color for k, color in enumerate(style.palette(10)) if k != YELLOW]
    shades = dict(zip(own, readable, strict=True))
    palette = {name: shades[SAME_COLOR.get(name, name)] for name in present}
    seaborn.lineplot(
        rows,
        x=x,
        y="value",
        hue="estimator",
        style="estimator",
        hue_order=present,
        style_order=present,
        palette=palette,
        dashes={name: DASHES.get(name, "") for name in present},
        errorbar=("ci", 95),
        n_boot=2000,
        seed=0,
        err_kws={"alpha": style.BAND_ALPHA, "linewidth": 0},
        legend="full" if legend else False,
        ax=axes,
    )


def _legend(panel: SubFigure, axes: Axes, title: str, n_columns: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    axes.get_legend().remove()
    panel.legend(
        handles,
        [ESTIMATORS[name] for name in names],
        loc="outside upper center",
        ncols=n_columns,
        handlelength=2.2,
        columnspacing=1.2,
        fontsize=7,
        title=title,
        title_fontsize=8,
    )


def _noise(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return rows of sqrt(total variance) / |exact gradient| of P_F's side."""
    keys = ["arm", "seed", "trajectories", "prefix", "role", "estimator", "behavior", "batch"]
    variance = _chosen(rows, arm, statistic="variance", role="forward").set_index(keys)["value"]
    norm = _chosen(rows, arm, statistic="reference_norm", role="forward").set_index(keys)["value"]
    return (np.sqrt(variance) / norm).rename("value").reset_index()


def along_training(panel: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (a): direction and noise along training."""
    from matplotlib.ticker import EngFormatter

    every = panel.subplots(1, 3)
    arm = "along_training"
    _lines(every[0], _chosen(rows, arm, statistic="cosine", role="forward"), "trajectories", legend=True)
    _lines(every[1], _noise(rows, arm), "trajectories")
    _lines(every[2], _chosen(rows, arm, statistic="cosine", role="backward"), "trajectories")
    titles = (r"$\theta$: cosine to exact gradient", r"$\theta$: noise / gradient", r"$\phi$: cosine to exact gradient")
    for axes, title in zip(every, titles, strict=True):
        axes.set(xlabel="Trajectories", ylabel=title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    every[1].set_yscale("log")
    _legend(panel, every[0], "(a) along training of TB, batches of 64 drawn on-policy", 4)


def behaviors(panel: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (b): direction and noise as the behavior moves away from P_F."""
    arm = "behaviors"
    last = rows[(rows["arm"] == arm) & (rows["trajectories"] == rows.loc[rows["arm"] == arm, "trajectories"].max())]
    every = panel.subplots(1, 3)
    noise = _noise(last, arm)
    _lines(every[0], _along(noise, "bias"), "distance", legend=True)
    _lines(every[1], _along(noise, "epsilon"), "distance")
    missing = _chosen(last, arm, statistic="bias_along", role="forward")
    _lines(every[2], _along(missing, "bias"), "distance")
    for axes in every[:2]:
        axes.set_yscale("log")
        axes.set_ylabel(r"$\theta$: noise / gradient")
    every[2].axhline(0, color="0.4", linewidth=0.6)
    every[2].set_ylabel(r"$\theta$: bias along exact gradient")
    for axes, name in zip(every, ("Stop bias (nats)", r"$\varepsilon$ of uniform actions", "Stop bias (nats)"), strict=True):
        axes.set_xlabel(name)
    _legend(panel, every[0], "(b) as the behavior moves away from $P_F$", 4)


def _along(rows: pd.DataFrame, family: str) -> pd.DataFrame:
    """Return the behaviors of one family, named <family>_<distance> with p for the point; on-policy is distance 0."""
    distance = rows["behavior"].where(rows["behavior"] != "on_policy", f"{family}_0")
    mine = distance.str.startswith(f"{family}_")
    number = distance[mine].str.removeprefix(f"{family}_").str.replace("p", ".").astype(float)
    return rows[mine].assign(distance=number)


def measurements(panel: SubFigure, rows: pd.DataFrame) -> None:
    """Draw row (c): the cosine by each kind of reference."""
    import seaborn

    arm = "measurements"
    last = rows[(rows["arm"] == arm) & (rows["trajectories"] == rows.loc[rows["arm"] == arm, "trajectories"].max())]
    cosine = _chosen(last, arm, statistic="cosine", role="forward")
    kinds = {"nested": "published (reference contains the batch)", "independent": "independent reference", "gradients": "exact"}
    shades = dict(zip(kinds, (style.palette(4)[k] for k in (3, 0, 2)), strict=True))
    shown = {"trajectory_balance": "TB", "reverse_kl_leave_one_out": "Reverse KL, leave-one-out", "noise": "Pure noise (scores)"}
    every = panel.subplots(1, 3, sharey=True)
    sizes = np.array(sorted(set(cosine["batch"])), dtype=float)
    for axes, (name, title) in zip(every, shown.items(), strict=True):
        mine = cosine[(cosine["estimator"] == name) & cosine["value"].notna()]
        seaborn.lineplot(
            mine,
            x="batch",
            y="value",
            hue="prefix",
            hue_order=[kind for kind in kinds if kind in set(mine["prefix"])],
            palette=shades,
            marker="o",
            markersize=3.5,
            errorbar=("ci", 95),
            n_boot=2000,
            seed=0,
            err_kws={"alpha": style.BAND_ALPHA, "linewidth": 0},
            legend="full" if name == "trajectory_balance" else False,
            ax=axes,
        )
        floor = np.sqrt(sizes / NESTED_REFERENCE)
        axes.plot(sizes, floor, color="0.3", linestyle=(0, (4, 3)), linewidth=0.9, label=rf"$\sqrt{{b/{NESTED_REFERENCE}}}$")
        axes.axhline(0, color="0.4", linewidth=0.6)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{int(size)}" for size in sizes])
        axes.minorticks_off()
        axes.set(xlabel="Batch size b", ylabel=r"$\theta$: cosine to reference")
        axes.set_title(title, fontsize=8)
    handles, names = every[0].get_legend_handles_labels()
    every[0].get_legend().remove()
    panel.legend(
        handles,
        [kinds.get(name, name) for name in names],
        loc="outside upper center",
        ncols=4,
        fontsize=7,
        handlelength=2.2,
        title="(c) the same cosine, measured in three ways",
        title_fontsize=8,
    )
