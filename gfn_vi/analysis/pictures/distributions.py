"""What a run over states that can be listed has learned, beside its target: heatmaps of a plane, elsewhere a state as a point.

A replica has a picture of its own: a mean over replicas would cover modes that no replica covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDED = ("states", "target", "learned")
MOST_PICTURED = 5  # replicas
MOST_TICKS = 4  # intervals between them on an axis of cells
SMALLEST = 1e-12  # probability that a point shows; what is below stands there


def distribution_figure(arrays: dict[str, np.ndarray]) -> Figure:
    """Return a figure of `states` [S, *state], `target` [S] and `learned` [R, S]. Raises TableError without a finite replica."""
    shown = np.isfinite(arrays["learned"]).all(1).nonzero()[0][:MOST_PICTURED]
    if not len(shown):
        raise TableError("every replica became non-finite, there is no learned distribution to show")
    titles = ["learned"] if len(arrays["learned"]) == 1 else [f"replica {r}" for r in shown]
    learned = dict(zip(titles, arrays["learned"][shown], strict=True))
    draw = _heatmaps if arrays["states"].shape[1:] == (2,) else _points
    return draw(arrays["states"], arrays["target"], learned)


def _heatmaps(states: np.ndarray, target: np.ndarray, learned: dict[str, np.ndarray]) -> Figure:
    """Draw the target and each replica on one color scale, which ends where the target does."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    pictures = {"target": target, **learned}
    width = style.WIDTH * len(pictures) / (1 + MOST_PICTURED)
    figure = Figure(figsize=(max(width, style.WIDTH / 2), style.WIDTH / 4), layout="constrained")
    places: Any = figure.subplots(1, len(pictures), sharex=True, sharey=True, squeeze=False)[0]
    top = float(target.max())
    for axes, (title, probability) in zip(places, pictures.items(), strict=True):
        picture = np.full(tuple(states.max(0) + 1), np.nan)
        picture[states[:, 0], states[:, 1]] = probability
        look: dict[str, Any] = {"origin": "lower", "interpolation": "nearest", "cmap": style.SEQUENTIAL}
        image = axes.imshow(picture.T, vmin=0, vmax=top, **look)
        axes.set(title=title, xlabel="$x_0$")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(MOST_TICKS, integer=True))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)  # a line on the edge would hide half of the outermost cells
    places[0].set_ylabel("$x_1$")
    brightest = max(float(probability.max()) for probability in learned.values())
    bar = figure.colorbar(image, ax=places, shrink=0.8, extend="max" if brightest > 1.001 * top else "neither")
    bar.set_label("probability")
    return figure


def _points(states: np.ndarray, target: np.ndarray, learned: dict[str, np.ndarray]) -> Figure:
    """Draw log P_T against the log of the target, a point for each object: on the diagonal they are equal."""
    from matplotlib.figure import Figure

    ends = target > 0  # states that cannot stop are no objects
    figure = Figure(figsize=(style.WIDTH / 2, style.WIDTH / 2), layout="constrained")
    axes: Axes = figure.subplots()
    low = max(float(target[ends].min()) / 10, SMALLEST)
    for color, (title, probability) in zip(style.palette(len(learned)), learned.items(), strict=True):
        shown = np.maximum(probability[ends], low)
        axes.scatter(target[ends], shown, s=4, alpha=0.5, linewidths=0, color=color, label=title, rasterized=True)
    axes.axline((low, low), slope=1, color="0.4", linewidth=0.6)
    axes.set(xscale="log", yscale="log", xlabel="target", ylabel="learned $P_T$")
    if len(learned) > 1:
        axes.legend(markerscale=2)
    return figure
