"""The conclusions of arXiv 2210.00580 on small grids, against the table of runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD

from gfn_vi.analysis.pictures.arms import label_of, uncapitalized
from gfn_vi.analysis.reading.curves import curves
from gfn_vi.analysis.statistics.claims import FEWEST_REPLICAS, Claim, Groups, better, in_words, judged, together

BEST = "trajectory_balance"
OTHERS = ("modified_detailed_balance", "reverse_kl", "forward_kl", "wake_sleep", "reverse_wake_sleep")
TARGET = ["config.target.n_dims", "config.target.side"]

Values = Groups[tuple[object, ...]]  # (arm, n_dims, side) -> [R]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Return two claims for each target: which JSD is lowest, and whether all modes are found."""
    jsd: Values = Groups({key: curve.final for key, curve in curves(table, "jsd", ["arm", *TARGET], worst=WORST_JSD).items()})
    modes: Values = Groups({key: c.final for key, c in curves(table, "modes_covered", ["arm", *TARGET], worst=0.0).items()})
    found = []
    for where in sorted({key[1:] for key in jsd}):
        n_dims, side = where
        name = " x ".join([str(side)] * n_dims)
        found.append(judged(f"{name}: TB reaches the lowest JSD.", lambda where=where: _lowest(jsd, where)))
        found.append(
            judged(
                f"(Not in the paper) {name}: with R0 = 0.1, every objective finds all {2**n_dims} modes.",
                lambda where=where: _all_modes(modes, where),
            )
        )
    return found


def _lowest(jsd: Values, where: tuple[int, int]) -> tuple[str, bool | None]:
    best, others = jsd[BEST, *where], {arm: jsd[arm, *where] for arm in OTHERS}
    runner_up = min(others, key=lambda arm: float(np.median(others[arm])))
    told = f"median JSD at the end: TB {in_words(best)}, best of the others {_named(runner_up)} {in_words(others[runner_up])}"
    return told, together(better(best, values) for values in others.values())


def _all_modes(modes: Values, where: tuple[int, int]) -> tuple[str, bool | None]:
    covered = {arm: modes[arm, *where] for arm in (BEST, *OTHERS)}
    short = {arm: values for arm, values in covered.items() if (values < 2 ** where[0]).any()}
    if short:
        least = ", ".join(f"{_named(arm)} covers {values.min():.0f} to {values.max():.0f}" for arm, values in short.items())
        return f"{least}; the others all", False
    enough = min(len(values) for values in covered.values()) >= FEWEST_REPLICAS
    return "all replicas of all objectives do", True if enough else None


def _named(arm: str) -> str:
    return uncapitalized(label_of(arm))
