"""Panels of lines with intervals over replicas, in seaborn's words: colors are hue, dashes style, panels col and row.

Without a style dashes are hue, too: lines that coincide, and lines on paper without colors, can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.pictures.arms import label_of, uncapitalized
from gfn_vi.analysis.pictures.words import in_words
from gfn_vi.analysis.reading.groups import ALL_RUNS
from gfn_vi.analysis.reading.targets import by_number
from gfn_vi.core.errors import is_number
from gfn_vi.runs.folders import TableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_WIDTH = 3.25  # inches; a column of a two-column page
MOST_IN_A_ROW = 4  # panels that are still legible on one page
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
MARKER_SIZE = 4
FAR_APART = (0, 3, 2, 5, 4, 1, 6, 8, 9)  # of style.palette, without its yellow, which is too pale for a line
MOST_COLORS = len(FAR_APART)
MOST_TICKS = 8  # of the values of a setting
LARGE_RANGE = 50  # of values on a logarithmic axis
LEGEND_SIZE, POINTS_PER_CHARACTER, POINTS_OF_HANDLE = 7, 3.8, 22.0  # of a legend
DODGE, SMALL_DODGE = 0.5, 0.08  # of the distance of two settings: words, numbers


@dataclass(frozen=True)
class Look:
    """How a plot looks where the numbers do not decide it; None: they do.

    labels: "x", "y" and the names of roles -> words; orders: role -> texts; yscale, xscale: linear, log or symlog; sharey: one
    y-axis for all panels, for those of a "row" or of a "col"; width: inches of the figure; height: inches of a panel; col_wrap:
    panels in a row.
    """

    labels: Mapping[str, str]
    orders: Mapping[str, Sequence[str]]
    along_training: bool = True
    yscale: str | None = None
    xscale: str | None = None
    sharey: bool | str = True
    width: float | None = None
    height: float | None = None
    col_wrap: int | None = None


def draw_panels(numbers: pd.DataFrame, look: Look) -> Figure:
    """Draw the lines of statistics/lines.py: seaborn lays out the panels, each line has its interval as a band or a bar.

    Raises TableError for more colors or dashes than can be told apart.
    """
    import seaborn
    from matplotlib import pyplot

    numbers, look = _told_apart(numbers, look)
    colors, dashes = _looks(look)
    numbers, orders = _titled(numbers, look)
    n_columns = len(look.orders.get("col", [""]))
    wrap = (
        None
        if "row" in look.orders or n_columns == 1
        else look.col_wrap or math.ceil(n_columns / math.ceil(n_columns / MOST_IN_A_ROW))
    )
    shown = wrap or n_columns
    width = look.width or (COLUMN_WIDTH if shown == 1 else style.WIDTH)
    height = look.height or max(1.45, min(2.3, 0.8 * width / shown))
    grid = seaborn.FacetGrid(
        numbers,
        col="col" if "col" in look.orders else None,
        row="row" if "row" in look.orders else None,
        col_order=orders.get("col"),
        row_order=orders.get("row"),
        col_wrap=wrap if wrap and wrap < n_columns else None,
        height=height,
        aspect=width / shown / height,
        sharey=look.sharey,
        margin_titles="row" in look.orders and "col" in look.orders,
        despine=False,
    )
    page: Figure = grid.figure
    pyplot.close(page)  # it is saved, never shown
    places = _places(numbers) if not look.along_training else {}
    x_scale = look.xscale or ("linear" if look.along_training or places else scale_of_settings(numbers["x"]))
    for (row, column, _), rows in grid.facet_data():
        axes = grid.facet_axis(row, column, modify_state=False)
        _panel(axes, rows, look, colors, dashes, places, x_scale)
    _dress(grid, numbers, look, places, x_scale)
    page.set_layout_engine("constrained")
    _legend(page, look, colors, dashes, width, is_line=not places, has_markers=not look.along_training)
    heights = page.get_figheight()
    page.set_size_inches(width, heights + 0.16 * _legend_rows(look, width))
    return page


def _told_apart(numbers: pd.DataFrame, look: Look) -> tuple[pd.DataFrame, Look]:
    """Return both with the hues as styles, too, where nobody asked for a style: of lines that coincide each is seen.

    More hues than dashes are told apart by color alone.
    """
    hues = look.orders.get("hue", [])
    if "style" in look.orders or not 1 < len(hues) <= len(DASHES):
        return numbers, look
    return numbers.assign(style=numbers["hue"]), replace(look, orders={**look.orders, "style": hues})


def _titled(numbers: pd.DataFrame, look: Look) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the numbers and the orders of panels with titles in place of values."""
    panels = [role for role in ("col", "row") if role in look.orders]
    titles = {role: {text: _label(role, text, look) for text in look.orders[role]} for role in panels}
    told = {role: numbers[role].map(names) for role, names in titles.items()}
    return numbers.assign(**told), {role: list(names.values()) for role, names in titles.items()}


