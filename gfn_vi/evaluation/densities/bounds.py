"""What samples of a target say of a sampler: the upper bound, log Z from the other side, and what P_F misses.

With w = exp(-l) = R P_B / P_F for x ~ R / Z, tau ~ P_B(. | x): E[log w] = EUBO >= log Z, E[1 / w] = 1 / Z, and
E[w] E[1 / w] = 1 / (effective sample size of P_F as a fraction). A mode that P_F never visits has tiny P_F and shows here, where
estimates from the samples of P_F see nothing (Blessing et al., "Beyond ELBOs", 2024, arXiv 2406.07423).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.headline import Headline
from gfn_vi.core.log_probability import effective_sample_size, log_mean_exp
from gfn_vi.core.reliability import names_of
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.references import recorded_facts
from gfn_vi.evaluation.sampled.weights import worth


class BoundsFromTheTarget(BaseMetric):
    """`n_samples` samples of the target per replica at every evaluation, each with a trajectory of P_B, and as many of P_F.

    Samples are exact, or references (gfn_vi/evaluation/references.py) where the target has no exact ones.

    The headline is EUBO - ELBO = KL(P_F, P_B) + KL(P_B, P_F): 0 exactly where the sampler is right, whatever log Z is.
    """

    kind = "reference"
    n_samples: int
    headline = Headline("bound_gap", "minimize", math.inf, "EUBO - ELBO")
    summary = ("bound_gap",)

    def __init__(self, n_samples: int) -> None:
        """n_samples: samples of the target per replica."""
        require(n_samples >= 2, "evaluation.n_samples", n_samples, "expected a whole number >= 2: errors need a variance")
        self.n_samples = n_samples

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return name -> [R] float64, each with its standard error where it has one."""
        sampler, (_, drawn) = moment.sampler, moment.samples
        (terminals,) = moment.target_samples(1, self.n_samples)
        trajectories = sampler.backward_rollout(terminals, moment.rng)
        log_w = -sampler.evaluate(trajectories).log_ratio().double()
        forward = -drawn.log_ratio().double()
        n = log_w.shape[-1]
        eubo, elbo = log_w.mean(-1), forward.mean(-1)
        inflation = moment.target_error(n)
        eubo_se = inflation * log_w.std(-1) / n**0.5
        ess = effective_sample_size(-log_w)  # of 1 / w: how far the estimate of 1 / Z can be trusted
        bounds = {
            "eubo": eubo,
            "eubo_se": eubo_se,
            "bound_gap": eubo - elbo,
            "bound_gap_se": (eubo_se.square() + forward.var(-1) / forward.shape[-1]).sqrt(),
        }
        # exact metrics have these by the same names, without errors
        return ({} if moment.exact else bounds) | {
            "target_log_Z": -log_mean_exp(-log_w),
            "target_log_Z_se": inflation * (1 / (n * ess) - 1 / n).clamp(min=0).sqrt(),
            "ess_forward": (-log_mean_exp(log_w) - log_mean_exp(-log_w)).exp(),
            **worth("target", -log_w),
            **worth("target_inverse", log_w),
            **moment.reference_facts(),
        }

    def records(self, target: object, exact: bool, sampled: bool) -> tuple[str, ...]:
        """Return the names of all of them, and of what is told of references where the target has no exact samples."""
        bounds = ("eubo", "eubo_se", "bound_gap", "bound_gap_se", "target_log_Z", "target_log_Z_se", "ess_forward")
        return (*bounds, *names_of("target"), *names_of("target_inverse"), *recorded_facts(target))
