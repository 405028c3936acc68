"""What every exploration of a discrete sampler must satisfy, found by listing configs/exploration."""

from __future__ import annotations

import pytest
import torch
from building import choices, composed, explorations, generators, make_sampler, make_target, make_trainer
from hydra.utils import instantiate
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Trajectories
from gfn_vi.exploration.base import BaseExploration
from gfn_vi.samplers.discrete.sampler import DiscreteSampler

R = 2
every_exploration = pytest.mark.parametrize("name", explorations("discrete"))
every_target = pytest.mark.parametrize("target", ["grid3x3", "tiny_dag"])
every_sampler = pytest.mark.parametrize("kind", ["tabular", "mlp"])
SCHEDULED = {"epsilon_uniform": "epsilon", "tempered": "temperature", "stop_bias": "bias"}


def make(name: str, *overrides: str) -> BaseExploration:
    return instantiate(composed(f"exploration={name}", *overrides).exploration, _convert_="all")


def check_valid(sampler: DiscreteSampler, drawn: Trajectories) -> None:
    """Each is walked step by step: legal, and its reward is that of where it stopped."""
    target, stop = sampler.target, sampler.target.n_actions - 1
    for r in range(R):
        for b in range(drawn.batch):
            n = int(drawn.mask[r, b].sum())
            state: Tensor = target.initial()
            for t in range(n):
                action = drawn.actions[r, b, t]
                assert torch.equal(drawn.states[r, b, t], state)
                assert bool(target.forward_mask(state)[action])
                assert (int(action) == stop) == (t == n - 1)
                state = target.step(state, action)
            assert bool((drawn.states[r, b, n:] == state).all())
            assert not bool(drawn.mask[r, b, n:].any())
            torch.testing.assert_close(drawn.log_reward[r, b], target.log_reward(state))


@every_exploration
@every_target
@every_sampler
def test_it_collects_trajectories(name: str, target: str, kind: str) -> None:
    """As many as asked for, valid, with the density that it says it has."""
    sampler, exploration, rng = make_sampler(make_target(target), kind, n_replicas=R), make(name), generators(0, R)
    for step, batch in enumerate((6, 6, 11)):
        drawn = exploration.collect(sampler, batch, rng, 6 * step)
        assert drawn.mask.shape[:2] == (R, batch)
        check_valid(sampler, drawn)
        density = exploration.log_density(sampler, drawn, 6 * step)
        assert (drawn.log_behavior is not None) == (density is not None) == exploration.has_density
        if density is not None:
            torch.testing.assert_close(drawn.log_behavior, density, rtol=1e-12, atol=1e-13)
            assert not density.requires_grad
    for key, value in exploration.statistics().items():
        assert value.shape == (R,), key


@every_exploration
def test_replicas_draw_apart_and_alone(name: str) -> None:
    """Replica r draws what it would draw alone, and not what another draws."""
    target = make_target("grid3x3")
    joint, sampler, rng = make(name), make_sampler(target, n_replicas=R, seed=0), generators(0, R)
    batches = [joint.collect(sampler, 8, rng, 8 * k) for k in range(3)]
    for r in range(R):
        alone, single, own = make(name), make_sampler(target, n_replicas=1, seed=r), generators(r, 1)
        for k, batch in enumerate(batches):
            drawn = alone.collect(single, 8, own, 8 * k)
            steps = drawn.mask.shape[2]
            assert torch.equal(batch.mask[r, :, :steps], drawn.mask[0])
            assert torch.equal(batch.states[r, :, : steps + 1], drawn.states[0])
    assert not torch.equal(batches[-1].states[0], batches[-1].states[1])


@pytest.mark.parametrize(("name", "key"), SCHEDULED.items())
@pytest.mark.parametrize("shape", choices("schedule"))
def test_schedules_move_it(name: str, key: str, shape: str) -> None:
    """At the end of an annealed schedule something else is drawn than at its start; a constant one stays."""
    exploration = make(name, f"schedule@exploration.{key}={shape}", "trainer.n_trajectories=1000")
    sampler = make_sampler(make_target("grid3x3"), n_replicas=R)
    drawn = sampler.rollout(20, generators(0, R))
    start, end = (exploration.log_density(sampler, drawn, seen) for seen in (0, 1000))
    assert torch.equal(start, end) == (shape == "constant")


@pytest.mark.parametrize("name", [n for n in explorations("discrete") if not make(n).has_density])
@pytest.mark.parametrize("objective", ["reverse_kl", "forward_kl", "chi_square"])
def test_weights_without_a_density_are_refused_unless_said(name: str, objective: str) -> None:
    arguments = (f"exploration={name}", f"objective={objective}", "sampler.hidden=[8]", "trainer.batch_size=8")
    with pytest.raises(ConfigError, match="weighting=unweighted"):
        make_trainer(*arguments)
    unweighted = (*arguments, "weighting@objective.weighting=unweighted")
    with pytest.raises(ConfigError, match="baseline=none"):  # reverse_kl and the others come with a baseline
        make_trainer(*unweighted)
    trainer = make_trainer(*unweighted, "baseline@objective.baseline=none")
    for _ in range(3):
        assert bool(trainer.update()[0].isfinite().all())


@pytest.mark.parametrize("name", [n for n in explorations("discrete") if not make(n).has_density])
def test_a_batch_without_fresh_trajectories_is_refused_at_once(name: str) -> None:
    exploration = make(name, "exploration.fraction=0.9")
    with pytest.raises(ConfigError, match="leaves no fresh trajectory in a batch of 2"):
        exploration.collect(make_sampler(make_target("grid3x3")), 2, generators(0, 1), 0)