def _looks(look: Look) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return hue -> color, a scale where hues are numbers, and style -> dashes."""
    import seaborn

    hues, styles = look.orders.get("hue", [""]), look.orders.get("style", [""])
    if len(hues) > MOST_COLORS or len(styles) > len(DASHES):
        role, n, most = ("hue", len(hues), MOST_COLORS) if len(hues) > MOST_COLORS else ("style", len(styles), len(DASHES))
        name = look.labels.get(role, role)
        raise TableError(
            f"{role}: {name} has {n} values, of which nobody tells more than {most} apart: {role}_order=A,B,... or col="
        )
    is_scale = len(hues) > 2 and all(is_number(hue) for hue in hues)
    colors = seaborn.color_palette("viridis", len(hues) + 1)[: len(hues)] if is_scale else _readable(len(hues))
    return dict(zip(hues, colors, strict=True)), dict(zip(styles, DASHES, strict=False))


def _readable(n: int) -> list[Any]:
    return [style.palette(10)[place] for place in FAR_APART[:n]]


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    look: Look,
    colors: Mapping[str, Any],
    dashes: Mapping[str, Any],
    places: Mapping[Any, float],
    x_scale: str,
) -> None:
    cells = [(hue, dash) for hue in colors for dash in dashes]
    by_line = rows.assign(**{role: rows.get(role, "") for role in ("hue", "style")})
    at = {cell: set(by_line.loc[(by_line["hue"] == cell[0]) & (by_line["style"] == cell[1]), "x"]) for cell in cells}
    at = {cell: taken for cell, taken in at.items() if taken}
    for hue, dash in at:
        line = by_line[(by_line["hue"] == hue) & (by_line["style"] == dash)]
        color, weak = colors[hue], ~line["reliable"].to_numpy(dtype=bool)
        low, estimate, high = (line[name].to_numpy(dtype=np.float64) for name in ("low", "estimate", "high"))
        if look.along_training:
            x = line["x"].to_numpy(dtype=np.float64)
            axes.plot(x, estimate, color=color, linestyle=dashes[dash], marker="o" if len(x) == 1 else "")
            axes.fill_between(x, low, high, where=~weak, color=color, alpha=style.BAND_ALPHA, linewidth=0)
        else:
            beside = [other for other, taken in at.items() if taken & at[hue, dash]]
            shift = (beside.index((hue, dash)) - (len(beside) - 1) / 2) / len(beside)
            x = _beside(line["x"], shift, places, x_scale)
            order = np.argsort(x)
            x, low, estimate, high, weak = (values[order] for values in (x, low, estimate, high, weak))
            ends = np.where(weak, np.nan, np.stack([estimate - low, high - estimate]))
            marker = MARKERS[list(dashes).index(dash)]
            axes.plot(x, estimate, color=color, linestyle="" if places else dashes[dash], marker=marker, markersize=MARKER_SIZE)
            axes.errorbar(x, estimate, yerr=ends, fmt="none", ecolor=color, elinewidth=1)
        style.mark_weak(axes, x[weak], estimate[weak], color)


def _beside(values: pd.Series, shift: float, places: Mapping[Any, float], scale: str) -> np.ndarray:
    """Return where points of one line stand, a little beside those of others; shift: between -1/2 and 1/2, 0 without others."""
    if places:
        return np.array([places[value] + DODGE * shift for value in values])
    found = values.to_numpy(dtype=np.float64)
    if len(found) < 2:
        return found
    along = np.log(found) if scale == "log" else found
    along = along + SMALL_DODGE * shift * np.diff(np.sort(along)).min()
    return np.exp(along) if scale == "log" else along


def _places(numbers: pd.DataFrame) -> dict[Any, float]:
    """Return value of x -> place on the axis where the values are no numbers; {} where they are."""
    values = list(dict.fromkeys(numbers["x"]))
    if all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values):
        return {}
    return {value: float(place) for place, value in enumerate(sorted(values, key=lambda value: by_number(str(value))))}


def _dress(grid: Any, numbers: pd.DataFrame, look: Look, places: Mapping[Any, float], x_scale: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

    alone = "{col_name}" if "col" in look.orders else "{row_name}"
    grid.set_titles(alone, row_template="{row_name}", col_template="{col_name}")
    grid.set_axis_labels(look.labels["x"], look.labels["y"])
    for (row, column, _), rows in grid.facet_data():
        axes, shown = grid.facet_axis(row, column, modify_state=False), rows if look.sharey is False else numbers
        scale = look.yscale or scale_of(shown)
        if scale == "log" and not (shown["estimate"].dropna() > 0).all():
            name = look.labels["y"].replace("\n", " ")
            raise TableError(f"yscale=log: {name} is not positive everywhere; yscale=symlog or linear shows all of it")
        axes.set_yscale(scale)
        if look.sharey in (True, "row") and not axes.get_subplotspec().is_first_col():
            axes.tick_params(which="both", labelleft=False)  # of a short logarithmic axis minor ticks have labels, too
        if scale == "linear" and _is_whole(shown["estimate"]) and _is_whole(shown["low"]):
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if places:
            axes.set_xticks(list(places.values()), [wrapped(_choice(look.labels["x"], str(value))) for value in places])
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.grid(axis="x", visible=False)
            continue
        axes.set_xscale(x_scale)
        if numbers["x"].max() >= 1000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if x_scale == "linear" and look.along_training:
            axes.xaxis.set_major_locator(MaxNLocator(4))
            low, high = numbers["x"].min(), numbers["x"].max()
            if high > low:
                axes.set_xlim(0 if low < 0.05 * high else low, high + 0.01 * (high - low))
        elif not look.along_training and numbers["x"].nunique() <= MOST_TICKS:
            values = sorted(set(numbers["x"]))
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.minorticks_off()


def scale_of(numbers: pd.DataFrame) -> str:
    """Return log where all estimates are positive and lie powers of ten apart, and counts of things are not meant."""
    values = numbers["estimate"].dropna()
    if values.empty or values.min() <= 0 or _is_whole(values):
        return "linear"
    return "log" if values.max() > LARGE_RANGE * values.min() else "linear"


def scale_of_settings(values: pd.Series) -> str:
    """Return log where the values of a setting grow by factors rather than by steps."""
    found = np.array(sorted({float(value) for value in values}))
    if len(found) < 3 or found[0] <= 0:
        return "linear"
    ratios, steps = found[1:] / found[:-1], np.diff(found)
    return "log" if ratios.max() / ratios.min() < steps.max() / steps.min() else "linear"


def _is_whole(values: pd.Series) -> bool:
    known = values.dropna().to_numpy(dtype=np.float64)
    return bool(len(known) and (known == np.round(known)).all() and (known >= 0).all())


def wrapped(text: str, width: int = 12) -> str:
    """Return the text broken into lines at its spaces, for the label of a tick."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _entries(look: Look) -> list[tuple[str, str, str]]:
    """Return role, text and label of each entry of the legend; what a single entry would say needs none."""
    found = []
    for role in ("hue", "style"):
        order = look.orders.get(role, [""])
        if len(order) > 1 and not (role == "style" and look.orders.get("hue") == order):
            found += [(role, text, _label(role, text, look)) for text in order]
    return found


