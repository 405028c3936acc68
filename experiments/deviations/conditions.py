"""Runs as they should be, with each deviation of the published code, and as published: with every deviation that applies.

The published code of arXiv 2210.00580 stepped the optimizer of P_B only where the settings have a plateau factor (an arm without
one has plateau_factor 1), and its stop bias stayed constant, which touches off-policy arms only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from gfn_vi.experiments.measures import WORST_JSD
from gfn_vi.experiments.paper_arms import OFF_POLICY

from gfn_vi.analysis.reading.curves import curves
from gfn_vi.analysis.statistics.claims import Groups, UnfinishedError

NONE, FROZEN, CONSTANT = "none", "frozen_backward", "constant_stop_bias"
DEVIATION, FACTOR = "config.deviation_name", "config.plateau_factor"

Values = Groups[str]  # arm -> final JSD [R], replicas by seed


def conditions(table: pd.DataFrame) -> Groups[str]:
    """Return deviation ("none" for the algorithm as it should be) -> arm -> final JSD [R] of its finished runs.

    Raises UnfinishedError where no setting as it should be has a finished run.
    """
    found: Groups[str] = Groups()
    for (arm, deviation), curve in curves(table, "jsd", ["arm", DEVIATION], worst=WORST_JSD).items():
        found.setdefault(deviation if isinstance(deviation, str) else NONE, Groups())[arm] = curve.final
    if NONE not in found:
        raise UnfinishedError("no run without a deviation is done yet: nothing to compare with")
    return found


def published(table: pd.DataFrame, by_deviation: Groups[str]) -> Values:
    """Return arm -> final JSD [R] as published; an arm whose deviating runs are not finished is not in it."""
    factors = table.drop_duplicates("arm").set_index("arm")[FACTOR]
    found: Values = Groups()
    for arm in by_deviation[NONE]:
        names = [FROZEN] * bool(float(factors[arm]) == 1.0) + [CONSTANT] * str(arm).endswith(OFF_POLICY)
        values: np.ndarray | None = by_deviation.get("_and_".join(names) or NONE, {}).get(arm)
        if values is not None:
            found[arm] = values
    return found
