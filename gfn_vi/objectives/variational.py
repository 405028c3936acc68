"""Hierarchical variational inference: P_F and P_B each descend a divergence, estimated by weighted score functions.

The gradient of a side is sum_i W_i (c_i - b_i) d log P(tau_i): c from the divergence (divergences.py), W from the weighting
(weightings.py), b from the baseline (baselines.py) where the score has mean zero. reverse_kl, forward_kl, wake_sleep,
reverse_wake_sleep, symmetric_kl, alpha, chi_square and jensen_shannon are presets of `Variational`; the first four are the
algorithms of arXiv 2210.00580, Table 1.

log Z regresses to the mean of -l under P_F (square loss, so that its rate means what it means in trajectory balance): with
baseline=global_log_z that is the global baseline of arXiv 2210.00580 (eq. 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.log_probability import effective_sample_size
from gfn_vi.core.protocols import Expectations
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.baselines import Baseline
from gfn_vi.objectives.divergences import BACKWARD, FORWARD, Divergence
from gfn_vi.objectives.estimators import SCORE, Estimator
from gfn_vi.objectives.weightings import Weighting


def log_Z_regression(evaluation: Evaluation, weights: Tensor) -> Tensor:
    """Return a loss of value 0 with the gradient of sum of W (log Z + l)^2 for log Z only: weights W [R, B] -> [R]."""
    loss = (weights.detach() * (evaluation.log_Z[:, None] + evaluation.log_ratio().detach()).square()).sum(-1)
    return loss - loss.detach()


class Variational(BaseObjective):
    """A loss for two sides: P_F descends the sum of the divergences `forward`, P_B that of `backward`."""

    def __init__(
        self,
        forward: Sequence[Divergence],
        backward: Sequence[Divergence],
        baseline: Baseline,
        weighting: Weighting,
        estimator: Estimator = SCORE,
    ) -> None:
        """forward, backward: the divergences of P_F and P_B; weighting: how trajectories count.

        baseline: refused where no side has a score of mean zero under its measure, since it would be bias. estimator: of the
        gradients, refused for divergences that it cannot estimate. Raises ConfigError.
        """
        self.sides = {FORWARD: list(forward), BACKWARD: list(backward)}
        self.baseline, self.weighting, self.estimator = baseline, weighting, estimator
        estimator.check(forward, backward, baseline)
        legal = [d for side, divergences in self.sides.items() for d in divergences if d.measure == side]
        name = type(baseline).__name__
        if not baseline.removes_nothing and not legal:
            raise ConfigError(
                "objective.baseline",
                name,
                "a baseline here is bias: P_F is averaged under P_B and P_B under P_F, where scores do not have mean zero; "
                "use baseline@objective.baseline=none",
            )
        if baseline.needs_log_ratio and any(d.log_ratio_sign is None for d in legal):
            raise ConfigError(
                "objective.baseline",
                name,
                "log Z is a baseline of the KL divergences only; use baseline@objective.baseline=leave_one_out",
            )
        if weighting.needs_density:
            self.needs = baseline.needs | {Need.BEHAVIOR}
        elif baseline.removes_nothing:
            self.needs = baseline.needs
        elif all(d.measure == FORWARD for d in legal):
            self.needs = baseline.needs | {Need.ON_POLICY}
        else:
            raise ConfigError(
                "objective.baseline",
                name,
                "without weights P_B is not averaged under P_B, so its score does not have mean zero and a baseline is bias; use "
                "baseline@objective.baseline=none with weighting=unweighted",
            )
        self.needs |= estimator.needs

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """Return the loss: [R]. Its value estimates the divergences of the P_F side, with log Z in place of the true one."""
        log_ratio, residual = evaluation.log_ratio().detach(), evaluation.residual().detach()
        weights = self._weights(evaluation)
        if self.estimator.follows_path:
            path = evaluation.log_ratio() + evaluation.log_Z.detach()[:, None]
            return self._value(path, weights) + log_Z_regression(evaluation, weights[FORWARD])
        log_prob = {FORWARD: evaluation.trajectory_log_pf, BACKWARD: evaluation.trajectory_log_pb}
        norms = {FORWARD: evaluation.score_norm_pf, BACKWARD: evaluation.score_norm_pb}
        surrogate = torch.zeros_like(evaluation.log_Z)
        for side, divergences in self.sides.items():
            score = log_prob[side] - log_prob[side].detach()  # value 0: only the gradient counts, and nothing overflows
            for position, divergence in enumerate(divergences):
                weight = weights[divergence.measure]
                coefficient = self._coefficient(side, divergence, log_ratio, residual, weight)
                centered = coefficient
                if divergence.measure == side:
                    sign, term = divergence.log_ratio_sign or 0, f"{side} {position}"
                    center = self.baseline(term, coefficient, weight, -sign * evaluation.log_Z.detach(), norms[side])
                    centered = coefficient - center
                    self.baseline.update(term, coefficient, weight)
                surrogate = surrogate + (weight * centered * score).sum(-1)
        return surrogate + self._value(residual, weights) + log_Z_regression(evaluation, weights[FORWARD])

    def _value(self, residual: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Return the sum of the divergences of the P_F side, estimated from u [R, B]: [R]."""
        terms = [(weights[d.measure] * d.value(residual, weights[d.measure])).sum(-1) for d in self.sides[FORWARD]]
        return torch.stack(terms).sum(0)

    @staticmethod
    def _coefficient(side: str, divergence: Divergence, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        if side == FORWARD:
            return divergence.forward_coefficient(log_ratio, residual, weights)
        return divergence.backward_coefficient(log_ratio, residual, weights)

    def _log_weights(self, evaluation: Evaluation) -> dict[str, Tensor]:
        with torch.no_grad():
            log_pf = evaluation.trajectory_log_pf
            behavior = log_pf if evaluation.log_behavior is None else evaluation.log_behavior
            log_pb = evaluation.log_reward + evaluation.trajectory_log_pb - evaluation.log_Z[:, None]
            return {FORWARD: log_pf - behavior, BACKWARD: log_pb - behavior}

    def _weights(self, evaluation: Evaluation) -> dict[str, Tensor]:
        return {measure: self.weighting(w) for measure, w in self._log_weights(evaluation).items()}

    def statistics(self, evaluation: Evaluation) -> dict[str, Tensor]:
        """Return the effective sample size of the weights in use as a fraction of the batch, each [R].

        batch_ess_forward is that of weights towards P_F, batch_ess_backward of those towards P_B; 0 where all have underflowed.
        """
        if not self.weighting.needs_density:
            return {}
        weights = self._weights(evaluation)
        used = {d.measure for divergences in self.sides.values() for d in divergences}
        names = {FORWARD: "batch_ess_forward", BACKWARD: "batch_ess_backward"}
        return {
            names[m]: effective_sample_size(weights[m].log()).where(weights[m].sum(-1) > 0, 0.0)
            for m in (FORWARD, BACKWARD)
            if m in used
        }

    def descends(self, exact: Expectations) -> dict[Role, Tensor] | None:
        """Return for each side the sum of its divergences, and for log Z its squared distance to the ELBO: each [R].

        The distance is under P_F, as the regression is. None without weights (then what is drawn decides what is averaged over),
        and where a divergence is no sum over the graph.
        """
        if not self.weighting.needs_density:
            return None
        found: dict[Role, Tensor] = {Role.LOG_Z: (exact.log_Z - exact.elbo().detach()).square()}
        for role, side in ((Role.FORWARD, FORWARD), (Role.BACKWARD, BACKWARD)):
            terms = [divergence.expected(exact) for divergence in self.sides[side]]
            if any(term is None for term in terms):
                return None
            found[role] = torch.stack([term for term in terms if term is not None]).sum(0)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what the baseline remembers between batches."""
        return self.baseline.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.baseline.load_state_dict(state)
