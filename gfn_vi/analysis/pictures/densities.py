"""What a run over a density has found, for people: pictures of samples and trajectories, and intervals of named coordinates.

All is read from arrays.npz. On a line densities are drawn, in a plane samples over the contours of the target, elsewhere
marginals and pairs of coordinates; beside exact samples, or references, where there are any. A replica whose samples are not
finite is drawn only where none has finite ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.analysis.pictures import style
from gfn_vi.core.reliability import MARK, Weights, doubt, names_of
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES = "samples"  # the array that only runs over densities have
# Arrays of samples of the target, of which a run has at most one, and what a picture calls them.
TARGETS = {"exact_samples": "exact samples", "reference_samples": "reference samples"}
OF_REPLICAS = (SAMPLES, "log_weights", "trajectories", *TARGETS, "learned_density")
INTERVALS = "coordinates.csv"
MOST_COORDINATES, MOST_ROWS, MOMENTS = 4, 20, 5
CONTOUR_DROPS = (8.0, 6.0, 4.0, 2.0, 1.0, 0.25)  # nats below the highest point of the target


def report(directory: Path, with_pictures: bool) -> str:
    """Write coordinates.csv where coordinates have names, draw the pictures if asked for, and return what to tell of them.

    Raises TableError for a run without arrays, OSError where the files cannot be written.
    """
    arrays, digest = read_arrays(directory)
    if SAMPLES not in arrays:
        raise TableError(f"{directory / ARRAYS} holds no samples of a density: expected a run with a target like gmm25")
    lines, files = [], []
    if "coordinate_names" in arrays:
        lines, files = [coordinate_lines(arrays, directory / INTERVALS)], [INTERVALS]
    if with_pictures:
        shown = one_replica(arrays)
        with style.paper():
            drawn = {"samples": sample_figure(shown), "trajectories": trajectory_figure(shown)}
            files.append(style.save_of_run(drawn, directory, digest))
    return "\n".join([*lines, *([f"files of the directory below: {', '.join(files)}"] if files else [])])


def coordinate_lines(arrays: dict[str, Any], path: Path) -> str:
    """Write mean, standard deviation and quantiles of every coordinate by importance weights, and return the first rows.

    Samples of all replicas with finite weights count together, each with its normalized weight, so that the numbers are those
    of the target, as far as the weights carry them (core/reliability.py): where they do not, the column `reliable` is no and the
    rows have no intervals. Raises TableError without such replicas.
    """
    import pandas as pd

    log_weights = arrays["log_weights"].astype(float)
    kept = np.isfinite(log_weights.max(1))
    if not kept.any():
        raise TableError("no replica has finite weights, so there are no intervals")
    samples = arrays[SAMPLES][kept].reshape(-1, arrays[SAMPLES].shape[-1]).astype(float)
    weights = np.exp(log_weights[kept] - log_weights[kept].max(1, keepdims=True))
    share = (weights / weights.sum(1, keepdims=True)).reshape(-1) / kept.sum()
    mean = share @ samples
    table = pd.DataFrame({"coordinate": arrays["coordinate_names"], "mean": mean})
    table["std"] = np.sqrt(share @ (samples - mean) ** 2)
    for level in (0.025, 0.5, 0.975):
        table[f"quantile_{level}"] = np.quantile(samples, level, axis=0, weights=share, method="inverted_cdf")
    effective, k = float(1 / (share**2).sum()), float(arrays.get(names_of("sampled")[1], np.full(len(kept), -np.inf))[kept].max())
    weak = doubt([Weights(effective, k)])
    told = f"by importance weights, worth {effective:.3g} of {len(share)} samples"
    if weak is not None:
        told = f"{MARK} no intervals, and means may be far off: importance weights {weak} (of {len(share)} samples); "
        told += "train longer (trainer.n_trajectories)"
    table["reliable"] = "yes" if weak is None else "no"
    table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    shown = table.drop(columns="reliable")
    if weak is not None:
        shown = pd.DataFrame({"coordinate": table["coordinate"], "mean": table["mean"].map(f"{{:.3g}} {MARK}".format)})
    more = [f"... and {len(table) - MOST_ROWS} more"] if len(table) > MOST_ROWS else []
    rows = shown.head(MOST_ROWS).to_string(index=False, float_format="{:.3g}".format)
    return "\n".join([rows, *more, *arrays.get("about_coordinates", ()), told])


def one_replica(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays without the replica axis: of the first replica whose samples are finite, else of the first one."""
    replica = np.isfinite(arrays[SAMPLES]).all((1, 2)).argmax()
    return {name: array[replica] if name in OF_REPLICAS else array for name, array in arrays.items()}


