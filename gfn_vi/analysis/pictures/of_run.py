"""The one picture that fits a finished run, by what it has left in arrays.npz."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.analysis.pictures import densities, distributions, style
from gfn_vi.analysis.pictures.found_molecules import MOLECULES
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import DRAWABLE, read_arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "picture"  # the file's stem
SCREEN_DPI = 130  # of a notebook's picture


def report(directory: Path, with_pictures: bool) -> str:
    """Write what `picture_of_run` draws, if pictures are wanted, into the directory; return in words which files they are.

    Raises TableError for a run that has left nothing to draw, OSError where the files cannot be written.
    """
    if not with_pictures:
        return ""
    digest = read_arrays(directory)[1]
    with style.paper():
        return f"files of the directory below: {style.save_of_run({PICTURE: _figure(directory)}, directory, digest)}"


def picture_of_run(directory: Path) -> Figure:
    """Return probabilities of edges, samples of a density, molecules, or a distribution over states, as a figure.

    A notebook shows it. Raises TableError for a run that has left nothing to draw.
    """
    with style.paper():
        figure = _figure(directory)
    # what notebooks ask of an object; matplotlib answers only after pyplot was imported
    vars(figure)["_repr_png_"] = partial(_as_png, figure)
    return figure


def _figure(directory: Path) -> Figure:
    arrays, _ = read_arrays(directory)
    if densities.SAMPLES in arrays:
        return densities.sample_figure(densities.one_replica(arrays))
    if MOLECULES in arrays:
        return _molecules(directory)
    if "edges_learned" in arrays:
        from gfn_vi.analysis.pictures.edge_pictures import edge_figure
        from gfn_vi.analysis.pictures.found_graphs import read_graphs

        return edge_figure(read_graphs(directory))
    if all(name in arrays for name in distributions.NEEDED):
        return distributions.distribution_figure(arrays)
    if "nodes" in arrays:
        return _line(arrays)
    raise TableError(f"{directory / ARRAYS} holds nothing to draw: expected {DRAWABLE}")


def _line(arrays: dict[str, Any]) -> Figure:
    """Return the densities on a line of a run that has left no samples: those of the first replica with finite ones."""
    import numpy as np
    from matplotlib.figure import Figure

    learned = np.asarray(arrays["learned_density"])
    shown = arrays | {"learned_density": learned[np.isfinite(learned).all(1).argmax()]}
    figure = Figure(figsize=(style.WIDTH, style.WIDTH / 3), layout="constrained")
    densities.line(figure.subplots(), shown, "$x$")
    return figure


def _molecules(directory: Path) -> Figure:
    """Return RDKit's picture of the best molecules as a figure. Raises TableError without RDKit."""
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    from gfn_vi.analysis.pictures.found_molecules import read_molecules, together

    try:
        from gfn_vi.analysis.pictures.structures import png_of_best
    except ModuleNotFoundError as error:
        if error.name != "rdkit":
            raise
        raise TableError("molecules are drawn by RDKit, which is not installed: pip install 'gfn_vi[molecules]'") from error
    picture = imread(io.BytesIO(png_of_best(together(read_molecules(directory)[0]))))
    height, width = picture.shape[:2]
    figure = Figure(figsize=(style.WIDTH, style.WIDTH * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture)
    axes.set_axis_off()
    return figure


def _as_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with style.paper():
        figure.savefig(content, format="png", dpi=SCREEN_DPI)
    return content.getvalue()
