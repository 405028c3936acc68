"""Theorem 4 (arXiv 2210.00580, eq. 12): SGD on trajectory balance is SGD on reverse KL with a global baseline, update by update.

TB with rate a for theta and eta / 2 for log Z, reverse KL with rate 2 a and b <- (1 - eta) b + eta mean(l), which the learned
log Z at rate eta / 2 carries out as b = -log Z; both on the same trajectories, drawn from P_F. P_B stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.protocols import Objective
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.exact.policies import KernelSampler
from gfn_vi.objectives.baselines import GlobalLogZ
from gfn_vi.objectives.divergences import ReverseKL
from gfn_vi.objectives.penalties import Square
from gfn_vi.objectives.trajectory_balance import TrajectoryBalance
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import SelfNormalized
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.training.optimizers import Sgd
from gfn_vi.training.rate_schedules import Constant
from gfn_vi.verification.check import Check, compare

ETA, RATE, BATCH = 0.1, 1e-3, 16


def trajectory_balance_is_reverse_kl(sampler: DiscreteSampler | KernelSampler, rng: ReplicaGenerators, n_updates: int) -> Check:
    """Check theorem 4 (eq. 12) by `n_updates` SGD updates of both trainings, from the sampler's parameters and log Z = 0.

    The two sides are how far theta and log Z went; nothing is compared where P_B shares parameters with P_F.
    """
    if isinstance(sampler, DiscreteSampler) and sampler.backward_kind == "tied":
        nothing = torch.zeros(sampler.n_replicas, dtype=torch.float64, device=sampler.log_Z.device)
        return Check(4, "TB = reverse KL: not where P_B and P_F share parameters", "training", nothing, nothing, nothing)
    twins = sampler.repeated(1), sampler.repeated(1)
    objectives: tuple[Objective, Objective] = (
        TrajectoryBalance(Square()),
        Variational([ReverseKL()], [ReverseKL()], GlobalLogZ(), SelfNormalized()),
    )
    for twin in twins:
        torch.nn.init.zeros_(twin.log_Z)
    optimizers = _sgd(twins[0], RATE), _sgd(twins[1], 2 * RATE)
    start = _flat(twins[0])
    for update in range(n_updates):
        trajectories = twins[0].rollout(BATCH, rng)
        for twin, objective, optimizer in zip(twins, objectives, optimizers, strict=True):
            optimizer.step(objective(twin.evaluate(trajectories, objective.needs)), update)
    claim = f"TB = reverse KL with baseline -log Z, {n_updates} SGD updates"
    return Check(4, claim, "training", *compare(_flat(twins[0]) - start, _flat(twins[1]) - start))


def _sgd(sampler: DiscreteSampler | KernelSampler, rate: float) -> Sgd:
    return Sgd(sampler.parameter_groups(), sampler.n_replicas, rate, 0.0, 0.0, ETA / 2, None, Constant(), momentum=0.0)


def _flat(sampler: DiscreteSampler | KernelSampler) -> Tensor:
    """Return all parameters side by side: [R, P]."""
    parameters = [p for group in sampler.parameter_groups().values() for p in group]
    return torch.cat([p.detach().reshape(sampler.n_replicas, -1).clone() for p in parameters], 1)
