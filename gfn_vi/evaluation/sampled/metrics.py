"""Metrics estimated from trajectories of P_F, each with its standard error, for targets that cannot be enumerated.

With w = exp(-l) = R P_B / P_F for tau ~ P_F: E w = Z, E log w = ELBO, and E_{P_B} log w = EUBO by self-normalized weights.
Definitions: docs/metrics.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.headline import Headline
from gfn_vi.core.log_probability import effective_sample_size, effective_sample_size_error, log_mean_exp
from gfn_vi.core.protocols import Arrays
from gfn_vi.core.reliability import names_of
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.exact.metrics import distribution_arrays
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.sampled.weights import worth

ESTIMATED = ("elbo", "eubo", "log_Z", "ess", "log_reward", "length")  # each with its standard error


class SampledMetrics(BaseMetric):
    """Metrics from `n_samples` fresh trajectories per replica at every evaluation.

    The headline is the evidence lower bound: it needs no log Z, and no weights that a sampler could hide a missed mode behind.
    """

    kind = "sampled"
    headline = Headline("sampled_elbo", "maximize", -math.inf, "sampled ELBO")
    summary = ("sampled_elbo", "sampled_log_Z")

    def __init__(self, n_samples: int) -> None:
        """n_samples: trajectories per replica of each evaluation."""
        require(n_samples >= 2, "evaluation.n_samples", n_samples, "expected a whole number >= 2: errors need a variance")
        self.n_samples = n_samples

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return name -> [R] float64: the learned log_Z, and sampled_X with its standard error sampled_X_se."""
        _, evaluation = moment.samples
        log_w = -evaluation.log_ratio().double()
        n = evaluation.mask.shape[1]
        share = log_w.softmax(-1)
        eubo = (share * log_w).sum(-1)
        ess = effective_sample_size(log_w)
        reward = evaluation.log_reward.double()
        length = evaluation.mask.sum(-1).double()
        root = n**0.5
        found = {
            "log_Z": moment.sampler.log_Z.double(),
            "sampled_elbo": log_w.mean(-1),
            "sampled_elbo_se": log_w.std(-1) / root,
            "sampled_eubo": eubo,
            "sampled_eubo_se": (share.square() * (log_w - eubo[:, None]).square()).sum(-1).sqrt(),
            "sampled_log_Z": log_mean_exp(log_w),
            # delta method: var(w) / (n mean(w)^2) = 1 / (n ess) - 1 / n
            "sampled_log_Z_se": (1 / (n * ess) - 1 / n).clamp(min=0).sqrt(),
            "sampled_ess": ess,
            "sampled_ess_se": effective_sample_size_error(log_w),
            "sampled_log_reward": reward.mean(-1),
            "sampled_log_reward_se": reward.std(-1) / root,
            "sampled_length": length.mean(-1),
            "sampled_length_se": length.std(-1) / root,
        }
        errors = self._errors_known(moment.target, moment.exact)
        # last, so that who reads the end of a file has the weights of every number that rests on them
        return found | {f"{name}_error": found[name] - moment.target.log_Z for name in errors} | worth("sampled", log_w)

    def records(self, target: object, exact: bool, sampled: bool) -> tuple[str, ...]:
        """Return the names of all of them; errors of log Z are among them where the target knows its own."""
        estimated = (f"sampled_{name}{error}" for name in ESTIMATED for error in ("", "_se"))
        errors = (f"{name}_error" for name in self._errors_known(target, exact))
        return ("log_Z", *estimated, *errors, *names_of("sampled"))

    @staticmethod
    def _errors_known(target: object, exact: bool) -> tuple[str, ...]:
        """Return the estimates of log Z whose error can be told; exact metrics tell that of the learned one themselves."""
        if getattr(target, "log_Z", None) is None:
            return ()
        return ("sampled_log_Z",) if exact else ("log_Z", "sampled_log_Z")

    def arrays(self, moment: Measurement) -> Arrays:
        """Return the distributions where states can be listed after all."""
        return distribution_arrays(moment)
