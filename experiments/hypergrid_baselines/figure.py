"""Control variates on the hypergrid: exact JSD for three objectives, on-policy and off-policy (arXiv 2210.00580, section 4.1).

Lines are a statistic over replicas (median by default), bands its 95% bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import JSD, WORST_JSD

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import X_LABELS, curves, draw_curve, n_failed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADLINES = (JSD,)

OBJECTIVES = {"reverse_kl": "Reverse KL", "forward_kl": "Forward KL", "reverse_wake_sleep": "Reverse wake-sleep"}
SIDES = {"": "On-policy", "_off_policy": "Off-policy"}
BASELINE = "config.objective.baseline._target_"
CONFIG_KEYS = (BASELINE.removeprefix("config."),)
# Class -> label and line; batch mean and leave-one-out differ by a factor (B - 1) / B and lie on each other.
BASELINES = {
    "NoBaseline": ("None", "-"),
    "BatchMean": ("Batch mean (the paper's local)", "-"),
    "LeaveOneOut": ("Leave-one-out", (0, (3, 2))),
    "GlobalLogZ": ("log Z (the paper's global)", "-"),
    "Optimal": ("Optimal constant", (0, (1, 1))),
}


def figure(
    table: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    x: str = "trajectories",
    statistic: str = "median",
) -> Figure:
    """Draw the finished runs of the table; arrays are not looked at."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    found = curves(table, "jsd", by=["arm", BASELINE], x=x, worst=WORST_JSD)
    colors = dict(zip(BASELINES, style.palette(len(BASELINES)), strict=True))
    page = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    axes = page.subplots(2, 3, sharex=True, sharey=True)
    handles = {}
    for row, (side, when) in enumerate(SIDES.items()):
        for column, (objective, name) in enumerate(OBJECTIVES.items()):
            cell = axes[row, column]
            for baseline, (label, line) in BASELINES.items():
                curve = found.get((objective + side, f"gfn_vi.objectives.baselines.{baseline}"))
                if curve is not None:
                    draw_curve(cell, curve, statistic, colors[baseline], label, line)
            handles |= {label: handle for handle, label in zip(*cell.get_legend_handles_labels(), strict=True)}
            failed = n_failed(curve for (arm, _), curve in found.items() if arm == objective + side)
            cell.set_title("\n".join([*([name] if row == 0 else []), *([failed] if failed else [])]))
        axes[row, 0].set_ylabel(f"{when}\nJensen-Shannon divergence")
    axes[0, 0].set_yscale("log")
    for cell in axes[1]:
        cell.set_xlabel(X_LABELS[x])
        cell.xaxis.set_major_formatter(EngFormatter(sep=""))
        cell.set_xlim(left=0)
    page.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5, **style.LEGEND)
    return page
