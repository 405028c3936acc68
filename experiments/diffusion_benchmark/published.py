"""The published numbers of Sendera et al. 2024 (arXiv 2402.05098): T = 100, 25,000 updates of 300 trajectories, 5 runs.

Of the densities: |log Z - ELBO|, |log Z - its reweighted estimate|, W2. Our W2 is a mean over blocks of 250 samples, theirs is
not. A user of that code reports 10 to 15 for the first number on many_well. Of the Cox process: the ELBO and the reweighted log Z
given the pines on 40 x 40 cells, which are the data of no preset of this experiment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

SOURCE = "Sendera et al. 2024"
PINES = "log_gaussian_cox (pines, 40 x 40)"


class Published(NamedTuple):
    """A row of the published table. arm: that of the same method here; None where this experiment has none.

    bound, reweighted: |log Z error| in nats, of PINES the estimates themselves; w2: Wasserstein distance; NaN: not published.
    """

    method: str
    arm: str | None
    density: str
    bound: float
    reweighted: float
    w2: float


def _of(method: str, arm: str | None, **by_density: tuple[float, float, float]) -> list[Published]:
    return [Published(method, arm, density, *numbers) for density, numbers in by_density.items()]


NONE = math.nan
PUBLISHED = [
    *_of("PIS", "pathwise", gmm25=(1.769, 1.274, 6.37), funnel_3=(0.534, 0.262, 22.0), many_well=(3.85, 2.69, 6.15)),
    *_of("TB", "trajectory_balance", gmm25=(1.176, 1.071, 4.83), funnel_3=(0.690, 0.239, 22.4), many_well=(4.01, 2.67, 6.14)),
    *_of(
        "TB + exploration",
        "trajectory_balance_widened",
        gmm25=(0.560, 0.422, 3.61),
        funnel_3=(0.749, 0.226, 21.3),
        many_well=(4.01, 2.68, 6.15),
    ),
    *_of(
        "VarGrad + exploration",
        "log_variance_widened",
        gmm25=(0.615, 0.487, 3.89),
        funnel_3=(0.642, 0.250, 22.1),
        many_well=(4.01, 2.69, 6.15),
    ),
    *_of(
        "SubTB, forward-looking",
        "subtrajectory_balance",
        gmm25=(1.127, 1.020, 4.64),
        funnel_3=(0.527, 0.182, 22.1),
        many_well=(3.98, 2.72, 6.15),
    ),
    *_of(
        "TB + exploration + local search",
        "trajectory_balance_local_search",
        gmm25=(0.171, 0.004, 1.25),
        funnel_3=(0.653, 0.285, 21.9),
        many_well=(4.57, 0.19, 5.66),
    ),
    *_of("VarGrad + exploration + Langevin + local search", None, gmm25=(0.207, 0.015, 1.13), many_well=(4.11, 0.02, 5.30)),
    *_of("SMC", None, gmm25=(0.569, NONE, 0.86), funnel_3=(0.561, NONE, 50.3), many_well=(14.99, NONE, 8.28)),
    Published("PIS + Langevin", None, PINES, 471.5, 487.8, NONE),
    Published("TB", None, PINES, 336.7, 379.5, NONE),
    Published("TB + Langevin + exploration + local search", None, PINES, 471.1, 489.0, NONE),
]
BY_SETTING = {(row.arm, row.density): row for row in PUBLISHED if row.arm is not None}
