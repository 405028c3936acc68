"""Theorem 4 (eq. 12): on-policy TB is reverse KL with a global baseline, update by update."""

from __future__ import annotations

import pytest
import torch
from building import generators, make_objective, make_sampler, make_target

from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.training.optimizers import Sgd
from gfn_vi.training.rate_schedules import Constant

ETA, RATE, STEPS = 0.3, 0.02, 50
# 50 updates, each of which adds rounding errors of 1e-16 to parameters of order one and multiplies earlier ones by little.
TOLERANCE = {"rtol": 0, "atol": 1e-12}


def sgd(sampler: DiscreteSampler, forward: float, log_Z: float) -> Sgd:
    return Sgd(sampler.parameter_groups(), sampler.n_replicas, forward, 0.0, 0.0, log_Z, None, Constant(), momentum=0.0)


@pytest.mark.parametrize("backward", ["uniform", "learned"])
@pytest.mark.parametrize("name", ["grid3x3", "tiny_dag"])
@pytest.mark.parametrize("baseline", ["running_mean", "global_log_z"])
def test_trajectory_balance_is_reverse_kl_with_a_global_baseline(name: str, baseline: str, backward: str) -> None:
    """TB with rates a (theta) and eta / 2 (log Z) = reverse KL with 2a and b <- (1 - eta) b + eta mean(l), b = -log Z.

    P_B stays as it is: the theorem is about theta. The running mean starts at 0, and so does log Z.
    """
    target = make_target(name)
    tb, kl = (make_sampler(target, "tabular", backward, n_replicas=2) for _ in range(2))
    objectives = make_objective("trajectory_balance"), make_objective("reverse_kl", baseline=baseline)
    if baseline == "running_mean":
        objectives[1].baseline.rate = ETA
    start = tb.forward_table.detach().clone()
    for sampler in (tb, kl):
        torch.nn.init.zeros_(sampler.log_Z)
    descend = sgd(tb, RATE, ETA / 2), sgd(kl, 2 * RATE, ETA / 2)
    rng = generators(11, 2)
    for step in range(STEPS):
        trajectories = tb.rollout(8, rng)
        for sampler, objective, optimizer in zip((tb, kl), objectives, descend, strict=True):
            optimizer.step(objective(sampler.evaluate(trajectories, objective.needs)), step)
        torch.testing.assert_close(kl.forward_table, tb.forward_table, **TOLERANCE)
        torch.testing.assert_close(kl.log_Z, tb.log_Z, **TOLERANCE)
        if baseline == "running_mean":
            (mean,) = objectives[1].baseline.mean.values()
            torch.testing.assert_close(mean, -tb.log_Z.detach(), **TOLERANCE)
    assert float((tb.forward_table - start).abs().max().detach()) > 0.1
