"""What every objective must satisfy, found by listing configs/objective."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch
from building import (
    BASELINES,
    ESTIMATORS,
    PENALTIES,
    WEIGHTINGS,
    choices,
    generators,
    make_exploration,
    make_objective,
    make_sampler,
    make_target,
)

from gfn_vi.core.types import Evaluation, Need, Role
from gfn_vi.evaluation.exact.enumeration import enumerate_paths, enumerate_policies
from gfn_vi.objectives.penalties import Square
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.samplers.discrete.tabular import TabularSampler

R, BATCH = 2, 6
every_objective = pytest.mark.parametrize("name", choices("objective"))
NO_BACKWARD = {"flow_matching"}  # P_B takes no part


def evaluated(name: str, kind: str = "mlp", seed: int = 0) -> tuple[DiscreteSampler, Evaluation]:
    """An off-policy batch on the 3 x 3 grid, with all that the objective needs."""
    sampler = make_sampler(make_target("grid3x3"), kind, n_replicas=R, flow=True)
    drawn = make_exploration("epsilon_uniform").collect(sampler, BATCH, generators(seed, R), 0)
    return sampler, sampler.evaluate(drawn, make_objective(name).needs)


def test_nested_choices_are_those_of_the_configs() -> None:
    """The lists that other tests go through."""
    assert sorted(BASELINES) == choices("baseline")
    assert sorted(WEIGHTINGS) == choices("weighting")
    assert sorted(PENALTIES) == choices("penalty")
    assert sorted(ESTIMATORS) == choices("estimator")


@every_objective
def test_it_is_a_loss_per_replica(name: str) -> None:
    """[R], finite, of the sampler's type, with a gradient for every role it is meant to train."""
    sampler, evaluation = evaluated(name)
    objective = make_objective(name)
    loss = objective(evaluation)
    assert loss.shape == (R,)
    assert loss.dtype == torch.float64
    assert bool(loss.isfinite().all())
    for role, parameters in sampler.parameter_groups().items():
        grads = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        trained = {
            Role.FORWARD: True,
            Role.BACKWARD: name not in NO_BACKWARD,
            Role.FLOW: Need.FLOW in objective.needs,
            Role.LOG_Z: True,
        }
        assert any(bool(g.any()) for g in grads) == trained[role], role
    assert objective.needs <= frozenset(Need)
    for key, value in objective.statistics(evaluation).items():
        assert value.shape == (R,), key


@every_objective
def test_it_asks_for_all_that_it_uses(name: str) -> None:
    """An evaluation made for its needs is enough, one without them is not."""
    objective = make_objective(name)
    sampler, evaluation = evaluated(name)
    objective(evaluation)
    offered = {
        Need.FLOW: evaluation.log_flow,
        Need.STOP_FLOW: evaluation.log_flow,
        Need.INFLOW: evaluation.log_inflow,
        Need.SCORE_NORMS: evaluation.score_norm_pf,
    }
    for need, value in offered.items():
        assert value is not None or need not in objective.needs
    structural = objective.needs - {Need.BEHAVIOR}
    if structural:
        bare = sampler.evaluate(sampler.rollout(BATCH, generators(0, R)))
        with pytest.raises(AssertionError):
            objective(bare)


@every_objective
def test_statistics_change_nothing(name: str) -> None:
    _, evaluation = evaluated(name)
    watched, alone = make_objective(name), make_objective(name)
    for _ in range(2):
        watched.statistics(evaluation)
        assert torch.equal(watched(evaluation), alone(evaluation))


MEMORIES = [
    (name, baseline)
    for name in ("reverse_kl", "forward_kl", "reverse_wake_sleep", "symmetric_kl", "jensen_shannon")
    for baseline in BASELINES
    if (name, baseline) != ("jensen_shannon", "global_log_z")
]


