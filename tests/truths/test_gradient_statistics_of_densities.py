"""evaluation=gradients on densities of one dimension: estimators by scores and along the noise, against one exact reference."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from building import generators, make_exploration, make_objective
from densities import Bumps, make, spread
from torch import Tensor

from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.gradients import batch_gradients, large_batches
from gfn_vi.evaluation.gradients.batch_gradients import BatchGradients, Estimator
from gfn_vi.evaluation.gradients.expected_gradients import expected_gradients
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.exploration.widened import WidenedSteps
from gfn_vi.samplers.continuous.sampler import ContinuousSampler

ROLES = [Role.FORWARD, Role.BACKWARD]
ESTIMATORS = {
    "trajectory_balance": {},
    "log_variance": {},
    "scores": {"baseline": "leave_one_out"},
    "pathwise": {"estimator": "pathwise", "baseline": "none"},
    "sticking_the_landing": {"estimator": "sticking_the_landing", "baseline": "none"},
}


SQUARES = ("trajectory_balance", "log_variance")


def objectives() -> dict[str, Any]:
    return {name: make_objective(name if name in SQUARES else "reverse_kl", **parts) for name, parts in ESTIMATORS.items()}


def sampler_of(n_replicas: int) -> ContinuousSampler:
    words = ("hidden=[5]", "n_frequencies=3", "n_steps=3", "backward=learned")
    return spread(make("diffusion", *words, target=Bumps(1), n_replicas=n_replicas), size=0.1)


@cache
def measured(extra_std: float | None = None) -> dict[str, Tensor]:
    """512 batches of 16 for each of four replicas."""
    sampler, only = sampler_of(4), objectives()
    behavior = make_exploration("on_policy") if extra_std is None else WidenedSteps(extra_std)
    if extra_std is not None:
        only = {"trajectory_balance": only["trajectory_balance"]}
    roles = [role.value for role in ROLES]
    metric = GradientStatistics(only, {"b": behavior}, [16], 512, "exact", 4096, roles, "gradients", None)
    return metric(Measurement(sampler, sampler.target, generators(1, 4), True, None, Quadrature(None, None, None)))


def test_estimators_by_scores_and_along_the_noise_share_an_exact_reference() -> None:
    """Each without bias against it, in both roles; the references of all reverse KLs are the same, and TB's is twice as long."""
    found = measured()
    for role in ("forward", "backward"):
        for name in ESTIMATORS:
            key = f"{role}/{name}/b/16"
            assert found[f"gradients/exact/{key}"].tolist() == [1.0] * 4
            if role == "backward" and name in SQUARES:
                continue  # no KL that they descend by P_B: the reference is another one
            size = found[f"gradients/reference_norm/{key}"]
            expected = found[f"gradients/reference_norm/{role}/scores/b/16"] * (1 + (name in SQUARES))
            torch.testing.assert_close(size, expected, rtol=1e-9, atol=0)
            along, error = (found[f"gradients/{statistic}/{key}"] for statistic in ("bias_along", "bias_along_se"))
            assert bool((along.abs() < 4.5 * error).all()), (key, along / error)
            # that of P_B is short beside the noise of 512 batches
            assert bool((error < (0.25 if role == "forward" else 2.0)).all()), (key, error)


def test_wider_steps_have_an_exact_reference_while_the_line_holds_them() -> None:
    near, far = measured(0.1), measured(30.0)
    assert near["gradients/exact/forward/trajectory_balance/b/16"].tolist() == [1.0] * 4
    along, error = (near[f"gradients/{s}/forward/trajectory_balance/b/16"] for s in ("bias_along", "bias_along_se"))
    assert bool((along.abs() < 4.5 * error).all()), along / error
    assert far["gradients/exact/forward/trajectory_balance/b/16"].tolist() == [0.0] * 4


def flat(value: Tensor, group: list[Tensor], n_replicas: int) -> Tensor:
    found = torch.autograd.grad(value, group, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(n_replicas, -1) for g in found], 1)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_batches_beside_each_other_have_the_gradients_of_the_sampler(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk by chunk and, as one batch, piece by piece: with other estimators beside it, the reward along the noise included."""
    sampler, every = sampler_of(2), objectives()
    objective = every[name]
    trajectories = sampler.rollout(5 * 4, generators(3, 2))
    monkeypatch.setattr(batch_gradients, "LARGEST_ROWS", 2 * 2 * 4 * 3)
    engine = BatchGradients(sampler, ROLES, [each.needs for each in every.values()], None)
    chunks = [chunk.gradients(Estimator(objective)) for chunk in engine.chunks(trajectories, 5)]
    monkeypatch.setattr(large_batches, "LARGEST_PIECE", 2 * 3 * 6)
    large = large_batches.large_batch_gradients(sampler, ROLES, objective.needs, {"e": Estimator(objective)}, trajectories)["e"]
    groups = sampler.parameter_groups()
    for role in ROLES:
        together = torch.cat([gradients[role] for gradients in chunks], 1)
        for m in range(5):
            batch = trajectories.select(torch.arange(4 * m, 4 * m + 4).expand(2, 4))
            loss = objective(sampler.evaluate(batch, objective.needs)).sum()
            torch.testing.assert_close(together[:, m], flat(loss, groups[role], 2), rtol=1e-9, atol=1e-12)
        loss = objective(sampler.evaluate(trajectories, objective.needs)).sum()
        torch.testing.assert_close(large[role], flat(loss, groups[role], 2), rtol=1e-9, atol=1e-12)


def test_the_reference_is_what_one_asks_for_by_itself() -> None:
    sampler = sampler_of(4)
    line = Quadrature(None, None, None).find(sampler, Bumps(1))
    alone = expected_gradients(sampler, line.graph, make_objective("log_variance"))
    assert alone is not None
    size = alone[Role.FORWARD].norm(dim=1)
    torch.testing.assert_close(measured()["gradients/reference_norm/forward/log_variance/b/16"], size, rtol=1e-9, atol=0)
