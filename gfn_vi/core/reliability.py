"""Which numbers rest on importance weights, and when these weights carry them: one rule for terminals, pages and figures.

A mean under weights w of n samples is worth no more than an effective number of them, (sum w)^2 / sum w^2, and its standard error
means nothing where the largest weights of the target are not in the sample. So a number that rests on weights is reliable where

    the effective number of samples is at least LEAST_EFFECTIVE, and Pareto k is at most LARGEST_K

(k: Vehtari et al., "Pareto smoothed importance sampling", arXiv 1507.02646, section 3). What is not known to be reliable is
not: NaN is not. The first limit was chosen by the share of 95% intervals that hold the truth (docs/metrics.md, `python
scripts/coverage.py reliable`). Weights that miss a whole mode look well by both: no rule on weights can see that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LEAST_EFFECTIVE, LARGEST_K = 200, 0.7
N_EFFECTIVE, PARETO_K = "n_effective", "pareto_k"  # of weights, recorded as <weights>_n_effective and <weights>_pareto_k
MARK = "(?)"  # behind a number whose weights do not carry it
# Metric -> the weights that it rests on. Means over samples as they are, such as the ELBO, rest on none.
WEIGHTS_OF = {
    **dict.fromkeys(("sampled_eubo", "sampled_log_Z", "sampled_log_Z_error", "sampled_ess"), ("sampled",)),
    "sampled_held_out_log_likelihood": ("sampled_held_out",),
    "target_log_Z": ("target",),
    "ess_forward": ("target", "target_inverse"),
}
LEGEND = (
    f"{MARK}: the importance weights behind the number are worth fewer than {LEAST_EFFECTIVE} samples, or their Pareto k is "
    f"above {LARGEST_K}; it may be far off, and has no interval"
)


def is_reliable(n_effective: Any, pareto_k: Any) -> Any:
    """Return whether weights that are worth so many samples, with such a tail, carry a mean and its standard error.

    Numbers give a bool, arrays one for each of their items.
    """
    return (n_effective >= LEAST_EFFECTIVE) & (pareto_k <= LARGEST_K)


class Weights(NamedTuple):
    """Effective number of samples and Pareto k of the weights of one replica; NaN where that is not known."""

    n_effective: float
    pareto_k: float

    @property
    def is_reliable(self) -> bool:
        """Return whether they carry a mean and its standard error."""
        return bool(is_reliable(*self))


def names_of(weights: str) -> tuple[str, str]:
    """Return the metrics that tell what weights are worth: "sampled" -> sampled_n_effective, sampled_pareto_k."""
    return f"{weights}_{N_EFFECTIVE}", f"{weights}_{PARETO_K}"


def weights_behind(metric: str, recorded: Mapping[str, Mapping[int, float]]) -> dict[int, list[Weights]]:
    """Return replica -> the weights that a metric rests on; {} for one that rests on none, and where nothing was recorded.

    recorded: metric -> replica -> last value.
    """
    found: dict[int, list[Weights]] = {}
    for weights in WEIGHTS_OF.get(metric, ()):
        effective, k = (recorded.get(name, {}) for name in names_of(weights))
        for replica in effective.keys() | k.keys():
            found.setdefault(replica, []).append(Weights(effective.get(replica, math.nan), k.get(replica, math.nan)))
    return found


def worst(found: Iterable[Weights]) -> Weights:
    """Return the weights that carry least: of those that are not reliable, if there are any, the ones worth fewest samples."""

    def order(weights: Weights) -> tuple[bool, float, float]:
        n_effective = weights.n_effective
        return weights.is_reliable, math.inf if math.isnan(n_effective) else n_effective, -weights.pareto_k

    return min(found, key=order)


def doubt(found: Iterable[Weights]) -> str | None:
    """Return in words what the weights of replicas are worth that do not carry their numbers; None where all do.

    "worth 1.0 samples, Pareto k 2.3"; of several replicas the worst, and how many there are.
    """
    every = list(found)
    bad = [weights for weights in every if not weights.is_reliable]
    if not bad:
        return None
    least = worst(bad)
    told = f"worth {_in_words(least.n_effective)} samples, Pareto k {_in_words(least.pareto_k)}"
    return told if len(every) == 1 else f"{told} at worst; too weak in {len(bad)} of {len(every)} replicas"


def with_error(value: float, error: float | None, is_carried: bool = True, between: str = " +- ") -> str:
    """Return "1.23 +- 0.04", or the value alone where there is no interval: an error of 0 or NaN is none.

    is_carried: False for a number whose weights do not carry it, which is marked and has no interval.
    """
    if not is_carried:
        return f"{value:.3g} {MARK}"
    return f"{value:.3g}" if error is None or not error > 0 or math.isinf(error) else f"{value:.3g}{between}{error:.1g}"


def _in_words(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
