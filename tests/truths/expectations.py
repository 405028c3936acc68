"""A tiny target, a tabular sampler, and the exact expectations of gradient estimators (gfn_vi/verification/batches.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from building import make_sampler, make_target
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget, Objective
from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.exact.enumeration import Enumeration, as_trajectories, enumerate_policies
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.verification.batches import AllBatches

Gradients = dict[Role, Tensor]


@dataclass(frozen=True)
class Bench:
    """A tabular sampler (one replica, float64) on a tiny target, and both its policies by brute force."""

    target: EnumerableTarget
    sampler: DiscreteSampler
    trajectories: Trajectories
    listed: Enumeration

    @property
    def on_policy(self) -> Tensor:
        """log P_F(tau): [n]."""
        return self.listed.log_pf[0].detach()

    @property
    def from_target(self) -> Tensor:
        """log P_B(tau): [n]."""
        return self.listed.log_target[0].detach()

    def gradients(self, value: Tensor) -> Gradients:
        """d value by role; 0 where it does not depend on a role."""
        groups = self.sampler.parameter_groups()
        parameters = [p for (p,) in groups.values()]
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        return dict(zip(groups, found, strict=True))


def make_bench(name: str, exact_log_Z: bool = False, flow: bool = False, seed: int = 0) -> Bench:
    """exact_log_Z: log Z is right; otherwise it is 0.3, which is wrong."""
    target = make_target(name)
    sampler = make_sampler(target, seed=seed, flow=flow)
    listed = enumerate_policies(sampler, target)
    if exact_log_Z:
        with torch.no_grad():
            sampler.log_Z.fill_(listed.log_Z)
    return Bench(target, sampler, as_trajectories(target, 1), listed)


def evaluate_all(bench: Bench, needs: frozenset[Need], log_behavior: Tensor) -> Evaluation:
    """All trajectories, with log pi [n]."""
    return AllBatches(bench.sampler, bench.target).evaluate(needs, log_behavior)


def expected_gradients(
    objective: Objective, bench: Bench, size: int, log_behavior: Tensor, earlier: Tensor | None = None
) -> Gradients:
    """E[gradient of the loss] over batches of `size` independent trajectories from pi; earlier: see AllBatches."""
    batches = AllBatches(bench.sampler, bench.target)
    return bench.gradients(batches.expected_loss(objective, size, log_behavior, earlier))


def relative_error(found: Gradients, wanted: Gradients, roles: tuple[Role, ...] | None = None) -> float:
    """Largest |found - wanted| / |wanted| over roles, in Euclidean norms."""
    chosen = roles or tuple(wanted)
    return max(float((found[r] - wanted[r]).norm() / wanted[r].norm().clamp(min=1e-12)) for r in chosen)