@pytest.mark.parametrize(("name", "baseline"), MEMORIES)
def test_state_dict_round_trip_goes_on_bit_for_bit(name: str, baseline: str) -> None:
    """Through a file, as in a checkpoint: gradients of the next batches are the same."""
    ours, theirs = make_objective(name, baseline=baseline), make_objective(name, baseline=baseline)
    sampler, _ = evaluated(name)
    batches = [sampler.evaluate(sampler.rollout(BATCH, generators(k, R)), ours.needs) for k in range(4)]
    for batch in batches[:2]:
        ours(batch)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[2:]:
        parameters = sampler.parameter_groups()[Role.FORWARD]
        a, b = (torch.autograd.grad(o(batch).sum(), parameters, retain_graph=True) for o in (ours, theirs))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jensen_shannon"])
def test_memories_of_terms_are_kept_apart(name: str) -> None:
    """A divergence listed twice is twice the divergence, whatever the baseline remembers."""
    sampler, _ = evaluated(name)
    once, twice = (make_objective(name, baseline="running_mean") for _ in range(2))
    for sides in twice.sides.values():
        sides.extend(list(sides))
    for k in range(3):
        batch = sampler.evaluate(sampler.rollout(BATCH, generators(k, R)), once.needs)
        parameters = [p for role in (Role.FORWARD, Role.BACKWARD) for p in sampler.parameter_groups()[role]]
        a, b = (torch.autograd.grad(o(batch).sum(), parameters, retain_graph=True) for o in (once, twice))
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(2 * x, y, rtol=1e-12, atol=1e-14)


def solve(name: str) -> TabularSampler:
    """Tables at the optimum for the sampler's own P_B: flows are sums of R P_B over the trajectories through a state."""
    target = make_target("grid3x3")
    sampler = make_sampler(target, "tabular", n_replicas=R, flow=True)
    assert isinstance(sampler, TabularSampler)
    listed = enumerate_policies(sampler, target)
    mass = (listed.log_pb + listed.log_reward).detach().exp()
    flow: Counter[tuple[int, ...]] = Counter()
    edge: Counter[tuple[tuple[int, ...], int]] = Counter()
    for k, (states, actions) in enumerate(enumerate_paths(target)):
        for state, action in zip(states, actions, strict=True):
            flow[tuple(state.tolist())] += mass[:, k]
            edge[tuple(state.tolist()), action] += mass[:, k]
    with torch.no_grad():
        for (state, action), part in edge.items():
            row = target.state_index(torch.tensor(state))
            sampler.forward_table[:, row, action] = (part / flow[state]).log()
            sampler.flow_table[:, row, 0] = flow[state].log()
        sampler.log_Z.fill_(listed.log_Z)
    return sampler


@every_objective
def test_the_optimum_is_a_minimum(name: str) -> None:
    """Balance losses are 0 on every batch there, estimated divergences too; off-policy as well."""
    sampler, objective = solve(name), make_objective(name)
    drawn = make_exploration("epsilon_uniform").collect(sampler, BATCH, generators(0, R), 0)
    loss = objective(sampler.evaluate(drawn, objective.needs))
    torch.testing.assert_close(loss, torch.zeros(R).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["trajectory_balance", "detailed_balance", "subtrajectory_balance", "flow_matching", "log_variance"]
)
def test_balance_losses_have_no_gradient_at_the_optimum(name: str) -> None:
    """On every batch, for every role: no noise is left, which is why they can converge at a constant rate."""
    sampler, objective = solve(name), make_objective(name)
    drawn = make_exploration("epsilon_uniform").collect(sampler, BATCH, generators(0, R), 0)
    loss = objective(sampler.evaluate(drawn, objective.needs))
    for grad in torch.autograd.grad(loss.sum(), list(sampler.parameters()), allow_unused=True, materialize_grads=True):
        assert float(grad.abs().max()) < 1e-12


def test_the_shipped_penalty_is_the_square() -> None:
    for name in ("trajectory_balance", "detailed_balance", "subtrajectory_balance", "flow_matching", "modified_detailed_balance"):
        assert isinstance(make_objective(name).penalty, Square)
