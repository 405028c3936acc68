"""What the paper concludes on small grids, against the table of runs."""

from __future__ import annotations

import math

import pandas as pd

from gfn_vi.analysis.claims import Claim, better, in_words, together
from gfn_vi.analysis.curves import curves

BEST = "trajectory_balance"
TARGET = ["config.target.n_dims", "config.target.side"]


def claims(table: pd.DataFrame) -> list[Claim]:
    """Two for each target."""
    jsd = {key: curve.final for key, curve in curves(table, "jsd", ["arm", *TARGET], worst=math.log(2)).items()}
    modes = {key: curve.final for key, curve in curves(table, "modes_covered", ["arm", *TARGET], worst=0.0).items()}
    found = []
    for n_dims, side in sorted({key[1:] for key in jsd}):
        name = " x ".join([str(side)] * n_dims)
        best = jsd[BEST, n_dims, side]
        others = {arm: values for (arm, *where), values in jsd.items() if tuple(where) == (n_dims, side) and arm != BEST}
        runner_up = min(others, key=lambda arm: float(sorted(others[arm])[len(others[arm]) // 2]))
        found.append(
            Claim(
                f"{name}: TB reaches the lowest JSD.",
                f"median JSD at the end: TB {in_words(best)}, best of the others {runner_up} {in_words(others[runner_up])}",
                together(better(best, values) for values in others.values()),
            )
        )
        missed = sorted(
            arm for (arm, *where), covered in modes.items() if tuple(where) == (n_dims, side) and (covered < 2**n_dims).any()
        )
        told = f"replicas of {', '.join(missed)} miss one" if missed else "all replicas of all objectives do"
        found.append(Claim(f"{name}: with R0 = 0.1, every objective finds all {2**n_dims} modes.", told, not missed))
    return found
