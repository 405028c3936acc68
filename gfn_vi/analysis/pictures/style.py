"""One look for all figures, and one way to save them.

Sizes are those of the printed page: a figure is made as wide as it is printed (WIDTH, inches), and 8 points stay 8.
The font comes with matplotlib, so that a figure has the same bytes on every machine with the same versions.
"""

from __future__ import annotations

import logging
import re
import shlex
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.command_line import command
from gfn_vi.core.reliability import LARGEST_K, LEAST_EFFECTIVE
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.presets import remark_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.transforms import Bbox

logger = logging.getLogger(__name__)

WIDTH = 7.0  # inches; the text width of a two-column page
DPI = 300
PLACES = 9  # decimals of where axes are, in widths and heights of the page
BAND_ALPHA = 0.16
SEQUENTIAL = "viridis"
PROBABILITY = "Blues"  # of what is there or not: 0 is the white of the page
# Fonts of the machine for characters that the own one has not; nothing else is drawn with them.
FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei", "Hiragino Sans", "Arial Unicode MS")
GLYPH = re.compile(r"Glyph (\d+) \(.*\) missing from")
MOST_GLYPHS = 12  # that are shown
NOTE_SIZE, NOTE_COLOR = 7, "#a8201a"  # points; of what a reader must not miss
WEAK = "weak"
ABOUT_WEAK = f"Hollow, no band: may be far off, importance weights worth < {LEAST_EFFECTIVE} samples or Pareto k > {LARGEST_K}."
LEGEND: dict[str, Any] = {"handlelength": 1.2, "columnspacing": 1.1, "handletextpad": 0.4}


@contextmanager
def paper() -> Iterator[None]:
    """Draw and save inside this: seaborn's "ticks" and "paper" with the sizes of paper.mplstyle, restored afterwards."""
    import matplotlib.font_manager
    import matplotlib.style
    import seaborn

    with matplotlib.rc_context(seaborn.axes_style("ticks") | seaborn.plotting_context("paper")):
        matplotlib.style.use(str(files("gfn_vi.analysis.pictures") / "paper.mplstyle"))
        installed = set(matplotlib.font_manager.fontManager.get_font_names())
        matplotlib.rcParams["font.sans-serif"] += [name for name in FALLBACKS if name in installed]
        yield


def palette(n: int) -> list[tuple[float, float, float]]:
    """n colors that the color-blind can tell apart (up to 10; then they repeat), close ones far apart in the order."""
    import seaborn

    colors = seaborn.color_palette("colorblind", 10)
    order = (0, 9, 2, 3, 4, 1, 7, 8, 5, 6)  # the first two are a dark and a light blue: two ways of one method
    return [colors[order[position % 10]] for position in range(n)]


def contrast() -> list[tuple[float, float, float]]:
    """Return the colors of what was learned and of what is right."""
    return palette(4)[::3]


def mark_weak(axes: Axes, x: Any, y: Any, color: Any, marker: str = "o") -> None:
    """Draw hollow points where a number rests on importance weights that do not carry it; `has_weak` finds them."""
    if len(x):
        look: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": 4, "markerfacecolor": "white", "zorder": 3}
        axes.plot(x, y, color=color, label="_weak", gid=WEAK, **look)


def has_weak(figure: Figure) -> bool:
    """Return whether hollow points were drawn in any panel."""
    return any(line.get_gid() == WEAK for axes in figure.get_axes() for line in axes.lines)


def note(figure: Figure, text: str) -> None:
    """Write a sentence below all panels; several stand below each other."""
    before = figure.get_supxlabel()
    width = int(figure.get_figwidth() * 72 / (NOTE_SIZE * 0.54))
    told = "\n".join(textwrap.wrap(text, width))
    figure.supxlabel(f"{before}\n{told}" if before else told, fontsize=NOTE_SIZE, color=NOTE_COLOR)


def save_of_run(figures: Mapping[str, Figure], directory: Path, digest: str) -> str:
    """Save figures, by their stems, that were drawn from the arrays of a run in its directory; return the files in words."""
    remark = remark_on(directory)
    for stem, figure in figures.items():
        if remark:
            note(figure, remark)
        save(figure, directory / stem, digest, f"{command('pictures')} {shlex.quote(str(directory))}", source=ARRAYS)
    return f"{', '.join(f'{stem}.png' for stem in figures)} (and .pdf)"


@contextmanager
def _glyphs_in_one_line(name: str) -> Iterator[None]:
    """Say once which characters of a figure no font has, where matplotlib warns of each; all other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    missing: dict[str, None] = {}
    for warning in caught:
        glyph = GLYPH.match(str(warning.message))
        if glyph is not None:
            missing[chr(int(glyph[1]))] = None
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        shown = "".join(list(missing)[:MOST_GLYPHS]) + (" and others" if len(missing) > MOST_GLYPHS else "")
        found = f"no font here has {len(missing)} of its characters ({shown}), boxes stand for them"
        logger.warning("figure %s: %s; other names of nodes, columns or runs would be shown", name, found)


def save(figure: Figure, stem: str | Path, digest: str, drawn_by: str, source: str = "table") -> tuple[Path, Path]:
    """Write <stem>.pdf and <stem>.png; both name in their metadata what they were drawn from and how, and hold no date.

    source: what the digest is of; a figure of an experiment is drawn from a table.
    """
    import matplotlib

    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf, png = stem.with_name(f"{stem.name}.pdf"), stem.with_name(f"{stem.name}.png")
    origin, software = f"{source} {digest}; {drawn_by}", f"gfn_vi, matplotlib {matplotlib.__version__}"
    with matplotlib.rc_context({"pdf.fonttype": 42}), _glyphs_in_one_line(stem.name):
        _settle(figure)
        figure.savefig(pdf, metadata={"Subject": origin, "Keywords": digest, "Creator": software, "CreationDate": None})
        figure.savefig(png, dpi=DPI, metadata={"Description": origin, "Software": software})
    return pdf, png


def _settle(figure: Figure) -> None:
    """Put the axes where the layout wants them on the page at DPI, rounded to PLACES, and end the layout.

    The layout finds places that differ by 1e-16 from process to process (matplotlib 3.11), and pixels at edges differ with them.
    """
    from matplotlib.transforms import Bbox

    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for place in _places(figure):
        place.set_points(place.get_points().round(PLACES))
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(PLACES)))


def _places(figure: Figure | SubFigure) -> Iterator[Bbox]:
    """Yield the places of all subfigures, of outer ones before those in them."""
    for part in figure.subfigs:
        yield part.bbox_relative
        yield from _places(part)