def _label(role: str, text: str, look: Look) -> str:
    """Return a value in words, with the name of what it is a value of where it says too little.

    "objective=reverse_kl trainer.batch_size=16", as reports call a setting, is "Reverse KL, batch size 16".
    """
    pairs = [part.partition("=") for part in text.split(" ")]
    if "=" in text and all(equals for _, equals, _ in pairs[1:]):
        told = [_value(in_words(name), value) if equals else label_of(name) for name, equals, value in pairs]
        return ", ".join([told[0], *map(uncapitalized, told[1:])])
    return _value(look.labels.get(role, ""), text)


def line_in_words(texts: Mapping[str, str], look: Look) -> str:
    """Return what is told of a line, role -> value as text, in the words of legend, titles and ticks."""
    told = list(dict.fromkeys(_label(role, text, look) for role, text in texts.items()))
    return ", ".join([*told[:1], *map(uncapitalized, told[1:])]) or ALL_RUNS


def _value(name: str, text: str) -> str:
    says_little = is_number(text) or len(text) < 3 or text.startswith("[") or text in ("true", "false")
    return f"{name} {text}" if says_little else _choice(name, text)


def _choice(name: str, text: str) -> str:
    """Return a value in words; arms and objectives are called as everywhere."""
    return label_of(text) if name in ("Arm", "Objective") else in_words(text)


def _legend_columns(look: Look, width: float) -> int:
    """Return in how many columns, filled from above, the entries fit; 0 without any."""
    lengths = [len(label) * POINTS_PER_CHARACTER + POINTS_OF_HANDLE for *_, label in _entries(look)]
    for columns in range(len(lengths), 1, -1):
        rows = math.ceil(len(lengths) / columns)
        if sum(max(lengths[k : k + rows]) for k in range(0, len(lengths), rows)) <= (width - 0.1) * 72:
            return math.ceil(len(lengths) / rows)
    return min(len(lengths), 1)


def _legend_rows(look: Look, width: float) -> int:
    columns = _legend_columns(look, width)
    return math.ceil(len(_entries(look)) / columns) if columns else 0


def _legend(
    page: Figure,
    look: Look,
    colors: Mapping[str, Any],
    dashes: Mapping[str, Any],
    width: float,
    is_line: bool,
    has_markers: bool,
) -> None:
    """Draw the legend of what the panels show: dashes where points are joined to lines, markers where they are drawn."""
    from matplotlib.lines import Line2D

    entries = _entries(look)
    if not entries:
        return
    same = look.orders.get("hue") == look.orders.get("style")
    handles = []
    for role, text, label in entries:
        color = colors[text] if role == "hue" else "0.35"
        place = list(dashes).index(text) if role == "style" or (same and text in dashes) else 0
        dash: Any = DASHES[place] if is_line else ""
        marker = MARKERS[place] if has_markers else ""
        handles.append(Line2D([], [], color=color, linestyle=dash, marker=marker, markersize=MARKER_SIZE, label=label))
    shape = style.LEGEND | {"handlelength": 2.2 if len(dashes) > 1 and is_line else style.LEGEND["handlelength"]}
    columns = _legend_columns(look, width)
    page.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=LEGEND_SIZE, **shape)
