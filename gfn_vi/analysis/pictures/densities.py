"""What a run over a density has found, for people: pictures of samples and trajectories, and intervals of named coordinates.

All is read from arrays.npz. In a plane samples are drawn over the contours of the target, elsewhere as marginals and pairs of
coordinates, beside exact samples where there are any.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.core.command_line import command
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNED = "samples of $P_T$"
SAMPLES = "samples"  # the array that only runs over densities have
PICTURES = ("samples", "trajectories")
INTERVALS = "coordinates.csv"
MOST_COORDINATES, MOST_ROWS, MOMENTS = 4, 20, 5
CONTOUR_DROPS = (8.0, 6.0, 4.0, 2.0, 1.0, 0.25)  # nats below the highest point of the target


def report(directory: Path, with_pictures: bool) -> str:
    """Write coordinates.csv where coordinates have names, draw the pictures if asked for, and return what to tell of them.

    Raises TableError for a run without arrays, OSError where the files cannot be written.
    """
    content, digest = read_arrays(directory)
    arrays: dict[str, Any] = dict(content)
    if SAMPLES not in arrays:
        raise TableError(f"{directory / ARRAYS} holds no samples of a density: expected a run with a target like gmm25")
    lines, files = [], []
    if "coordinate_names" in arrays:
        lines, files = [coordinate_lines(arrays, directory / INTERVALS)], [INTERVALS]
    if with_pictures:
        draw(arrays, directory, digest)
        files.append(f"{', '.join(f'{stem}.png' for stem in PICTURES)} (and .pdf)")
    return "\n".join([*lines, *([f"files of the directory below: {', '.join(files)}"] if files else [])])


def coordinate_lines(arrays: dict[str, Any], path: Path) -> str:
    """Write mean, standard deviation and quantiles of every coordinate by importance weights, and return the first rows.

    Samples of all replicas count together, each with its normalized weight, so that the numbers are those of the target.
    """
    import pandas as pd

    samples = arrays["samples"].reshape(-1, arrays["samples"].shape[-1]).astype(float)
    log_weights = arrays["log_weights"].astype(float)
    weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
    share = (weights / weights.sum(1, keepdims=True)).reshape(-1) / len(log_weights)
    mean = share @ samples
    table = pd.DataFrame({"coordinate": arrays["coordinate_names"], "mean": mean})
    table["std"] = np.sqrt(share @ (samples - mean) ** 2)
    for level in (0.025, 0.5, 0.975):
        table[f"quantile_{level}"] = [_quantile(column, share, level) for column in samples.T]
    table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    more = f"\n... and {len(table) - MOST_ROWS} more" if len(table) > MOST_ROWS else ""
    return table.head(MOST_ROWS).to_string(index=False, float_format="{:.3g}".format) + more


def _quantile(values: np.ndarray, share: np.ndarray, level: float) -> float:
    """The smallest value below which at least `level` of the weight lies, itself included."""
    order: Any = np.argsort(values)
    position = np.searchsorted(np.cumsum(share[order]), level)
    return float(values[order[min(position, len(values) - 1)]])


def draw(arrays: dict[str, Any], directory: Path, digest: str) -> list[Path]:
    """Draw samples and trajectories of the first replica, each as .pdf and .png, and return the paths."""
    from gfn_vi.analysis.pictures import style

    drawn_by = f"{command('pictures')} {shlex.quote(str(directory))}"
    paths: list[Path] = []
    with style.paper():
        for stem, figure in zip(PICTURES, (sample_figure, trajectory_figure), strict=True):
            paths += style.save(figure(arrays), directory / stem, digest, drawn_by, source=ARRAYS)
    return paths


def sample_figure(arrays: dict[str, Any]) -> Figure:
    """Return a figure of the samples beside exact ones: over contours in a plane, else marginals and pairs."""
    from matplotlib.figure import Figure

    from gfn_vi.analysis.pictures import style

    sets = {LEARNED: arrays["samples"][0]}
    if "exact_samples" in arrays:
        sets["exact samples"] = arrays["exact_samples"][0]
    dim = min(arrays["samples"].shape[-1], MOST_COORDINATES)
    names = list(arrays.get("coordinate_names", [f"$x_{{{i}}}$" for i in range(arrays["samples"].shape[-1])]))
    if "grid" in arrays:
        figure = Figure(figsize=(style.WIDTH / 2 * len(sets), style.WIDTH / 2), layout="constrained")
        places = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (label, points) in zip(places, sets.items(), strict=True):
            contours(axes, arrays)
            axes.scatter(*points.T, s=2, color=style.palette(2)[0], alpha=0.5, linewidths=0, rasterized=True)
            axes.set(title=label, xlabel=names[0], ylabel=names[1], aspect="equal", **_limits(arrays))
        return figure
    figure = Figure(figsize=(style.WIDTH, style.WIDTH * dim / MOST_COORDINATES), layout="constrained")
    grid: Any = figure.subplots(dim, dim, squeeze=False)
    for i, j in np.ndindex(dim, dim):
        axes = grid[i, j]
        if j > i:
            axes.set_visible(False)
            continue
        _pair(axes, sets, arrays.get("exact_samples"), i, j)
        if i == dim - 1:
            axes.set_xlabel(names[j])
        if j == 0 and i > 0:
            axes.set_ylabel(names[i])
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right")
    return figure


def _pair(axes: Axes, sets: dict[str, Any], exact: Any, i: int, j: int) -> None:
    """Draw coordinate j of each set as a histogram where i = j, else both coordinates as points; limits as of exact samples."""
    from gfn_vi.analysis.pictures import style

    shown = sets[LEARNED] if exact is None else exact[0]
    low, high = np.nanquantile(shown, [0.001, 0.999], axis=0)
    low, high = low - (high - low) / 10, high + (high - low) / 10
    for color, (label, points) in zip(style.palette(2), sets.items(), strict=False):
        if i == j:
            axes.hist(points[:, j], bins=60, range=(low[j], high[j]), density=True, histtype="step", color=color, label=label)
            axes.set_yticks([])
        else:
            axes.scatter(points[:, j], points[:, i], s=1, alpha=0.3, linewidths=0, color=color, rasterized=True)
            axes.set_ylim(low[i], high[i])
    axes.set_xlim(low[j], high[j])


def trajectory_figure(arrays: dict[str, Any]) -> Figure:
    """Return a strip over time: in a plane where trajectories are after equal numbers of steps, else paths of coordinates."""
    from matplotlib.figure import Figure

    from gfn_vi.analysis.pictures import style

    paths = arrays["trajectories"][0]  # [n, T + 1, d]
    n_steps = paths.shape[1] - 1
    color = style.palette(1)[0]
    if "grid" in arrays:
        steps = np.unique(np.linspace(0, n_steps, MOMENTS).round().astype(int))
        figure = Figure(figsize=(style.WIDTH, style.WIDTH / len(steps) + 0.3), layout="constrained")
        for axes, k in zip(figure.subplots(1, len(steps), sharex=True, sharey=True, squeeze=False)[0], steps, strict=True):
            contours(axes, arrays)
            axes.scatter(*paths[:, k].T, s=3, color=color, linewidths=0, rasterized=True)
            axes.set(title=f"step {k} of {n_steps}", aspect="equal", xticks=[], yticks=[], **_limits(arrays))
        return figure
    dim = min(paths.shape[-1], MOST_COORDINATES)
    figure = Figure(figsize=(style.WIDTH, style.WIDTH / MOST_COORDINATES + 0.3), layout="constrained")
    for j, axes in enumerate(figure.subplots(1, dim, squeeze=False)[0]):
        axes.plot(paths[:, :, j].T, color=color, alpha=0.15, linewidth=0.4)
        axes.set(xlabel="step", title=f"$x_{{{j}}}$")
    return figure


def contours(axes: Axes, arrays: dict[str, Any]) -> None:
    """Draw contours of the target, at stated drops of log R below its highest point on the grid."""
    log_density, top = arrays["log_density"], arrays["log_density"].max()
    levels = [top - drop for drop in CONTOUR_DROPS]
    axes.contour(*arrays["grid"], log_density.T, levels=levels, colors="0.6", linewidths=0.4, linestyles="solid")


def _limits(arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
    (left, right), (bottom, top) = (axis[[0, -1]] for axis in arrays["grid"])
    return {"xlim": (left, right), "ylim": (bottom, top)}
