"""Adam and SGD against their formulas, replica by replica: own rates, own gradient norm, own fate."""

from __future__ import annotations

import pytest
import torch
from building import generators
from torch import Tensor, nn

from gfn_vi.core.types import Role
from gfn_vi.training.optimizers import Adam, ReplicaOptimizer, Sgd
from gfn_vi.training.rate_schedules import Constant, PlateauOnLoss

RATES = {"lr_forward": [0.1, 0.02], "lr_backward": 0.05, "lr_flow": 0.3, "lr_log_Z": [0.0, 1.0]}


def make_groups() -> dict[Role, list[nn.Parameter]]:
    rng = generators(0, 2)
    shapes = {Role.FORWARD: [(3, 4), (5,)], Role.BACKWARD: [(2,)], Role.FLOW: [(2, 2)]}
    groups = {role: [nn.Parameter(rng.normal(*s)) for s in sizes] for role, sizes in shapes.items()}
    return groups | {Role.LOG_Z: [nn.Parameter(rng.normal())]}


def quadratic(groups: dict[Role, list[nn.Parameter]], step: int, used: tuple[Role, ...] = tuple(Role)) -> Tensor:
    """A loss [R] with gradients that change in every step."""
    total = torch.zeros(2).double()
    for k, role in enumerate(groups):
        if role in used:
            for p in groups[role]:
                curved = (p - 0.3 * k).square() * (1 + 0.1 * step) + 0.2 * p.sin() * (step + 1)
                total = total + curved.reshape(2, -1).sum(1)
    return total


def rate_of(role: Role, r: int) -> float:
    rate = RATES[f"lr_{role.value}"]
    return rate[r] if isinstance(rate, list) else rate


def gradients(groups: dict[Role, list[nn.Parameter]], step: int) -> dict[Role, list[Tensor]]:
    return {role: list(torch.autograd.grad(quadratic(groups, step).sum(), parameters)) for role, parameters in groups.items()}


# The textbook formulas in another order of operations: a few units in the last place per step.
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


@pytest.mark.parametrize("clip", [None, 0.7])
def test_adam_is_the_textbook_formula(clip: float | None) -> None:
    """Kingma & Ba (2015), algorithm 1, replica by replica and parameter by parameter, after clipping the replica's norm."""
    groups, copy = make_groups(), make_groups()
    adam = Adam(groups, 2, **RATES, clip_norm=clip, schedule=Constant(), beta1=0.8, beta2=0.95, eps=1e-6)
    first = {p: torch.zeros_like(p) for ps in copy.values() for p in ps}
    second = {p: torch.zeros_like(p) for ps in copy.values() for p in ps}
    for step in range(12):
        adam.step(quadratic(groups, step), step)
        grads = gradients(copy, step)
        flat = torch.cat([g.reshape(2, -1) for gs in grads.values() for g in gs], 1)
        torch.testing.assert_close(adam.grad_norm, flat.norm(dim=1), **CLOSE)
        with torch.no_grad():
            for role, parameters in copy.items():
                for p, g in zip(parameters, grads[role], strict=True):
                    for r in range(2):
                        norm = float(flat[r].norm())
                        scaled = g[r] * (min(1.0, clip / norm) if clip else 1.0)
                        first[p][r] = 0.8 * first[p][r] + 0.2 * scaled
                        second[p][r] = 0.95 * second[p][r] + 0.05 * scaled**2
                        m, v = first[p][r] / (1 - 0.8 ** (step + 1)), second[p][r] / (1 - 0.95 ** (step + 1))
                        p[r] -= rate_of(role, r) * m / (v.sqrt() + 1e-6)
        for role in groups:
            for ours, theirs in zip(groups[role], copy[role], strict=True):
                torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clip", [None, 0.7])
def test_sgd_is_its_formula(clip: float | None, momentum: float) -> None:
    """v <- momentum v + g; p <- p - rate v."""
    groups, copy = make_groups(), make_groups()
    sgd = Sgd(groups, 2, **RATES, clip_norm=clip, schedule=Constant(), momentum=momentum)
    velocity = {p: torch.zeros_like(p) for ps in copy.values() for p in ps}
    for step in range(8):
        sgd.step(quadratic(groups, step), step)
        grads = gradients(copy, step)
        norms = torch.cat([g.reshape(2, -1) for gs in grads.values() for g in gs], 1).norm(dim=1)
        with torch.no_grad():
            for role, parameters in copy.items():
                for p, g in zip(parameters, grads[role], strict=True):
                    for r in range(2):
                        scale = min(1.0, clip / float(norms[r])) if clip else 1.0
                        velocity[p][r] = momentum * velocity[p][r] + scale * g[r]
                        p[r] -= rate_of(role, r) * velocity[p][r]
        for role in groups:
            for ours, theirs in zip(groups[role], copy[role], strict=True):
                torch.testing.assert_close(ours, theirs, **CLOSE)


def test_unused_parameters_stay() -> None:
    """A role that the loss does not depend on is not moved, and others are as without it."""
    groups = make_groups()
    start = [p.detach().clone() for p in groups[Role.FLOW]]
    adam = Adam(groups, 2, **RATES, clip_norm=None, schedule=Constant(), beta1=0.9, beta2=0.999, eps=1e-8)
    for step in range(3):
        adam.step(quadratic(groups, step, (Role.FORWARD, Role.LOG_Z)), step)
    assert all(torch.equal(p, q) for p, q in zip(groups[Role.FLOW], start, strict=True))
    assert not bool(adam.frozen.any())


def test_a_gradient_too_large_for_float32_squares_is_finite() -> None:
    """Entries of 1e25 have a float32 square of infinity; the norm is finite, so nothing freezes and clipping works."""
    p = nn.Parameter(torch.ones(2, 3))
    sgd = Sgd({Role.FORWARD: [p]}, 2, 0.1, 0.0, 0.0, 0.0, 1.0, Constant(), 0.0)
    sgd.step((p * torch.tensor([[1.0], [1e25]])).sum(1), 0)
    assert sgd.frozen.tolist() == [False, False]
    torch.testing.assert_close(sgd.grad_norm, torch.tensor([1.0, 1e25]).double() * 3**0.5, rtol=1e-6, atol=0)
    torch.testing.assert_close(p.detach(), torch.full((2, 3), 1 - 0.1 / 3**0.5))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_state_dict_goes_on_bit_for_bit(optimizer: str) -> None:
    """Moments, step counts, frozen replicas and a plateau's memory."""

    def make(groups: dict[Role, list[nn.Parameter]]) -> ReplicaOptimizer:
        schedule = PlateauOnLoss(0.5, patience=2, threshold=1e-3, smoothing=2)
        if optimizer == "adam":
            return Adam(groups, 2, **RATES, clip_norm=None, schedule=schedule, beta1=0.9, beta2=0.99, eps=1e-8)
        return Sgd(groups, 2, **RATES, clip_norm=None, schedule=schedule, momentum=0.9)

    groups, copy = make_groups(), make_groups()
    ours = make(groups)
    for step in range(6):
        ours.step(quadratic(groups, step), step)
    for role, parameters in copy.items():
        for p, q in zip(parameters, groups[role], strict=True):
            p.data.copy_(q.data)
    theirs = make(copy)
    theirs.load_state_dict(ours.state_dict())
    for step in range(6, 12):
        ours.step(quadratic(groups, step), step)
        theirs.step(quadratic(copy, step), step)
    for role in groups:
        assert all(torch.equal(p, q) for p, q in zip(groups[role], copy[role], strict=True))
