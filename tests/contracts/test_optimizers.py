"""What every optimizer must satisfy with every rate schedule, found by listing configs/optimizer and configs/rate_schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import choices, composed
from hydra.utils import instantiate
from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.training.optimizers import ReplicaOptimizer

R = 3
ROLES = (Role.FORWARD, Role.BACKWARD, Role.FLOW, Role.LOG_Z)
every_optimizer = pytest.mark.parametrize("name", choices("optimizer"))
every_schedule = pytest.mark.parametrize("schedule", choices("rate_schedule"))
Groups = dict[Role, list[nn.Parameter]]


def groups() -> Groups:
    """Ones of several shapes, log Z [R]."""
    shapes = {Role.FORWARD: [(R, 4, 2), (R, 1, 2)], Role.BACKWARD: [(R, 3)], Role.FLOW: [(R, 2, 1)], Role.LOG_Z: [(R,)]}
    return {role: [nn.Parameter(torch.ones(*s).double()) for s in sizes] for role, sizes in shapes.items()}


def make(parameters: Groups, name: str, schedule: str = "constant", **changed: Any) -> ReplicaOptimizer:
    config = composed(
        f"optimizer={name}", f"rate_schedule@optimizer.schedule={schedule}", "trainer.n_trajectories=1000"
    ).optimizer
    for key, value in changed.items():
        config[key] = value
    return instantiate(config, _partial_=True, _convert_="all")(parameter_groups=parameters, n_replicas=R)


def loss(parameters: Groups) -> Tensor:
    """Sum of squares [R]: least at 0."""
    return sum(p.square().reshape(R, -1).sum(1) for ps in parameters.values() for p in ps)


def flat(parameters: Groups) -> Tensor:
    """[R, n], detached."""
    return torch.cat([p.detach().reshape(R, -1) for ps in parameters.values() for p in ps], 1)


@every_optimizer
@every_schedule
def test_it_descends_in_every_role(name: str, schedule: str) -> None:
    parameters = groups()
    optimizer = make(parameters, name, schedule)
    before = flat(parameters)
    for step in range(5):
        optimizer.step(loss(parameters), step)
    assert bool((flat(parameters) < before).all())
    assert not bool(optimizer.frozen.any())
    assert optimizer.grad_norm.shape == (R,)


@every_optimizer
@pytest.mark.parametrize("role", ROLES)
def test_rates_are_per_role_and_per_replica(name: str, role: Role) -> None:
    """Rate 0 for one replica of one role keeps that and nothing else; a replica with a rate moves as if all had it."""
    rates = {f"lr_{r.value}": 0.1 for r in ROLES}
    parameters, uniform = groups(), groups()
    make(parameters, name, **(rates | {f"lr_{role.value}": [0.1, 0.0, 0.1]})).step(loss(parameters), 0)
    make(uniform, name, **rates).step(loss(uniform), 0)
    for r, ps in parameters.items():
        for p, q in zip(ps, uniform[r], strict=True):
            assert torch.equal(p[[0, 2]], q[[0, 2]])
            assert torch.equal(p[1], torch.ones_like(p[1]) if r is role else q[1])


@every_optimizer
@pytest.mark.parametrize(
    ("key", "value"), [("lr_forward", [0.1, 0.2]), ("lr_log_Z", -1.0), ("clip_norm", 0.0), ("clip_norm", -1.0)]
)
def test_values_that_cannot_work_are_refused(name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"optimizer\.{key}="):
        make(groups(), name, **{key: value})


@every_optimizer
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_replica_that_is_not_finite_freezes_for_good(name: str, bad: float, where: str) -> None:
    """A bad loss with a sound gradient, or a sound loss with a bad gradient; the others move as they would."""
    parameters, sound = groups(), groups()
    ours, theirs = make(parameters, name), make(sound, name)
    for step in range(4):
        values = loss(parameters)
        if step == 1 and where == "loss":
            values = values + torch.tensor([0.0, bad, 0.0])
        if step == 1 and where == "gradient":
            zero = parameters[Role.FORWARD][0][1, 0, 0] - parameters[Role.FORWARD][0][1, 0, 0].detach()
            steep = zero.sqrt() if bad == math.inf else zero.abs().sqrt()  # value 0, slope infinite or NaN
            values = values + torch.stack([torch.zeros_like(steep), steep, torch.zeros_like(steep)])
        ours.step(values, step)
        theirs.step(loss(sound), step)
        if step == 0:
            kept = flat(parameters)
    assert ours.frozen.tolist() == [False, True, False]
    assert torch.equal(flat(parameters)[1], kept[1])
    assert torch.equal(flat(parameters)[[0, 2]], flat(sound)[[0, 2]])


@every_optimizer
@every_schedule
def test_state_dict_round_trip_goes_on_bit_for_bit(name: str, schedule: str) -> None:
    """Parameters are the sampler's to save; the rest comes back, frozen replicas and what a plateau has seen included."""
    parameters, copy = groups(), groups()
    ours = make(parameters, name, schedule)
    for step in range(4):
        ours.step(loss(parameters) + torch.tensor([0.0, float("nan") if step == 3 else 0.0, 0.0]), 200 * step)
        if ours.schedule.watches == "jsd":
            ours.schedule.observe(torch.tensor([0.5, 0.4, 0.3]).double(), 200 * step)
    for role, ps in copy.items():
        for p, q in zip(ps, parameters[role], strict=True):
            p.data.copy_(q.data)
    theirs = make(copy, name, schedule)
    theirs.load_state_dict(ours.state_dict())
    assert theirs.frozen.tolist() == [False, True, False]
    for step in range(4, 8):
        for optimizer, ps in ((ours, parameters), (theirs, copy)):
            optimizer.step(loss(ps), 200 * step)
            if optimizer.schedule.watches == "jsd":
                optimizer.schedule.observe(torch.tensor([0.5, 0.4, 0.3]).double(), 200 * step)
    assert torch.equal(flat(parameters), flat(copy))


def test_rate_schedules_are_their_formulas() -> None:
    """Over a run of 1,000 trajectories."""

    def schedule(name: str) -> Any:
        return make(groups(), "sgd", name).schedule

    assert [schedule("constant").factor(n) for n in (0, 10**6)] == [1.0, 1.0]
    assert [schedule("cosine").factor(n) for n in (0, 500, 1000, 2000)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert [schedule("multi_step").factor(n) for n in (0, 499, 500, 750, 1000)] == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.01])


def test_a_plateau_that_keeps_its_rates_watches_nothing() -> None:
    """gamma = 1 is a run on a target without an exact JSD, too."""
    published = make(groups(), "sgd", "plateau_on_exact_jsd").schedule
    constant = type(published)(1.0, published.patience, published.threshold)
    assert (published.watches, constant.watches, constant.factor(10**6)) == ("jsd", None, 1.0)


def test_a_plateau_waits_for_its_patience_in_each_replica() -> None:
    """Replica 0 improves all the time, 1 never, 2 by less than the threshold; NaN is no improvement."""
    schedule = make(groups(), "sgd", "plateau_on_exact_jsd").schedule
    assert (schedule.gamma, schedule.patience, schedule.threshold) == (0.9, 19200, 1e-3)
    factors = []
    for k in range(7):
        schedule.observe(torch.tensor([0.9**k, float("nan") if k else 1.0, 1 - 1e-5 * k]).double(), 6400 * k)
        factors.append([float(f) for f in schedule.factor(6400 * k)])
    assert [f[0] for f in factors] == [1.0] * 7
    for r in (1, 2):
        assert [f[r] for f in factors] == pytest.approx([1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.81])
