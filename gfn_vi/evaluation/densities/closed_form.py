"""Exact metrics of a chain of linear steps on a Gaussian target, in closed form and in any dimension: docs/metrics.md."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.exact.linear_gaussian import LARGEST_JOINT, GaussianTarget, Joint, LinearSampler
from gfn_vi.evaluation.gradients.closed_form import closed_form_of
from gfn_vi.evaluation.measurement import Measurement

NAMES = ("exact_elbo", "exact_eubo", "exact_bound_gap", "kl_forward", "kl_reverse")


class ClosedFormMetrics(BaseMetric):
    """Both bounds, and the divergences between P_T and the target: all of them are Gaussian.

    The Jensen-Shannon divergence and the total variation of two Gaussians have no closed form: in one dimension evaluation=exact
    has them by quadrature.
    """

    summary = ("exact_elbo",)
    family = GaussianTarget
    family_choice = "target=gaussian"

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the metrics by name, each [R] float64. Raises ConfigError for a sampler of other steps or too many of them."""
        sampler, target = moment.sampler, moment.target
        closed = closed_form_of(sampler, target)
        if closed is None:
            without = "or an evaluation without ClosedFormMetrics"
            if not isinstance(sampler, LinearSampler):
                found = f"has no closed form: use sampler=linear_chain, {without}"
                raise ConfigError("sampler", type(sampler).__name__, found)
            most = f"expected at most {LARGEST_JOINT // sampler.dim}: matrices of all steps and dimensions are too large"
            raise ConfigError("sampler.n_steps", sampler.n_steps, f"{most}; {without}")
        bounds, learned = closed.under("P_F"), terminating(closed.forward, sampler.dim)
        whitening = target.whitening.to(learned.weight)
        centered = whitening @ target.mean.to(whitening)
        of_target = Joint(whitening.expand_as(learned.weight), centered.expand_as(learned.shift))
        elbo, eubo = bounds.elbo(), bounds.eubo()
        return {
            "exact_elbo": elbo,
            "exact_eubo": eubo,
            "exact_bound_gap": eubo - elbo,
            "kl_forward": learned.divergence_from(of_target),
            "kl_reverse": of_target.divergence_from(learned),
        }

    def records(self, target: object, exact: bool, sampled: bool) -> tuple[str, ...]:
        """Return the names of all of them."""
        return NAMES


def terminating(forward: Joint, dim: int) -> Joint:
    """Return the distribution of the last d coordinates of a Gaussian over joint states: weight [R, d, d], shift [R, d]."""
    identity = torch.eye(forward.weight.shape[1], dtype=forward.weight.dtype, device=forward.weight.device)
    # the last d rows of the inverse: what the noise of all steps does to the last state
    rows = torch.linalg.solve_ex(forward.weight, identity.expand_as(forward.weight))[0][:, -dim:]
    factor = torch.linalg.cholesky_ex(rows @ rows.mT)[0]
    mean = rows @ forward.shift[..., None]
    whitened = torch.linalg.solve_triangular(factor, torch.cat([identity[:dim, :dim].expand_as(factor), mean], -1), upper=False)
    return Joint(whitened[..., :-1], whitened[..., -1])
