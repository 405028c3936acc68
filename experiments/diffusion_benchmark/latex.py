"""The numbers at the end as LaTeX: a tabular for a table* environment of a document that loads booktabs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from gfn_vi.experiments.dag_posterior.latex import row
from gfn_vi.experiments.diffusion_benchmark.published import BY_SETTING, SOURCE
from gfn_vi.experiments.diffusion_benchmark.settings import DENSITIES, EXPLORATIONS, GAP, Setting, Settings, label_of, parts

from gfn_vi.core.reliability import LARGEST_K, LEAST_EFFECTIVE

# Of densities whose log Z is known, and of those where only estimates can be told.
ERRORS, ESTIMATES = ("bound", "rew.", "gap"), ("ELBO", r"$\log \hat Z$")
THEIRS = ("bound", "rew.")
WEAK = "$^?$"
OTHERS = "Other arms"  # that are no objective with an exploration


def table_text(found: Settings, digest: str) -> str:
    """Return the tabular: medians over replicas, whose intervals are in benchmark.csv.

    digest: of the table that it is made from.
    """
    densities = list(dict.fromkeys(density for _, density in found))
    has_error = {name: any(not np.isnan(of.bound_error).all() for of in _of(found, name)) for name in densities}
    has_theirs = {name: any(density == name for _, density in BY_SETTING) for name in densities}
    groups = [
        (rf"{DENSITIES.get(name, name)}{part}", names)
        for name in densities
        for part, names in _columns(has_error[name], has_theirs[name])
    ]
    heads = [rf"\multicolumn{{{len(names)}}}{{c}}{{{title}}}" for title, names in groups]
    names = [name for _, of_group in groups for name in of_group]
    lines = [
        f"% from table {digest}; needs booktabs; wide: for table*",
        r"\begingroup\tiny\setlength{\tabcolsep}{2.5pt}",
        rf"\begin{{tabular}}{{@{{}}l*{{{len(names)}}}{{c}}@{{}}}}",
        r"\toprule",
        row(["", *heads]),
        row(["", *names]),
    ]
    for arms, title in _blocks(found):
        lines += [r"\midrule", rf"\multicolumn{{{1 + len(names)}}}{{@{{}}l}}{{\textit{{{title}}}}} \\"]
        for arm in arms:
            cells = [label_of(parts(arm)[0])]
            for name in densities:
                cells += _cells(found.get((arm, name)), has_error[name])
                if has_theirs[name]:
                    cells += _theirs(arm, name)
            lines.append(row(cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *_notes(found), r"\endgroup", ""])


def _of(found: Settings, density: str) -> list[Setting]:
    return [setting for (_, name), setting in found.items() if name == density]


def _columns(has_error: bool, has_theirs: bool) -> list[tuple[str, Sequence[str]]]:
    ours: list[tuple[str, Sequence[str]]] = [("", ERRORS if has_error else ESTIMATES)]
    return [*ours, (" (published)", THEIRS)] if has_theirs else ours


def _blocks(found: Settings) -> Iterable[tuple[list[str], str]]:
    """Yield the arms of each exploration that there is, and its title; arms that were added come last."""
    arms = list(dict.fromkeys(arm for arm, _ in found))
    for exploration, title in [*EXPLORATIONS.items(), (None, OTHERS)]:
        chosen = [arm for arm in arms if parts(arm)[1] == exploration]
        if chosen:
            yield chosen, title


def _cells(setting: Setting | None, has_error: bool) -> list[str]:
    if setting is None:
        return [""] * len(ERRORS if has_error else ESTIMATES)
    ours = (setting.bound_error, setting.reweighted_error, setting.final(GAP.metric))
    cells = [_number(float(np.median(values))) for values in (ours if has_error else (setting.elbo.final, setting.log_Z.final))]
    if setting.n_weak and cells[1]:  # the second rests on importance weights
        cells[1] += WEAK
    return cells


def _theirs(arm: str, density: str) -> list[str]:
    known = BY_SETTING.get((arm, density))
    return [""] * len(THEIRS) if known is None else [_number(known.bound), _number(known.reweighted)]


def _number(value: float) -> str:
    r"""Return "0.42", "12.3", "1,234"; a replica's failure is \infty, and what is not known is empty."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"${value:,.{digits}f}$".replace(",", "{,}")


def _about_weights(found: Settings) -> list[str]:
    """Return what the mark of reweighted numbers means; [] where none has it."""
    if not any(setting.n_weak for setting in found.values()):
        return []
    few = f"of a replica or more the importance weights are worth fewer than {LEAST_EFFECTIVE} samples, or have"
    return [f"{WEAK}: {few} Pareto $k > {LARGEST_K}$, so that the number may be far off."]


def _notes(found: Settings) -> list[str]:
    replicas = sorted({len(setting.elbo.final) for setting in found.values()})
    budgets = sorted({int(setting.elbo.x[-1]) for setting in found.values()})
    seeds = "/".join(map(str, replicas))
    spent = " or ".join(f"{budget:,}" for budget in budgets)
    return [
        r"\par\smallskip\begin{minipage}{\linewidth}",
        f"Medians of {seeds} replicas after {spent} trajectories, in nats.",
        r"bound: $|\log Z - \mathrm{ELBO}|$; rew.: $|\log Z - \log \hat Z|$ of the reweighted estimate; "
        r"gap: $\mathrm{EUBO} - \mathrm{ELBO}$.",
        *_about_weights(found),
        f"Published: {SOURCE}, after 7,500,000 trajectories with $T = 100$: not an equal budget.",
        r"\end{minipage}",
    ]
