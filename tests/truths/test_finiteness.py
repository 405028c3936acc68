"""Losses and gradients are finite in float32 for residuals up to 1e4, and padding contributes exactly 0."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from building import (
    BASELINES,
    CONFIGS,
    PENALTIES,
    TARGETS,
    WEIGHTINGS,
    choices,
    generators,
    make_objective,
    make_sampler,
    make_target,
)
from omegaconf import OmegaConf
from torch import Tensor

from gfn_vi.core.protocols import Objective
from gfn_vi.core.types import Evaluation, Need, Trajectories, pad_steps
from gfn_vi.exploration.memory import TrajectoryMemory
from gfn_vi.objectives.penalties import Huber, LogCosh, Penalty, Square
from gfn_vi.objectives.variational import Variational

BATCH, STEPS = 6, 3
LEAVES = ("log_pf", "log_pb", "log_Z", "log_flow", "log_inflow")


def nested_choices(name: str) -> list[dict[str, str]]:
    """All choices of the nested groups of an objective that its constructor accepts."""
    keys = OmegaConf.load(CONFIGS / "objective" / f"{name}.yaml").get("defaults", [])
    if "variational" not in (CONFIGS / "objective" / f"{name}.yaml").read_text():
        return [{"penalty": p} for p in PENALTIES] if keys else [{}]
    legal = []
    for baseline, weighting in product(BASELINES, WEIGHTINGS):
        if name == "wake_sleep" and baseline != "none":
            continue
        if baseline == "global_log_z" and not (name.endswith("_kl") or name == "reverse_wake_sleep"):
            continue
        if weighting == "unweighted" and baseline != "none" and name in ("forward_kl", "reverse_wake_sleep", "symmetric_kl"):
            continue
        legal.append({"baseline": baseline, "weighting": weighting})
    return legal


def spread(size: float, sign: str) -> Tensor:
    """Residuals [1, B] of absolute value `size` and below."""
    ramp = torch.linspace(-1, 1, BATCH) * size
    return {"mixed": ramp, "positive": ramp.abs(), "negative": -ramp.abs(), "equal": torch.full((BATCH,), size)}[sign][None]


Case = tuple[float, str, str]
SIZES, SIGNS, BEHAVIORS = (0.0, 1.0, 30.0, 100.0, 1e4), ("mixed", "positive", "negative", "equal"), ("on", "above", "below")


def extreme(size: float, sign: str, behavior: str) -> dict[str, Tensor]:
    """Three replicas of an evaluation in float32 whose residuals are `spread`, put into P_F, P_B, R or the learned flows.

    Log-probabilities are not positive: positive u comes from a small P_B (replica 0) or R (1), negative u from a small P_F.
    """
    u = spread(size, sign)
    zero = torch.zeros(3, BATCH)
    up, down = u.clamp(min=0), u.clamp(max=0)
    per_step = torch.ones(STEPS) / STEPS
    log_pf = torch.cat([down, down, u.clamp(max=0) - 1])[..., None] * per_step
    flow = torch.linspace(-1, 1, STEPS + 1) * u[..., None]
    norms = torch.linspace(0, 1, BATCH).expand(3, -1) * size
    return {
        "log_pf": log_pf,
        "log_pb": torch.cat([-up, zero[:1], -up - 1])[..., None] * per_step,
        "log_reward": torch.cat([zero[:1], -up, zero[:1]]),
        "log_Z": torch.zeros(3),
        "log_behavior": {"on": log_pf.sum(-1), "above": zero, "below": log_pf.sum(-1) - size}[behavior],
        "mask": torch.ones(3, BATCH, STEPS, dtype=torch.bool),
        "log_flow": flow.expand(3, -1, -1),
        "log_inflow": -flow[..., :-1].expand(3, -1, -1),
        "score_norm_pf": norms,
        "score_norm_pb": norms * 0,  # as for a uniform P_B
    }


def side_by_side(cases: list[Case]) -> Evaluation:
    """All cases as replicas of one evaluation, three each."""
    single = [extreme(*case) for case in cases]
    joint = {name: torch.cat([s[name] for s in single]) for name in single[0]}
    return Evaluation(**{name: x.requires_grad_() if name in LEAVES else x for name, x in joint.items()})


def check_finite(objective: Objective, cases: list[Case], context: object) -> None:
    """Loss, gradients and statistics, also the second time, with what the objective remembers."""
    evaluation = side_by_side(cases)
    for _ in range(2):
        loss = objective(evaluation)
    leaves = [getattr(evaluation, leaf) for leaf in LEAVES]
    grads = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    found = {"loss": loss, **objective.statistics(evaluation), **dict(zip(LEAVES, grads, strict=True))}
    for name, x in found.items():
        if x is not None:
            assert x.shape[0] == 3 * len(cases)
            bad = (~x.isfinite()).flatten(1).any(1) if x.dim() > 1 else ~x.isfinite()
            assert not bool(bad.any()), (context, name, [cases[i // 3] for i in bad.nonzero()[:, 0].tolist()])


@pytest.mark.parametrize("name", choices("objective"))
def test_loss_and_gradients_are_finite(name: str) -> None:
    """Every penalty, baseline and weighting; residuals from 0 to 1e4 of either sign; behaviors far off on both sides."""
    for nested in nested_choices(name):
        check_finite(make_objective(name, **nested), list(product(SIZES, SIGNS, BEHAVIORS)), nested)


@pytest.mark.parametrize("name", [n for n in choices("objective") if isinstance(make_objective(n), Variational)])
def test_the_limits_of_the_constructors_are_finite_too(name: str) -> None:
    """max_log_weight and max_exponent at the largest values that are accepted."""
    objective = make_objective(name, weighting="plain", baseline="none")
    objective.weighting.max_log_weight = 40.0
    for divergence in (*objective.sides["P_F"], *objective.sides["P_B"]):
        if hasattr(divergence, "max_exponent"):
            divergence.max_exponent = 40.0
    check_finite(objective, list(product(SIZES, SIGNS, BEHAVIORS)), "limits")


@pytest.mark.parametrize(
    "penalty", [Square(), Huber(1.0), Huber(0.01), LogCosh()], ids=["square", "huber", "narrow_huber", "log_cosh"]
)
def test_penalties_are_even_and_square_near_zero(penalty: Penalty) -> None:
    x = torch.tensor([0.0, 1e-4, 3e-3, 0.5, 2.0, 30.0, 1e4]).double().requires_grad_()
    assert torch.equal(penalty(x)[0], torch.zeros(()).double())
    # log cosh x is the difference of numbers of size x and log 2: absolute error 1e-16 each
    torch.testing.assert_close(penalty(x), penalty(-x), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(penalty(x)[1:3], x[1:3] ** 2, rtol=1e-5, atol=0)  # x^2 (1 - x^2 / 6 ...)
    (slope,) = torch.autograd.grad(penalty(x).sum(), x)
    torch.testing.assert_close(slope[:3], 2 * x[:3].detach(), rtol=1e-5, atol=0)
    assert bool((slope.diff() >= 0).all())


# -- padding ------------------------------------------------------------------------------------------------------------


def padded_batch(name: str) -> tuple[Trajectories, Trajectories]:
    """The same ten trajectories per replica, once as drawn and once with four more steps and arbitrary padded actions."""
    target = make_target(name)
    sampler = make_sampler(target, n_replicas=2)
    drawn = sampler.rollout(10, generators(4, 2))
    longer = pad_steps(drawn, drawn.mask.shape[2] + 4)
    noise = generators(5, 2).integers(target.n_actions, *longer.actions.shape[1:])
    return drawn, replace(longer, actions=longer.actions.where(longer.mask, noise))


@pytest.mark.parametrize("kind", ["tabular", "mlp"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", choices("objective"))
def test_padding_changes_nothing(name: str, target: str, kind: str) -> None:
    """Bit for bit: sums of the same numbers and zeros. A cumulative sum may group them otherwise, hence the last bits."""
    objective = make_objective(name)
    if Need.STOP_FLOW in objective.needs and not make_target(target).every_state_stops:
        pytest.skip("needs a target in which every state can stop")
    sampler = make_sampler(make_target(target), kind, n_replicas=2, flow=True)
    parameters, results = list(sampler.parameters()), []
    for trajectories in padded_batch(target):
        evaluation = sampler.evaluate(trajectories, objective.needs)
        assert not bool(evaluation.log_pf[~trajectories.mask].any())
        assert not bool(evaluation.log_pb[~trajectories.mask].any())
        loss = make_objective(name)(evaluation)
        results.append((loss, *torch.autograd.grad(loss.sum(), parameters, materialize_grads=True, allow_unused=True)))
    for drawn, longer in zip(*results, strict=True):
        torch.testing.assert_close(longer, drawn, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["detailed_balance", "subtrajectory_balance", "flow_matching", "modified_detailed_balance"])
def test_flows_at_padding_change_nothing(name: str) -> None:
    """log F after the end and inflow at padding may hold anything, finite or not; gradients there are 0."""
    objective = make_objective(name)
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2, flow=True)
    evaluation = sampler.evaluate(padded_batch("grid3x3")[1], objective.needs)
    end = torch.nn.functional.pad(evaluation.mask, (1, 0), value=True)
    for value in (7.0, 1e30, torch.inf):
        log_flow = evaluation.log_flow.detach().masked_fill(~end, value).requires_grad_()
        inflow = None
        if evaluation.log_inflow is not None:
            inflow = evaluation.log_inflow.detach().masked_fill(~evaluation.mask, value)
        spoiled = replace(evaluation, log_flow=log_flow, log_inflow=inflow)
        loss = objective(spoiled)
        torch.testing.assert_close(loss, objective(evaluation), rtol=1e-14, atol=0)
        (grad,) = torch.autograd.grad(loss.sum(), log_flow)
        assert not bool(grad[~end].any())
        assert bool(grad.isfinite().all())


def test_memory_returns_padding_as_it_was() -> None:
    """Storing batches of different lengths pads them; what comes back evaluates the same."""
    target = make_target("tiny_dag")
    sampler = make_sampler(target, n_replicas=2)
    memory, rng = TrajectoryMemory(40, "uniform", 1.0, 0.01), generators(3, 2)
    batches = [sampler.rollout(n, rng) for n in (1, 20, 3)]
    for batch in batches:
        memory.add(batch, 0)
    stored = Trajectories(**memory.stored, log_behavior=None).select(torch.arange(24).expand(2, -1))
    expected = torch.cat([sampler.evaluate(b).log_ratio() for b in batches], 1)
    torch.testing.assert_close(sampler.evaluate(stored).log_ratio(), expected, rtol=1e-13, atol=0)
