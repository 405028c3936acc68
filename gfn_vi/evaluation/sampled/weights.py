"""What importance weights are worth: their effective number of samples and the tail of the largest ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.log_probability import effective_sample_size
from gfn_vi.core.reliability import names_of
from gfn_vi.evaluation.sampled.pareto import pareto_k

ROUNDING = 1e-4  # nats, of a sum of many log-probabilities in float32


def worth(weights: str, log_weights: Tensor) -> dict[str, Tensor]:
    """Return <weights>_n_effective and <weights>_pareto_k of log-weights [R, n]: [R] float64 each.

    core/reliability.py has the rule on them.
    A replica with a weight that is NaN or infinite has NaN in both, as has one whose weights are all 0.
    """
    log_weights = log_weights.double()
    n_effective = log_weights.shape[-1] * effective_sample_size(log_weights)
    # weights that are all 0, or of which one is infinite, have a tail that says nothing; equal ones have none but rounding's
    k = pareto_k(log_weights).where(n_effective.isfinite(), torch.nan)
    k = k.masked_fill(log_weights.amax(-1) - log_weights.amin(-1) < ROUNDING, -torch.inf)
    return dict(zip(names_of(weights), (n_effective, k), strict=True))
