"""Draw docs/figures/idea.svg, the picture of docs/idea.md: python scripts/documentation/idea.py [FILE]."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PLACE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "idea.svg"
FORWARD, BACKWARD, REWARD, INK = "#0072B2", "#D55E00", "#009E73", "#222222"  # Okabe and Ito: safe for color-blind readers
SIZE = 7.4, 4.9  # inches; one unit of the axes is one inch

# States of a small graph in layers, and the trajectory that is drawn through them.
STATES = {"s0": (0.35, 3.55), "a": (1.25, 4.2), "b": (1.25, 2.9), "c": (2.2, 4.2), "d": (2.2, 2.9), "x": (3.1, 3.55)}
NAMES = {"s0": "$s_0$", "x": "$x$"}
MOVES = [("s0", "a"), ("s0", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "x"), ("d", "x")]
TRAJECTORY = [("s0", "a"), ("a", "d"), ("d", "x")]


Point = tuple[float, float]


def arrow(axes: Axes, start: Point, end: Point, color: str, bend: float = 0.0, width: float = 1.2) -> None:
    """Draw an arrow from one point to another; bend: how far it leaves the straight line."""
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "connectionstyle": f"arc3,rad={bend}", "shrinkA": 13, "shrinkB": 13}
    axes.add_patch(FancyArrowPatch(start, end, color=color, linewidth=width, **style))


def box(axes: Axes, corner: Point, size: Point, color: str, lines: list[str], title: str) -> None:
    """Draw a box with a title and centered lines below it."""
    axes.add_patch(
        FancyBboxPatch(corner, *size, boxstyle="round,pad=0.06", facecolor=f"{color}14", edgecolor=color, linewidth=1.2)
    )
    middle, top = corner[0] + size[0] / 2, corner[1] + size[1]
    axes.text(middle, top - 0.16, title, color=color, weight="bold", fontsize=10, ha="center", va="center")
    for i, line in enumerate(lines):
        axes.text(middle, top - 0.50 - 0.33 * i, line, color=INK, fontsize=9, ha="center", va="center")


def states(axes: Axes) -> None:
    """Draw the graph with one trajectory: P_F along it, P_B back, the reward at its end."""
    for start, end in MOVES:
        if (start, end) not in TRAJECTORY:
            arrow(axes, STATES[start], STATES[end], "#BBBBBB")
    for start, end in TRAJECTORY:
        arrow(axes, STATES[start], STATES[end], FORWARD, bend=-0.22, width=1.8)
        arrow(axes, STATES[end], STATES[start], BACKWARD, bend=-0.22, width=1.8)
    for name, (x, y) in STATES.items():
        axes.scatter([x], [y], s=330, facecolor="white", edgecolor=REWARD if name == "x" else "#666666", linewidth=1.3, zorder=3)
        axes.text(x, y - 0.01, NAMES.get(name, ""), fontsize=10, ha="center", va="center", zorder=4)
    axes.text(0.55, 4.25, "$P_F$: build", color=FORWARD, fontsize=10, ha="center")
    axes.text(1.72, 2.4, "$P_B$: how was it built?", color=BACKWARD, fontsize=10, ha="center")
    axes.text(3.12, 4.02, "reward $R(x)$", color=REWARD, fontsize=10, ha="center")


def picture() -> Figure:
    """Return the picture: one trajectory, its three numbers, two families of objectives, one gradient."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.set_axis_off()
    states(axes)
    lines = [
        r"$\ell(\tau) = \log P_F(\tau) - \log P_B(\tau\,|\,x) - \log R(x)$",
        r"$u(\tau) = \ell(\tau) + \log Z$",
        r"perfect:  $u(\tau) = 0$ on every trajectory",
    ]
    box(axes, (3.9, 2.82), (3.25, 1.5), INK, lines, "Every trajectory has three numbers")
    lines = [r"make $u$ small:  $E_{\mathrm{any\ behavior}}\,[\,u(\tau)^2\,]$", r"learns $\log Z$; off-policy without weights"]
    box(axes, (0.25, 0.85), (3.25, 0.98), FORWARD, lines, "GFlowNets: balance")
    lines = [
        r"make distributions equal:  $\mathrm{KL}(P_F \,\|\, P_B\,R/Z)$",
        r"needs no $Z$; off-policy with importance weights",
    ]
    box(axes, (3.9, 0.85), (3.25, 0.98), BACKWARD, lines, "Variational inference: divergences")
    arrow(axes, (4.6, 2.85), (2.4, 1.83), INK)
    arrow(axes, (5.52, 2.85), (5.52, 1.83), INK)
    same = r"$E_{P_F}[\nabla_\theta\, u^2] = 2\,\nabla_\theta\, \mathrm{KL}(P_F \,\|\, P_B\,R/Z)$"
    same = rf"on-policy they are one:  {same}  at every $\log Z$"
    axes.text(SIZE[0] / 2, 0.36, same, fontsize=10, ha="center", va="center", color=INK)
    return figure


def main(path: Path) -> None:
    """Write the picture, the same bytes every time."""
    with mpl.rc_context({"svg.hashsalt": "idea", "svg.fonttype": "path", "mathtext.fontset": "dejavusans"}):
        picture().savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE)
