"""How often intervals hold the truth, by simulation: the tables of docs/metrics.md.

python scripts/coverage.py weights        # of sampled metrics, on log-normal importance weights: seconds
python scripts/coverage.py reliable       # of the same, by what is recorded of the weights (core/reliability.py): seconds
python scripts/coverage.py correlations   # of held-out correlations, on Gaussian pairs: ten minutes; sets=100 for a first look
"""

from __future__ import annotations

import math
import sys
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.reliability import LARGEST_K, LEAST_EFFECTIVE
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Evaluation
from gfn_vi.evaluation.correlation.intervals import bootstrap
from gfn_vi.evaluation.correlation.statistics import weighted_statistics
from gfn_vi.evaluation.sampled.metrics import SampledMetrics

NORMAL = 1.96  # standard errors on either side
WEIGHTS = ((0.5, 1_000), (0.1, 1_000), (0.01, 1_000), (0.01, 10_000), (0.001, 1_000))  # true effective sample size, n
MIXED = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001)  # true effective sample sizes
EFFECTIVE = (1, 20, 50, 100, LEAST_EFFECTIVE, 400, 10_000)
FEWEST_SETS = 100
SIZES, CORRELATIONS, RESAMPLES = (20, 60, 200, 500), (0.0, 0.5, 0.8, 0.95), 1_000


def noise(seed: int, *shape: int) -> Tensor:
    """Return standard normal numbers in float64."""
    return ReplicaGenerators(seed, 1, "coverage", torch.device("cpu"), torch.float64).normal(*shape)[0]


def weights(sets: int) -> None:
    """Print the coverage of sampled metrics on log-normal weights."""
    for ess, n in WEIGHTS:
        found, holds = log_normal(sets, ess, n)
        words = ", ".join(f"{name} {share.mean():.0%}" for name, share in holds.items())
        too_large = found["sampled_ess"].median() / ess
        print(f"true ess {ess:g}, n = {n}, {len(found['sampled_ess'])} sets: {words}; median ess / true {too_large:.2g}")


def log_normal(sets: int, ess: float, n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what is recorded of sets of n weights, and of which sets the interval of a metric holds the truth, 1 or 0.

    log w is N(-v / 2, v), so log Z is 0 and the effective sample size exp(-v); sets: of 1,000 weights.
    """
    v = -math.log(ess)
    # a replica is a set of samples
    log_w = noise(0, max(sets * 1_000 // n, 1), n) * v**0.5 - v / 2
    nothing = torch.zeros(*log_w.shape, 1, dtype=torch.float64)
    zero = torch.zeros(len(log_w), dtype=torch.float64)
    evaluation = Evaluation(nothing, nothing, log_w, zero, None, nothing == 0)
    moment: Any = SimpleNamespace(
        samples=(None, evaluation), sampler=SimpleNamespace(log_Z=zero), target=SimpleNamespace(log_Z=None), exact=False
    )
    found = SampledMetrics(n)(moment)
    truths = {"elbo": -v / 2, "log_Z": 0.0, "eubo": v / 2, "ess": ess}
    return found, {
        name: ((found[f"sampled_{name}"] - truth).abs() < NORMAL * found[f"sampled_{name}_se"]).double()
        for name, truth in truths.items()
    }


def reliable(sets: int) -> None:
    """Print the coverage by the effective number of samples and Pareto k, true effective sample sizes of 0.001 to 0.9 mixed."""
    for n in (1_000, 10_000):
        parts = [log_normal(sets, ess, n) for ess in MIXED]
        effective, k = (torch.cat([found[f"sampled_{name}"] for found, _ in parts]) for name in ("n_effective", "pareto_k"))
        held = {name: torch.cat([holds[name] for _, holds in parts]) for name in ("log_Z", "eubo", "ess")}
        for is_short, words in ((k <= LARGEST_K, f"k <= {LARGEST_K}"), (k > LARGEST_K, f"k > {LARGEST_K}")):
            for low, high in pairwise(EFFECTIVE):
                chosen = is_short & (effective >= low) & (effective < high)
                if int(chosen.sum()) >= FEWEST_SETS:
                    told = ", ".join(f"{name} {share[chosen].mean():.0%}" for name, share in held.items())
                    print(f"n = {n}, {words}, worth {low} to {high}: {told} ({int(chosen.sum())} sets)")


def correlations(sets: int) -> None:
    """Print the coverage of the bootstrap's 95% intervals on pairs of standard normal numbers."""
    for n in SIZES:
        for rho in CORRELATIONS:
            truths = {
                "correlation": rho,
                "rank_correlation": 6 / math.pi * math.asin(rho / 2),
                "slope": rho,
                "residual": 0.0,
                "residual_std": (2 - 2 * rho) ** 0.5,
            }
            held = dict.fromkeys(truths, 0)
            for seed in range(sets):
                x, other = noise(seed, 2, n)
                log_p = rho * x + (1 - rho**2) ** 0.5 * other
                found = bootstrap(partial(weighted_statistics, log_p, x), n, RESAMPLES, seed, torch.device("cpu"))
                for name, truth in truths.items():
                    held[name] += bool(found[name].low <= truth <= found[name].high)
            words = ", ".join(f"{name} {count / sets:.1%}" for name, count in held.items())
            print(f"M = {n}, rho = {rho:g}, {sets} sets: {words}", flush=True)


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("sets=")]
    chosen = [int(word.removeprefix("sets=")) for word in sys.argv[1:] if word.startswith("sets=")]
    if given == ["weights"]:
        weights(*(chosen or [4_000]))
    elif given == ["reliable"]:
        reliable(*(chosen or [2_000]))
    elif given == ["correlations"]:
        correlations(*(chosen or [2_000]))
    else:
        sys.exit(__doc__)
