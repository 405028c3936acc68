"""What the estimators of training really estimate, and controls that are wrong on purpose: all batches of a tiny target.

Controls are what the published code does (paper.md section 6, items 3 to 5) and a baseline where none is legal. A table of
theorems in which they passed would be a table that cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget, Exploration, Objective
from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.evaluation.enumeration import enumerate_policies
from gfn_vi.objectives.base import BaseObjective
from gfn_vi.objectives.baselines import BatchMean, LeaveOneOut, NoBaseline
from gfn_vi.objectives.divergences import Divergence, ForwardKL, ReverseKL
from gfn_vi.objectives.log_variance import LogVariance
from gfn_vi.objectives.penalties import Square
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import Plain, SelfNormalized, Unweighted
from gfn_vi.samplers.discrete import DiscreteSampler
from gfn_vi.verification.batches import AllBatches
from gfn_vi.verification.check import Check, compare

PLAIN = Plain(30.0)
THETA, PHI = frozenset({Role.FORWARD}), frozenset({Role.BACKWARD})


class IllegalBaseline(ForwardKL):
    """A constant subtracted from the coefficient of d log P_F under P_B, where that score has no mean of zero."""

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        """-1 - 0.5."""
        return super().forward_coefficient(log_ratio, residual, weights) - 0.5


class DividedTwice(SelfNormalized):
    """Self-normalized weights, averaged over the batch again (published; item 3)."""

    def __call__(self, log_weights: Tensor) -> Tensor:
        """softmax / B."""
        return super().__call__(log_weights) / log_weights.shape[-1]


class PublishedOffPolicyWeights(BaseObjective):
    """Forward KL of P_F, weights towards P_B made as if P_F had drawn tau, then multiplied by P_F / pi (published; item 4)."""

    needs = frozenset({Need.BEHAVIOR})

    def __call__(self, evaluation: Evaluation) -> Tensor:
        """[R]."""
        behavior = evaluation.log_behavior
        assert behavior is not None
        log_pf = evaluation.trajectory_log_pf
        weights = (-evaluation.log_ratio()).softmax(-1) * (log_pf - behavior).exp()
        return -(weights.detach() * log_pf).sum(-1)


class Estimators:
    """Exact expectations of gradients over all batches of `size` trajectories, against the gradients that are claimed."""

    def __init__(self, sampler: DiscreteSampler, target: DiscreteTarget, exploration: Exploration, size: int) -> None:
        """exploration: what draws off-policy batches; it needs a density."""
        self.sampler, self.size = sampler.repeated(1), size
        self.listed = enumerate_policies(self.sampler, target)
        with torch.no_grad():  # plain weights towards P_B need it
            self.sampler.log_Z.fill_(float(self.listed.log_Z))
        self.batches = AllBatches(self.sampler, target)
        density = exploration.log_density(self.sampler, self.batches.trajectories, 0)
        if density is None:
            raise ValueError("the exploration has no density")
        self.on_policy, self.off_policy = self.listed.log_pf[0].detach(), density[0]
        groups = self.sampler.parameter_groups()
        self.parameters = [p for role, group in groups.items() if role is not Role.LOG_Z for p in group]

    def checks(self) -> list[Check]:
        """Estimators that hold, each followed by what must fail beside it."""
        b, kl_f, kl_b = self.size, self._kl(forward_first=True), self._kl(forward_first=False)
        loo, mean, none = LeaveOneOut(), BatchMean(), NoBaseline()
        reverse, forward = [ReverseKL()], [ForwardKL()]
        on, off = self.on_policy, self.off_policy
        plain = Variational(forward, forward, none, PLAIN)
        return [
            self._row("TB on-policy, theta: 2 d KL(P_F, P_B)", TrajectoryBalance(Square()), on, kl_f, THETA, 2.0),
            self._row("log-variance on-policy, theta: 2 d KL(P_F, P_B)", LogVariance(), on, kl_f, THETA, 2.0),
            self._row("reverse KL, leave-one-out: d KL(P_F, P_B)", Variational(reverse, reverse, loo, PLAIN), on, kl_f),
            self._row("reverse KL, batch mean, theta: (B-1)/B d KL(P_F, P_B)", self._local(mean), on, kl_f, THETA, (b - 1) / b),
            self._row("reverse KL, batch mean, theta: d KL(P_F, P_B)", self._local(mean), on, kl_f, THETA, must_fail=True),
            self._row("forward KL off-policy, plain weights: d KL(P_B, P_F)", plain, off, kl_b),
            self._row(
                "forward KL, baseline on the illegal side: d KL(P_B, P_F)",
                *(Variational([IllegalBaseline()], forward, none, PLAIN), off, kl_b, THETA),
                must_fail=True,
            ),
            self._row(
                "reverse KL, weights over B twice: 1/B d KL(P_F, P_B)",
                *(Variational(reverse, reverse, none, DividedTwice()), on, kl_f, THETA, 1 / b),
            ),
            self._row(
                "reverse KL, weights over B twice: d KL(P_F, P_B)",
                *(Variational(reverse, reverse, none, DividedTwice()), on, kl_f, THETA),
                must_fail=True,
            ),
            self._row(
                "forward KL off-policy, published weights: d KL(P_B, P_F)",
                PublishedOffPolicyWeights(),
                off,
                kl_b,
                THETA,
                must_fail=True,
            ),
            self._row(
                "forward KL off-policy, no weights: d KL(P_B, P_F)",
                *(Variational(forward, forward, none, Unweighted()), off, kl_b),
                must_fail=True,
            ),
        ]

    def _local(self, baseline: BatchMean) -> Objective:
        sides: list[Divergence] = [ReverseKL()]
        return Variational(sides, sides, baseline, PLAIN)

    def _row(
        self,
        claim: str,
        objective: Objective,
        log_behavior: Tensor,
        claimed: Callable[[frozenset[Role]], Tensor],
        roles: frozenset[Role] = THETA | PHI,
        factor: float = 1.0,
        must_fail: bool = False,
    ) -> Check:
        """Expected gradient of the objective through the log-probabilities of `roles`, against factor x claimed."""
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
