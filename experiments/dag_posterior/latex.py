"""Table 2 of arXiv 2210.00580 as LaTeX: a tabular for a table or table* environment of a document that loads booktabs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from gfn_vi.experiments.dag_posterior.budgets import Standing, smallest_totals
from gfn_vi.experiments.dag_posterior.table2 import (
    OBJECTIVES,
    PAPER,
    REWARD_EVALUATIONS,
    UPDATES,
    Settings,
    standings,
)

from gfn_vi.analysis.pictures.arms import SIDES, in_sentence

SMALLEST_PLAIN = -2  # exponent of the numbers that are written without a power of ten
BLOCKS = {UPDATES: "Equal updates", REWARD_EVALUATIONS: "Equal reward evaluations"}
TOO_LATE = "--"
By = Mapping[tuple[str, int], Standing]


def table_text(found: Settings, digest: str) -> str:
    """Return the tabular; an arm without a finished run has no row, or no number at a size.

    digest: of the table that it is made from.
    """
    sizes = sorted({size for _, size in found})
    of_paper = {size: any(size in known for known in PAPER.values()) for size in sizes}
    columns = sum(1 + shown for shown in of_paper.values())
    heads = [rf"\multicolumn{{{1 + of_paper[size]}}}{{c}}{{$d = {size}$}}" for size in sizes]
    names = [name for size in sizes for name in ("here", "paper")[: 1 + of_paper[size]]]
    starts = np.cumsum([2, *(1 + shown for shown in of_paper.values())])
    rules = [rf"\cmidrule(lr){{{start}-{end - 1}}}" for start, end in pairwise(starts)]
    lines = [
        f"% from table {digest}; needs booktabs; up to 500 points wide: for table* or a wide page",
        r"\begingroup\scriptsize\setlength{\tabcolsep}{3pt}\medmuskip=2mu",
        rf"\begin{{tabular}}{{@{{}}l*{{{columns}}}{{c}}@{{}}}}",
        r"\toprule",
        row(["", *heads]),
        "".join(rules),
        row(["", *names]),
    ]
    for budget, by_setting in standings(found).items():
        lines += [r"\midrule", rf"\multicolumn{{{1 + columns}}}{{@{{}}l}}{{\textbf{{{BLOCKS[budget]}}}}} \\"]
        for side, title in SIDES.items():
            lines += _group(by_setting, budget, side, title, of_paper)
    notes = [_counts(found), *(_budget(found, size, total) for size, total in smallest_totals(found).items())]
    ends = [
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\begin{minipage}{\linewidth}",
        *notes,
        r"\end{minipage}",
        r"\endgroup",
    ]
    return "\n".join([*lines, *ends, ""])


def _group(by_setting: By, budget: str, side: str, title: str, of_paper: Mapping[int, bool]) -> list[str]:
    """Return the rows of one side under its title; none where it has no finished run."""
    lines = []
    for name, label in OBJECTIVES.items():
        arm = name + side
        if any((arm, size) in by_setting for size in of_paper):
            cells = [rf"\quad {label}"]
            for size, shown in of_paper.items():
                cells.append(_here(by_setting.get((arm, size)), budget))
                if shown:
                    known = PAPER.get(arm, {}).get(size) if budget == UPDATES else None
                    cells.append("" if known is None else with_spread(*known))
            lines.append(row(cells))
    return [rf"\textit{{{title}}} \\", *lines] if lines else []


def _here(standing: Standing | None, budget: str) -> str:
    if standing is None:
        return ""
    if budget != UPDATES and not standing.is_trained:
        return TOO_LATE
    values = standing.values
    return with_spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan)


def with_spread(mean: float, spread: float) -> str:
    r"""Return "$(9.35 \pm 2.99) \times 10^{-6}$" or, from 0.01 on, "$0.022 \pm 0.007$"; a spread of NaN is left out."""
    exponent = int(f"{mean:.2e}".partition("e")[2])
    if exponent >= SMALLEST_PLAIN or mean == 0:
        return f"${mean:.3f}$" if math.isnan(spread) else f"${mean:.3f} \\pm {spread:.3f}$"
    scaled, power = mean / 10.0**exponent, f"\\times 10^{{{exponent}}}"
    if math.isnan(spread):
        return f"${scaled:.2f} {power}$"
    return f"$({scaled:.2f} \\pm {spread / 10.0**exponent:.2f}) {power}$"


def row(cells: Iterable[str]) -> str:
    """Return the cells as one line of a tabular."""
    return " & ".join(cells).rstrip() + r" \\"


def _counts(found: Settings) -> str:
    """Return in words over what the statistics are."""
    numbers = sorted({len(of.curve.values) for of in found.values()})
    graphs = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    failed = sum(of.curve.n_failed for of in found.values())
    text = f"JSD (nats), mean $\\pm$ standard deviation over {graphs} graph{'s' * (numbers[-1] > 1)}"
    return f"{text}; replicas that became non-finite, counted as $\\log 2$: {failed}." if failed else f"{text}."


def _budget(found: Settings, size: int, total: float) -> str:
    """Return in words how many reward evaluations are equal at this size, and how far below them an arm may stand."""
    by_arm = {arm: of for (arm, of_size), of in found.items() if of_size == size}
    fewest = min(by_arm, key=lambda arm: by_arm[arm].total)
    text = f"$d = {size}$: {total:,.0f} reward evaluations, all that {in_sentence(fewest)} makes"
    known = {arm: standing for arm, of in by_arm.items() if (standing := of.within(total)).is_trained}
    shares = {arm: float(standing.reward_calls.mean()) / total for arm, standing in known.items()}
    least = min(shares, key=lambda arm: shares[arm], default=None)
    if least is not None and shares[least] < 1:
        every = np.diff(by_arm[least].curve.x).max()
        share = f"{100 * shares[least]:.0f}\\%"
        text += f"; {in_sentence(least)}, evaluated every {every:,.0f} trajectories, stands lowest, at {share} of them"
    late = [in_sentence(arm) for arm in by_arm if arm not in known]
    return text + (f"; {TOO_LATE}: spent before the first evaluation of {' and of '.join(late)}." if late else ".")
