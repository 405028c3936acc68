"""Pictures of learned distributions on grids of two dimensions, one replica each, on one color scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import style
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import needed_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Arrays = Mapping[str, Mapping[str, np.ndarray]]  # run -> states [S, 2], target [S], learned [R, S]
TARGET = "target"


def learned_pictures(table: pd.DataFrame, arrays: Arrays, arms: Iterable[str], replica: int = 0) -> dict[str, np.ndarray]:
    """arm -> picture of what a replica of its first run has learned, and "target"; {} where no run left arrays.

    Never a mean over replicas: that would cover modes that no replica covers. Raises TableError for a run without arrays
    beside others that have them, and for a space that is no grid of two dimensions.
    """
    if not len(arrays):
        return {}
    pictures: dict[str, np.ndarray] = {}
    for arm in arms:
        content = _arrays_of(table, arrays, arm)
        if TARGET not in pictures:
            pictures[TARGET] = grid_picture(content["states"], content["target"])
        pictures[arm] = grid_picture(content["states"], content["learned"][replica])
    return pictures


def _arrays_of(table: pd.DataFrame, arrays: Arrays, arm: str) -> Mapping[str, np.ndarray]:
    run = min(set(table.loc[(table["arm"] == arm) & (table["state"] == "done"), "run"]))
    return needed_arrays(arrays, run, ("states", "learned", "target"))


def grid_picture(states: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """States [S, 2] and their probability [S] as an image [row = second coordinate, column = first]."""
    if states.shape[1] != 2:
        raise TableError(f"pictures need a grid of 2 dimensions, found {states.shape[1]} (target.n_dims)")
    picture = np.full(tuple(states.max(0)[::-1] + 1), np.nan)
    picture[states[:, 1], states[:, 0]] = probability
    return picture


def draw_pictures(cells: Mapping[Axes, tuple[str, np.ndarray, Any]], top: float, beside: Axes) -> None:
    """Draw each cell's picture under its title, framed in its color (None: thin and dark), on a scale from 0 to `top`.

    The color bar stands to the right of the cell `beside`, with an arrow where a picture exceeds the scale.
    """
    brightest = top
    for axes, (title, picture, color) in cells.items():
        image = axes.imshow(picture, origin="lower", cmap=style.SEQUENTIAL, vmin=0, vmax=top, interpolation="nearest")
        brightest = max(brightest, float(np.max(picture, initial=0, where=np.isfinite(picture))))
        axes.set_title(title, fontsize=7, linespacing=1.0, pad=3)
        axes.set(xticks=[], yticks=[])
        _frame(axes, color)
    axes_of_bar = beside.inset_axes((1.08, 0, 0.07, 1))
    bar = beside.figure.colorbar(image, cax=axes_of_bar, extend="max" if brightest > 1.001 * top else "neither")
    bar.set_label("Probability", fontsize=7)


def _frame(axes: Axes, color: Any) -> None:
    """Show the ground of the axes around its image: spines, drawn on the edge, would hide half of the outermost cells."""
    axes.spines[:].set_visible(False)
    axes.set_facecolor("0.2" if color is None else color)
    axes.use_sticky_edges = False  # of an image, which knows no margins
    axes.margins(0.01 if color is None else 0.02)
