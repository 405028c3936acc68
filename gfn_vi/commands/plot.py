"""Draw a figure of any sweep: a metric against training or a setting, with intervals over seeds.

    gfn-vi-plot outputs/my_sweep                                            what the runs are judged by, a line per setting
    gfn-vi-plot outputs/my_sweep y=jsd hue=objective col=target             a panel per target
    gfn-vi-plot outputs/my_sweep y=ess x=trainer.batch_size hue=objective   at the end of training, against a setting
    gfn-vi-plot outputs/my_sweep hue=arm target=hypergrid statistic=iqm     only runs with a value of a column
    gfn-vi-plot outputs/my_sweep laptop/outputs/my_sweep hue=arm            runs of several folders, each once

The words are seaborn's. y: a metric; x: trajectories, reward_calls, score_calls (of densities) or seconds for lines along
training, else a setting; hue, style, col, row: settings (choices such as objective, keys such as trainer.batch_size, arm) or
seed, that of each replica; hue_order, style_order, col_order, row_order: values to keep, in this order; col_wrap: panels in a
row; statistic: median, mean or iqm (interquartile mean); yscale, xscale: linear, log or symlog; sharey: true, false, row or col;
width: inches of the figure (3.25, a column, for one panel in a row, else 7), height: inches of a panel; worst: the value that
stands for replicas that failed, where the runs do not say one; out: the files without an ending. Any other key=value keeps the
runs with that value, or with one of several between commas. Writes a PDF, a PNG and the numbers (csv) into <folder>/plots, of
several folders into joined/plots, named by y, x, the roles, the values that are kept and a statistic that is no median, and
prints what the figure does not show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from gfn_vi.analysis.plot import ROLES, USUAL, Wanted, plot
from gfn_vi.core.command_line import command
from gfn_vi.core.errors import is_number
from gfn_vi.runs.folders import TableError
from gfn_vi.terminal.arguments import answers_in_one_line, is_folder, parser_of

CHOICES = {
    "statistic": ("median", "mean", "iqm"),
    "yscale": ("linear", "log", "symlog"),
    "xscale": ("linear", "log", "symlog"),
    "sharey": ("true", "false", "row", "col"),
}
SIZES = {"width": (1.0, 20.0), "height": (0.5, 20.0), "col_wrap": (1, 20)}


@answers_in_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure that the words ask for and return the exit status (2: a clear one-line error on stderr)."""
    parser = parser_of("plot", __doc__)
    parser.add_argument("folder", type=Path, help="outputs/<experiment>, the folder that holds the runs")
    more = "more folders, then y=..., x=..., hue=..., style=..., col=..., row=..., ..."
    parser.add_argument("words", nargs="*", default=(), metavar="folder|key=value", help=more)
    given = parser.parse_args(arguments)
    folders = [given.folder, *(Path(word) for word in given.words if is_folder(word))]
    keys = [word for word in given.words if not is_folder(word)]
    drawn_by = " ".join([command("plot"), str(given.folder), *given.words])
    print(*plot(folders, wanted(keys), drawn_by, print), sep="\n")
    return 0


def wanted(given: Sequence[str]) -> Wanted:
    """Return what words key=value ask for. Raises TableError for a word that is none, or whose value cannot be meant."""
    found: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            missing = "" if equals else "there is no such folder; "
            raise TableError(f"{word}: {missing}expected key=value, as in y=elbo, hue=objective or target=hypergrid")
        if key in found:
            raise TableError(f"{word}: {key} is there twice")
        if value not in CHOICES.get(key, (value,)):
            raise TableError(f"{word}: expected one of {', '.join(CHOICES[key])}")
        found[key] = value
    take = found.pop
    orders = {role: take(f"{role}_order") for role in ROLES if f"{role}_order" in found}
    return Wanted(
        y=take("y", None),
        x=take("x", "trajectories"),
        roles={role: take(role) for role in ROLES if role in found},
        orders=orders,
        statistic=take("statistic", USUAL),
        worst=_number("worst", take("worst", None)),
        yscale=take("yscale", None),
        xscale=take("xscale", None),
        sharey=None if (shared := take("sharey", None)) is None else {"true": True, "false": False}.get(shared, shared),
        width=_size("width", take("width", None)),
        height=_size("height", take("height", None)),
        col_wrap=None if (wrap := _size("col_wrap", take("col_wrap", None))) is None else int(wrap),
        out=_stem("out", take("out", None)),
        only=found,
    )


def _stem(key: str, text: str | None) -> str | None:
    if text is not None and Path(text).is_dir():
        raise TableError(f"{key}={text}: this is a folder: expected the name of a file")
    if text is not None and not (parent := Path(text).parent).is_dir():
        raise TableError(f"{key}={text}: there is no folder {parent}: make it, or choose another one")
    return text


def _number(key: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not is_number(text) or not math.isfinite(float(text)):
        raise TableError(f"{key}={text}: expected a number")
    return float(text)


def _size(key: str, text: str | None) -> float | None:
    value = _number(key, text)
    low, high = SIZES[key]
    if value is not None and not low <= value <= high:
        raise TableError(f"{key}={text}: expected a number between {low:g} and {high:g}")
    return value