def sample_figure(arrays: dict[str, Any]) -> Figure:
    """Return a figure of what was learned beside the target: densities on a line, samples over contours, or pairs."""
    from matplotlib.figure import Figure

    sets = {"samples of $P_T$": arrays[SAMPLES]}
    sets |= {label: arrays[name] for name, label in TARGETS.items() if name in arrays}
    names = coordinates(arrays)
    if "nodes" in arrays:
        figure = Figure(figsize=(style.WIDTH, style.WIDTH / 3), layout="constrained")
        line(figure.subplots(), arrays, names[0])
    elif "grid" in arrays:
        figure = Figure(figsize=(style.WIDTH / 2 * len(sets), style.WIDTH / 2), layout="constrained")
        places = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (label, points) in zip(places, sets.items(), strict=True):
            n_inside = scatter(axes, arrays, points, size=2, alpha=0.5)
            outside = f", {len(points) - n_inside} outside" if n_inside < len(points) else ""
            axes.set(title=f"{label}{outside}", xlabel=names[0], ylabel=names[1])
    else:
        figure = Figure(figsize=(style.WIDTH, style.WIDTH * len(names) / MOST_COORDINATES), layout="constrained")
        pairs(figure, sets, names)
    return figure


def coordinates(arrays: dict[str, Any]) -> list[str]:
    """Return what the first few coordinates are called."""
    dim = arrays[SAMPLES].shape[-1]
    return list(arrays.get("coordinate_names", [f"$x_{{{i}}}$" for i in range(dim)]))[:MOST_COORDINATES]


def line(axes: Axes, arrays: dict[str, Any], name: str) -> None:
    """Draw the density of P_T and that of the target where they are more than a thousandth of the highest value."""
    learned, target, nodes = (arrays[key] for key in ("learned_density", "target_density", "nodes"))
    for color, label, density in zip(style.contrast(), ("density of $P_T$", "target"), (learned, target), strict=True):
        axes.plot(nodes, density, color=color, label=label)
    shown = nodes[np.fmax(learned, target) > target.max() / 1000]
    axes.set(xlabel=name, ylabel="density", xlim=(shown[0], shown[-1]))
    axes.legend()


def pairs(figure: Figure, sets: dict[str, Any], names: list[str]) -> None:
    """Draw each coordinate of the sets as a histogram, and two of them as points; limits are those of the last set."""
    low, high = np.nanquantile([*sets.values()][-1], [0.01, 0.99], axis=0)
    low, high = low - (high - low) / 4, high + (high - low) / 4
    grid: Any = figure.subplots(len(names), len(names), squeeze=False)
    for (i, j), axes in np.ndenumerate(grid):
        axes.set(visible=j <= i, xlim=(low[j], high[j]), ylabel=names[i] if j == 0 < i else None)
        for color, (label, points) in zip(style.contrast(), sets.items(), strict=False):
            if i == j:
                axes.hist(points[:, j], bins=60, range=(low[j], high[j]), density=True, histtype="step", color=color, label=label)
                axes.set_yticks([])
            elif j < i:
                axes.scatter(points[:, j], points[:, i], s=1, alpha=0.3, linewidths=0, color=color, rasterized=True)
                axes.set_ylim(low[i], high[i])
        if i == len(names) - 1:
            axes.set_xlabel(names[j])
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="upper right")


def trajectory_figure(arrays: dict[str, Any]) -> Figure:
    """Return a strip over time: in a plane where trajectories are after equal numbers of steps, else paths of coordinates."""
    from matplotlib.figure import Figure

    paths = arrays["trajectories"]  # [n, T + 1, d]
    n_steps = paths.shape[1] - 1
    if "grid" in arrays:
        steps = np.unique(np.linspace(0, n_steps, MOMENTS).round().astype(int))
        figure = Figure(figsize=(style.WIDTH, style.WIDTH / len(steps) + 0.3), layout="constrained")
        for axes, k in zip(figure.subplots(1, len(steps), sharex=True, sharey=True, squeeze=False)[0], steps, strict=True):
            scatter(axes, arrays, paths[:, k], size=3, alpha=1.0)
            axes.set(title=f"step {k} of {n_steps}", xticks=[], yticks=[])
        return figure
    names = coordinates(arrays)
    figure = Figure(figsize=(style.WIDTH, style.WIDTH / MOST_COORDINATES + 0.3), layout="constrained")
    for j, axes in enumerate(figure.subplots(1, len(names), squeeze=False)[0]):
        axes.plot(paths[:, :, j].T, color=style.contrast()[0], alpha=0.15, linewidth=0.4)
        axes.set(xlabel="step", title=names[j])
    return figure


def scatter(axes: Axes, arrays: dict[str, Any], points: np.ndarray, size: float, alpha: float) -> int:
    """Draw points [n, 2] over contours of the target, and return how many of them are inside."""
    contours(axes, arrays)
    axes.scatter(points[:, 0], points[:, 1], s=size, color=style.contrast()[0], alpha=alpha, linewidths=0, rasterized=True)
    low, high = arrays["grid"][:, 0], arrays["grid"][:, -1]
    axes.set(aspect="equal", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return int(((points >= low) & (points <= high)).all(1).sum())


def contours(axes: Axes, arrays: dict[str, Any]) -> None:
    """Draw contours of the target, at stated drops of log R below its highest point on the grid."""
    log_density = arrays["log_density"]
    levels = [log_density.max() - drop for drop in CONTOUR_DROPS]
    axes.contour(*arrays["grid"], log_density.T, levels=levels, colors="0.6", linewidths=0.4, linestyles="solid")
