"""What every exploration of a sampler of a density must satisfy, found by listing configs/exploration."""

from __future__ import annotations

import io

import pytest
import torch
from building import composed, explorations, generators
from densities import NETWORK, make
from hydra.utils import instantiate

from contracts.test_continuous_samplers import R, check_valid
from gfn_vi.exploration.base import BaseExploration
from gfn_vi.samplers.continuous.sampler import ContinuousSampler

EXACT = {"rtol": 1e-12, "atol": 1e-12}
NAMES = explorations("gaussian")
# What makes them search, and search little, in three batches.
SMALL = {"local_search": ("every=10", "n_chains=5", "n_steps=6", "burn_in=3", "step_size=0.1")}
every_exploration = pytest.mark.parametrize("name", NAMES)


def make_exploration(name: str) -> BaseExploration:
    overrides = (f"exploration.{override}" for override in SMALL.get(name, ()))
    return instantiate(composed(f"exploration={name}", *overrides).exploration, _convert_="all")


def make_sampler(n_replicas: int = R, seed: int = 0) -> ContinuousSampler:
    return make("diffusion", *NETWORK, "langevin=scalar", n_replicas=n_replicas, seed=seed)


def test_those_with_memory_are_listed() -> None:
    assert {"on_policy", "widened_steps", "replay", "prioritized_replay", "backward_rollout", "local_search"} <= set(NAMES)
    assert "epsilon_uniform" not in NAMES
    assert not {"widened_steps", "local_search"} & set(explorations("discrete"))


@every_exploration
def test_it_collects_trajectories(name: str) -> None:
    """As many as asked for, valid, with the density that it says it has."""
    sampler, exploration, rng = make_sampler(), make_exploration(name), generators(0, R)
    for step, batch in enumerate((6, 6, 11)):
        drawn = exploration.collect(sampler, batch, rng, 6 * step)
        assert drawn.batch == batch
        check_valid(sampler, drawn)
        density = exploration.log_density(sampler, drawn, 6 * step)
        assert (drawn.log_behavior is not None) == (density is not None) == exploration.has_density
        if density is not None:
            torch.testing.assert_close(drawn.log_behavior, density, **EXACT)
    for key, value in exploration.statistics().items():
        assert value.shape == (R,), key
        assert bool(value.isfinite().all()), key


@every_exploration
def test_replicas_draw_apart_and_alone(name: str) -> None:
    """Replica r draws what it would draw alone, and not what another draws."""
    joint, sampler, rng = make_exploration(name), make_sampler(), generators(0, R)
    batches = [joint.collect(sampler, 8, rng, 8 * k) for k in range(5)]
    for r in range(R):
        alone, single, own = make_exploration(name), make_sampler(1, seed=r), generators(r, 1)
        for k, batch in enumerate(batches):
            drawn = alone.collect(single, 8, own, 8 * k)
            torch.testing.assert_close(batch.states[r], drawn.states[0], rtol=1e-9, atol=1e-9)
        for key, value in alone.statistics().items():
            torch.testing.assert_close(joint.statistics()[key][r : r + 1], value, rtol=1e-9, atol=1e-9)
        assert single.reward_calls.tolist() == sampler.reward_calls[r : r + 1].tolist()
        assert single.score_calls.tolist() == sampler.score_calls[r : r + 1].tolist()
    assert not torch.equal(batches[-1].states[0], batches[-1].states[1])


@every_exploration
def test_state_dict_round_trip_goes_on_bit_for_bit(name: str) -> None:
    """Through torch.save, as in a checkpoint; twice in a row, so also before the restored memory was used."""
    sampler, ours, rng = make_sampler(), make_exploration(name), generators(1, R)
    for step in range(4):
        ours.collect(sampler, 7, rng, 7 * step)
    theirs, between, rng_copy = make_exploration(name), make_exploration(name), generators(9, R)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    between.load_state_dict(torch.load(file, weights_only=True))
    theirs.load_state_dict(between.state_dict())
    rng_copy.load_state_dict(rng.state_dict())
    for step in range(4, 9):
        a, b = ours.collect(sampler, 7, rng, 7 * step), theirs.collect(sampler, 7, rng_copy, 7 * step)
        assert torch.equal(a.states, b.states)
        assert torch.equal(a.log_reward, b.log_reward)
    assert ours.statistics().keys() == theirs.statistics().keys()
    for key, value in ours.statistics().items():
        assert torch.equal(value, theirs.statistics()[key])
