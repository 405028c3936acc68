"""Expected gradients of the estimators of training, and controls that are wrong on purpose: all batches of a tiny target.

Controls are what the code published with arXiv 2210.00580 does, and a baseline where none is legal: that code averages
self-normalized weights over the batch again, and off-policy makes weights towards P_B as if P_F had drawn tau and multiplies them
by P_F / pi; its local baseline contains the sample itself. A table of theorems in which controls passed could not fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import DiscreteTarget, Exploration, Objective
from gfn_vi.core.types import Need, Role
from gfn_vi.evaluation.exact.enumeration import enumerate_policies
from gfn_vi.objectives.baselines import BatchMean, LeaveOneOut, NoBaseline
from gfn_vi.objectives.divergences import ForwardKL, ReverseKL
from gfn_vi.objectives.log_variance import LogVariance
from gfn_vi.objectives.penalties import Square
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import Plain, SelfNormalized, Unweighted
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.verification.batches import AllBatches
from gfn_vi.verification.check import SMALLEST_FAILURE, Check, compare

PLAIN = Plain(30.0)
THETA, BOTH = frozenset({Role.FORWARD}), frozenset({Role.FORWARD, Role.BACKWARD})
Row = tuple[str, Objective, Tensor, Callable[[frozenset[Role]], Tensor], frozenset[Role], float, bool]


class IllegalBaseline(ForwardKL):
    """Forward KL with a constant subtracted from the coefficient of d log P_F under P_B, where that score has no mean of zero."""

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """Return -1 - 0.5 as the multiplier of d log P_F: [R, B]."""
        return super().forward_coefficient(log_ratio, residual, weights) - 0.5


class DividedTwice(SelfNormalized):
    """Self-normalized weights that are averaged over the batch again, as in the published code."""

    def __call__(self, log_weights: Tensor) -> Tensor:
        """Return the self-normalized weights, divided by B: log_weights [R, B] -> [R, B]."""
        return super().__call__(log_weights) / log_weights.shape[-1]


class Estimators:
    """Exact expectations of gradients over all batches of `size` trajectories, against the gradients that are claimed."""

    def __init__(self, sampler: DiscreteSampler, target: DiscreteTarget, exploration: Exploration, size: int) -> None:
        """exploration: draws off-policy batches; it needs a density. size: trajectories of a batch."""
        self.sampler, self.size = sampler.repeated(1), size
        self.listed = enumerate_policies(self.sampler, target)
        with torch.no_grad():  # plain weights towards P_B need it
            self.sampler.log_Z.fill_(float(self.listed.log_Z))
        self.batches = AllBatches(self.sampler, target)
        density = exploration.log_density(self.sampler, self.batches.trajectories, 0)
        if density is None:
            raise ValueError("the exploration has no density")
        self.on_policy, self.off_policy = self.listed.log_pf[0].detach(), density[0]
        if float((self.on_policy.exp() - density[0].exp()).abs().sum()) < SMALLEST_FAILURE:
            raise ConfigError(
                "exploration",
                type(exploration).__name__,
                "draws what P_F draws, where what is wrong off-policy is right; use sampler=tabular_random, "
                "exploration=stop_bias, or small=null",
            )
        groups = self.sampler.parameter_groups()
        self.parameters = [p for role, group in groups.items() if role is not Role.LOG_Z for p in group]

    def checks(self) -> list[Check]:
        """Return the checks of estimators that hold, each followed by what must fail beside it."""
        b, kl_f, kl_b = self.size, self._kl(forward_first=True), self._kl(forward_first=False)
        none = NoBaseline()
        reverse, forward = [ReverseKL()], [ForwardKL()]
        on, off = self.on_policy, self.off_policy
        plain = Variational(forward, forward, none, PLAIN)
        illegal = Variational([IllegalBaseline()], forward, none, PLAIN)
        twice = Variational(reverse, reverse, none, DividedTwice())
        unweighted = Variational(forward, forward, none, Unweighted())
        local = Variational(reverse, reverse, BatchMean(), PLAIN)
        others = Variational(reverse, reverse, LeaveOneOut(), PLAIN)
        rows: list[Row] = [
            ("TB on-policy, theta: 2 d KL(P_F, P_B)", TrajectoryBalance(Square()), on, kl_f, THETA, 2.0, False),
            ("log-variance on-policy, theta: 2 d KL(P_F, P_B)", LogVariance(), on, kl_f, THETA, 2.0, False),
            ("reverse KL, leave-one-out: d KL(P_F, P_B)", others, on, kl_f, BOTH, 1.0, False),
            ("reverse KL, batch mean, theta: (B-1)/B d KL(P_F, P_B)", local, on, kl_f, THETA, (b - 1) / b, False),
            ("reverse KL, batch mean, theta: d KL(P_F, P_B)", local, on, kl_f, THETA, 1.0, True),
            ("reverse KL, weights over B twice: 1/B d KL(P_F, P_B)", twice, on, kl_f, THETA, 1 / b, False),
            ("reverse KL, weights over B twice: d KL(P_F, P_B)", twice, on, kl_f, THETA, 1.0, True),
            ("forward KL off-policy, plain weights: d KL(P_B, P_F)", plain, off, kl_b, BOTH, 1.0, False),
            ("forward KL, baseline on the illegal side: 3/2 d KL(P_B, P_F)", illegal, off, kl_b, THETA, 1.5, False),
            ("forward KL, baseline on the illegal side: d KL(P_B, P_F)", illegal, off, kl_b, THETA, 1.0, True),
            ("forward KL off-policy, no weights: d KL(P_B, P_F)", unweighted, off, kl_b, BOTH, 1.0, True),
        ]
        return [self._row(*row) for row in rows] + self._off_policy_limits()

    def _off_policy_limits(self) -> list[Check]:
        """Return checks of forward KL of P_F in the limit of large batches from pi, where self-normalized weights have no bias.

        The published ones are made as if P_F had drawn tau, then multiplied by P_F / pi: a batch without end is all
        trajectories with shares pi, and their sum tends to E_pi[w f P_F / pi] / E_pi[w], w = R P_B / P_F, instead of E_{P_B}[f].
        """
        log_pf, log_target = self.listed.log_pf[0], self.listed.log_target[0].detach()
        shares = self.off_policy + log_target - log_pf.detach()
        published = -(shares.softmax(0) * (log_pf.detach() - self.off_policy).exp() * log_pf).sum()
        factor = float((-shares.logsumexp(0)).exp())
        # for self-normalized weights the shares pi cancel against 1 / pi: all trajectories once, weighted by R P_B
        everything = self.batches.evaluate(frozenset({Need.BEHAVIOR}), torch.zeros_like(self.off_policy))
        everything = replace(everything, log_pb=everything.log_pb.detach())
        correct = Variational([ForwardKL()], [ForwardKL()], NoBaseline(), SelfNormalized())(everything)[0]
        right = self._gradient(self._kl(forward_first=False)(THETA))
        sides = [
            ("self-normalized weights: d KL(P_B, P_F)", correct, 1.0, False),
            ("published weights: Zhat / E[R P_B / P_F] d KL", published, factor, False),
            ("published weights: d KL(P_B, P_F)", published, 1.0, True),
        ]
        return [
            Check(0, f"forward KL, {claim}", "large batches", *compare(self._gradient(loss), size * right), must_fail)
            for claim, loss, size, must_fail in sides
        ]

    def _row(
        self,
        claim: str,
        objective: Objective,
        log_behavior: Tensor,
        claimed: Callable[[frozenset[Role]], Tensor],
        roles: frozenset[Role],
        factor: float,
        must_fail: bool,
    ) -> Check:
        """Return a check of the objective's expected gradient, through log-probabilities of `roles`, against factor x claimed."""
        loss = self.batches.expected_loss(objective, self.size, log_behavior, roles=roles)
        sides = compare(self._gradient(loss), factor * self._gradient(claimed(roles)))
        return Check(0, claim, f"batches of {self.size}", *sides, must_fail)

    def _kl(self, forward_first: bool) -> Callable[[frozenset[Role]], Tensor]:
        def value(roles: frozenset[Role]) -> Tensor:
            p, q = self.listed.log_pf[0], self.listed.log_target[0]
            p, q = (p if Role.FORWARD in roles else p.detach()), (q if Role.BACKWARD in roles else q.detach())
            return (p.exp() * (p - q)).sum() if forward_first else (q.exp() * (q - p)).sum()

        return value

    def _gradient(self, value: Tensor) -> Tensor:
        found = torch.autograd.grad(value, self.parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([g.reshape(1, -1) for g in found], 1)
