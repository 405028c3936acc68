"""The committed results of experiments: exporting runs to them, and drawing a figure from them alone.

The files and what is in them: reading/committed.py. A figure.py says what its figure and its claims need: METRICS (names, all
without it), AT_END (names of which the last evaluation is enough) and FIRST_REPLICA (arrays of which only the first replica is
shown); the arrays are those that it looks at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from gfn_vi.analysis import experiments
from gfn_vi.core.command_line import command
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import NoRunsError, TableError

if TYPE_CHECKING:
    from gfn_vi.analysis.reading.committed import Committed

RESULTS = "results"
LARGEST = 4_000_000  # bytes of a file that a repository should have


def results_of(experiment: Path, preset: str | None) -> Path:
    """Return the folder of the committed results: results/, or results/<preset> for another size than the standard one."""
    return experiment / RESULTS / ("" if preset in (None, experiments.STANDARD_PRESET) else preset)


def export(experiment: Path, folder: Path, preset: str | None, anew: bool, say: Callable[[str], object]) -> list[Path]:
    """Add the finished runs under `folder` to the committed results, draw and count these anew, and return the paths written.

    anew: leave out what is committed already. Everything is made aside first: where something is refused, the old results stay.
    Raises TableError for runs that are missing or do not fit together.
    """
    from gfn_vi.analysis.reading.committed import Watched, finished_runs, read_committed, write_committed
    from gfn_vi.analysis.reading.weights import rows_behind
    from gfn_vi.runs.reading import RunArrays

    place = results_of(experiment, preset)
    found = finished_runs(folder, RunArrays(folder))
    try:
        known = None if anew else read_committed(place)
    except NoRunsError:
        known = None
    results = found if known is None else known.joined(found)
    say(_counted(results, known, found))
    module = experiments.load_figure(experiment)
    material = _material(module, results, say)
    table = material.table
    if hasattr(module, "METRICS"):
        table = rows_behind(table, module.METRICS, getattr(module, "AT_END", ()))
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".export") as name:
        aside = Path(name)
        arrays = Watched(results.arrays)
        experiments.paint(
            module,
            experiments.Material(table, arrays, material.headlines, material.remark),
            aside,
            redrawn_by(experiment, preset),
        )
        experiments.claims_of(experiment, aside, material.remark)
        (aside / "table.csv").unlink()
        looked_at = set().union(*arrays.seen.values())  # of any run: figures ask all runs whether they have them
        kept = {run: sorted(looked_at & set(results.arrays[run])) for run in arrays.seen}
        write_committed(aside, results, table, kept, getattr(module, "FIRST_REPLICA", ()))
        (place / ARRAYS).unlink(missing_ok=True)  # there may be none any more
        written = [path.replace(place / path.name) for path in sorted(aside.iterdir())]
    for path in written:
        if path.stat().st_size > LARGEST:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            say(f"{path}: {size} are much for a repository; METRICS and FIRST_REPLICA in figure.py leave out what is not drawn")
    return written


def draw_results(
    experiment: Path, preset: str | None, folder: Path, options: Mapping[str, str], say: Callable[[str], object]
) -> list[Path]:
    """Draw the figure of the committed results into `folder`, with its numbers, and return the paths written.

    Where nothing else is asked for than was committed, a line says whether the picture is the same to the pixel.
    """
    from gfn_vi.analysis.reading.committed import read_committed

    place = results_of(experiment, preset)
    module = experiments.load_figure(experiment, options)
    try:
        results = read_committed(place)
    except NoRunsError as error:
        words = f"experiment={experiment.name}" + (f" preset={preset}" if preset else "")
        remedy = f"train with {command('train')} -m {words}, then {command('figure')} {words} export=add"
        raise TableError(f"{error}: nothing to draw without a run; {remedy}") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = experiments.paint(module, _material(module, results, say), folder, redrawn_by(experiment, preset), options)
    if not options and (place / "figure.png").is_file():
        say(_compared(folder / "figure.png", place / "figure.png"))
    return written


def redrawn_by(experiment: Path, preset: str | None) -> str:
    """Return the command that draws the committed figure again, as it stands in the figure."""
    return f"gfn-vi-figure experiment={experiment.name}{f' preset={preset}' if preset else ''} source=results"


def _material(module: SimpleNamespace, results: Committed, say: Callable[[str], object]) -> experiments.Material:
    from gfn_vi.analysis.reading.seeds import without_repeats
    from gfn_vi.analysis.reading.table import tabulate
    from gfn_vi.runs.presets import remark

    runs, remarks = without_repeats(results.runs)
    for line in remarks:
        say(line)
    about = remark({run.config.get("preset_name") for run in runs})
    table = tabulate(runs, getattr(module, "CONFIG_KEYS", ()))
    return experiments.Material(table, results.arrays, results.headlines(), about)


def _counted(results: Committed, known: Committed | None, found: Committed) -> str:
    n, there = len(found.runs), 0 if known is None else len(known.runs)
    added = len(results.runs) - there
    told = f"{n} finished run{'s' * (n != 1)}, {added} added to {there} in the results"
    return told + (f", {n - added} there already (kept as they are)" if n > added else "")


def _compared(drawn: Path, committed: Path) -> str:
    """Return in a line whether two pictures are the same to the pixel, and with which versions of matplotlib they were drawn."""
    import numpy as np
    from PIL import Image

    with Image.open(drawn) as one, Image.open(committed) as other:
        by = [str(image.info.get("Software", "an unknown program")) for image in (one, other)]
        same = one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))
    if same:
        return f"the same to the pixel as {committed}"
    why = "other" if by[0] == by[1] else f"drawn by {by[0]}, the other by {by[1]}; other"
    return f"{why} pixels than {committed}"
