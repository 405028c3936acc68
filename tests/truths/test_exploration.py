"""What an exploration records is the density of what it draws; memory returns what was put in; resuming changes nothing."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from building import CONFIGS, TARGETS, composed, explorations, generators, make_exploration, make_sampler, make_target
from hydra.utils import instantiate
from measuring import path_keys
from scipy.stats import chisquare
from torch import Tensor

from gfn_vi.core.schedules import Schedule
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.exact.enumeration import as_trajectories, enumerate_paths
from gfn_vi.exploration.base import BaseExploration
from gfn_vi.exploration.memory import ObjectMemory, TrajectoryMemory
from gfn_vi.exploration.mixture import Mixture, shares
from gfn_vi.exploration.replay import BackwardRollout, Replay
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy, StopBias, Tempered
from gfn_vi.samplers.discrete.sampler import DiscreteSampler

EXACT = {"rtol": 1e-12, "atol": 1e-13}  # sums of some dozens of float64 numbers of order one
N_DRAWN = 20_000
SMALLEST_P_VALUE = 1e-4  # see test_terminating_distribution
ANNEALED = Schedule(start=1.0, end=0.2, duration=1000.0, shape="linear")

EXPLORATIONS: dict[str, BaseExploration] = {
    "on_policy": OnPolicy(),
    "epsilon": EpsilonUniform(0.3),
    "uniform": EpsilonUniform(1.0),
    "annealed_epsilon": EpsilonUniform(ANNEALED),
    "hot": Tempered(3.0),
    "cold": Tempered(0.4),
    "stop_bias": StopBias(1.5),
    "early_stop": StopBias(-1.0),
    "mixture": Mixture([OnPolicy(), EpsilonUniform(0.5), StopBias(1.0)], [2.0, 1.0, 1.0]),
    "nested": Mixture([Mixture([OnPolicy(), Tempered(2.0)], [3, 1]), EpsilonUniform(0.5)], [1, 1]),
}
every_exploration = pytest.mark.parametrize("name", EXPLORATIONS)
every_target = pytest.mark.parametrize("target", TARGETS)


def step_probabilities(name: str, log_pf: Tensor, legal: Tensor, seen: int) -> Tensor:
    """The behavior policy at one state, from the definition: log P_F [A], legal [A] -> probabilities [A]."""
    p = torch.where(legal, log_pf.exp(), 0.0)
    if name in ("epsilon", "uniform", "annealed_epsilon"):
        epsilon = {"epsilon": 0.3, "uniform": 1.0}.get(name, 1.0 - 0.8 * seen / 1000)
        return (1 - epsilon) * p + epsilon * legal.double() / legal.sum()
    if name in ("hot", "cold"):
        p = torch.where(legal, p ** (1 / (3.0 if name == "hot" else 0.4)), 0.0)
    if name in ("stop_bias", "early_stop"):
        p = p * torch.tensor([0.0] * (len(p) - 1) + [-1.5 if name == "stop_bias" else 1.0]).double().exp()
    return p / p.sum()


@every_target
@every_exploration
@pytest.mark.parametrize("seen", [0, 400])
@torch.no_grad()
def test_density_is_a_density_over_all_trajectories(name: str, target: str, seen: int) -> None:
    """Sums to 1, and is the product of the step probabilities of its definition (mixtures: weighted sums of products)."""
    space = make_target(target)
    sampler = make_sampler(space, n_replicas=2)
    trajectories = as_trajectories(space, 2)
    # a mixture's shares are those of the batch at hand: list every trajectory as often as makes them come out even
    repeated = trajectories.select(torch.arange(trajectories.batch).repeat(8).expand(2, -1))
    found = EXPLORATIONS[name].log_density(sampler, repeated, seen)[:, : trajectories.batch]
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2).double(), **EXACT)
    if isinstance(EXPLORATIONS[name], Mixture):
        return
    for k, (states, actions) in enumerate(enumerate_paths(space)):
        for r in range(2):
            product = 1.0
            for state, action in zip(states, actions, strict=True):
                log_pf = sampler.forward_log_probs(state.expand(2, 1, -1))[r, 0]
                product = product * step_probabilities(name, log_pf, space.forward_mask(state), seen)[action]
            torch.testing.assert_close(found[r, k].exp(), product, **EXACT)


@every_exploration
@pytest.mark.parametrize("target", ["grid3x3", "tiny_dag"])
@torch.no_grad()
def test_recorded_density_is_that_of_what_was_drawn(name: str, target: str) -> None:
    """log_behavior = log_density of the batch, and the histogram over trajectories follows it in every replica."""
    space = make_target(target)
    sampler = make_sampler(space, n_replicas=2)
    exploration = EXPLORATIONS[name]
    drawn = exploration.collect(sampler, N_DRAWN, generators(3, 2), 400)
    assert exploration.has_density
    torch.testing.assert_close(drawn.log_behavior, exploration.log_density(sampler, drawn, 400), **EXACT)
    everything = as_trajectories(space, 2)
    all_of_them = everything.select(torch.arange(everything.batch).repeat(8).expand(2, -1))
    density = exploration.log_density(sampler, all_of_them, 400)[:, : everything.batch].exp()
    names = path_keys(everything)[0]
    for r, row in enumerate(path_keys(drawn)):
        count = Counter(row)
        assert set(count) <= set(names)
        expected = density[r] / density[r].sum() * N_DRAWN  # the sum is 1 up to rounding, chisquare wants it exact
        # A fixed division of the batch among components varies less than independent draws: the test is then conservative.
        assert chisquare([count[key] for key in names], expected, sum_check=False).pvalue > SMALLEST_P_VALUE


@torch.no_grad()
def test_a_mixture_draws_its_shares_from_its_components() -> None:
    """The first part of the batch is the first component's, bit for bit, and every trajectory has the mixture's density."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    mixture = Mixture([OnPolicy(), StopBias(2.0)], [3, 1])
    drawn = mixture.collect(sampler, 8, generators(3, 2), 0)
    rng = generators(3, 2)
    parts = [OnPolicy().collect(sampler, 6, rng, 0), StopBias(2.0).collect(sampler, 2, rng, 0)]
    assert path_keys(drawn) == [a + b for a, b in zip(*map(path_keys, parts), strict=True)]
    weighted = torch.stack([c.log_density(sampler, drawn, 0).exp() for c in mixture.components])
    torch.testing.assert_close(drawn.log_behavior.exp(), 0.75 * weighted[0] + 0.25 * weighted[1], **EXACT)


def test_a_mixture_of_mixtures_is_one_mixture() -> None:
    inner = Mixture([OnPolicy(), StopBias(2.0)], [3, 1])
    nested = Mixture([inner, Tempered(2.0)], [2, 2])
    assert [type(c).__name__ for c in nested.components] == ["OnPolicy", "StopBias", "Tempered"]
    assert nested.weights == [1.5, 0.5, 2.0]


@pytest.mark.parametrize(
    ("weights", "batch", "expected"),
    [([1, 1], 7, [4, 3]), ([1, 2], 9, [3, 6]), ([5, 3, 2], 1, [1, 0, 0]), ([1, 1, 1], 2, [1, 1, 0])],
)
def test_shares_are_the_closest_whole_numbers(weights: list[float], batch: int, expected: list[int]) -> None:
    assert shares(weights, batch) == expected


def test_explorations_without_memory_of_their_density_say_so() -> None:
    sampler = make_sampler(make_target("grid3x3"))
    for name in ("replay", "prioritized_replay", "backward_rollout"):
        exploration = make_exploration(name)
        assert not exploration.has_density
        rng = generators(0, 1)
        for step in range(2):
            assert exploration.collect(sampler, 6, rng, step).log_behavior is None
        assert not Mixture([OnPolicy(), exploration], [1, 1]).has_density


# -- schedules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedules_run_from_start_to_end(shape: str) -> None:
    schedule = Schedule(start=2.0, end=0.5, duration=1000, shape=shape)
    assert [schedule.value(n) for n in (0, 1000, 5000)] == [2.0, 0.5, 0.5]
    assert schedule.value(500) == pytest.approx(1.25)
    quarter = {"linear": 1.625, "cosine": 0.5 + 1.5 * (1 + math.cos(math.pi / 4)) / 2}[shape]
    assert schedule.value(250) == pytest.approx(quarter)
    assert Schedule(start=2.0).value(10**9) == 2.0


@torch.no_grad()
def test_a_schedule_at_zero_is_on_policy_bit_for_bit() -> None:
    sampler = make_sampler(make_target("grid3x3"))
    wanted = OnPolicy().collect(sampler, 50, generators(1, 1), 0)
    off = Schedule(start=1.0, end=0.0, duration=10, shape="cosine")
    for exploration in (EpsilonUniform(off), StopBias(off), Tempered(replace(off, end=1.0, start=2.0))):
        found = exploration.collect(sampler, 50, generators(1, 1), 10)
        assert torch.equal(found.states, wanted.states)
        assert torch.equal(found.log_behavior, wanted.log_behavior)
        assert not torch.equal(exploration.collect(sampler, 50, generators(1, 1), 0).log_behavior, wanted.log_behavior)


# -- memory --------------------------------------------------------------------------------------------------------------


def drawn_batches(sampler: DiscreteSampler, sizes: list[int]) -> list[Trajectories]:
    """Batches of different lengths: the first stops early."""
    rng = generators(8, sampler.n_replicas)
    return [sampler.rollout(n, rng, StopBias(-5.0).tilt(0) if k == 0 else None) for k, n in enumerate(sizes)]


def identity(trajectories: Trajectories) -> list[list[tuple[object, ...]]]:
    """Actions, states and reward of each trajectory, without padding."""
    out = []
    for r in range(trajectories.mask.shape[0]):
        rows = []
        for b in range(trajectories.batch):
            n = int(trajectories.mask[r, b].sum())
            states = tuple(map(tuple, trajectories.states[r, b, : n + 1].tolist()))
            rows.append((tuple(trajectories.actions[r, b, :n].tolist()), states, float(trajectories.log_reward[r, b])))
        out.append(rows)
    return out


@pytest.mark.parametrize("priority", ["uniform", "reward", "rank"])
def test_memory_holds_the_newest_and_returns_them_whole(priority: str) -> None:
    """First in, first out: after 4 + 7 + 5 trajectories a memory of 10 holds the last 10; all of them come back, others never."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    memory, batches = TrajectoryMemory(10, priority, 1.0, 0.01), drawn_batches(sampler, [4, 7, 5])
    assert len({batch.mask.shape[2] for batch in batches}) > 1, "of different lengths"
    for k, batch in enumerate(batches):
        memory.add(batch, seen=100 * k)
    assert memory.size.tolist() == [10, 10]
    newest = [[row for batch in batches for row in identity(batch)[r]][-10:] for r in range(2)]
    drawn = memory.draw(400, generators(0, 2))
    for r in range(2):
        assert set(identity(drawn)[r]) == set(newest[r])
    end = drawn.mask.sum(2)[..., None, None].expand(-1, -1, 1, 2)
    assert torch.equal(drawn.terminal_states(), drawn.states.gather(2, end)[:, :, 0])
    assert memory.mean_age(300).tolist() == pytest.approx([300 - (5 * 100 + 5 * 200) / 10] * 2)


def test_a_batch_larger_than_the_memory_leaves_its_newest() -> None:
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    memory, (batch,) = TrajectoryMemory(3, "uniform", 1.0, 0.01), drawn_batches(sampler, [9])
    memory.add(batch, 0)
    for r, row in enumerate(identity(memory.draw(100, generators(0, 2)))):
        assert set(row) == set(identity(batch)[r][-3:])


# Priority, exponent, rank weight.
PRIORITIES = [
    *(("uniform", 5.0, 0.1), ("reward", 1.0, 0.1), ("reward", 0.5, 0.1), ("reward", -1.0, 0.1)),
    *(("rank", 1.0, 0.1), ("rank", 1.0, 1.0)),
]


@pytest.mark.parametrize(("priority", "exponent", "rank_weight"), PRIORITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_draws_in_proportion_to_its_weights(
    priority: str, exponent: float, rank_weight: float, dtype: torch.dtype
) -> None:
    """Equal, the power of the reward, or 1 / (k n + rank); the memory is not full, and what it has no item for is never drawn."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    memory, (batch,) = TrajectoryMemory(20, priority, exponent, rank_weight), drawn_batches(sampler, [12])
    distinct = replace(batch, log_reward=torch.linspace(-1, 2, 12).expand(2, -1).to(dtype))
    memory.add(distinct, 0)
    drawn = memory.draw(N_DRAWN, generators(2, 2, dtype=dtype))
    weights = (distinct.log_reward[0].double() * (exponent if priority == "reward" else 0)).exp()
    if priority == "rank":
        weights = 1 / (rank_weight * 12 + torch.arange(12).flip(0).double())  # rewards rise: the last has rank 0
    for r in range(2):
        place = torch.bucketize(drawn.log_reward[r], distinct.log_reward[0].contiguous())
        counts = torch.bincount(place, minlength=12)
        assert chisquare(counts, N_DRAWN * weights / weights.sum()).pvalue > SMALLEST_P_VALUE


@torch.no_grad()
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_replay_mixes_fresh_and_remembered(fraction: float) -> None:
    """The first batch is all fresh; then a share comes from what was fresh before, and only fresh ones are stored."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    replay = Replay(OnPolicy(), fraction, capacity=1000, priority="uniform", exponent=1.0)
    rng = generators(1, 2)
    first = replay.collect(sampler, 8, rng, 0)
    assert replay.memory.size.tolist() == [8, 8]
    stored = [set(row) for row in identity(first)]
    for step in range(1, 5):
        calls = sampler.reward_calls.clone()
        batch = replay.collect(sampler, 8, rng, 8 * step)
        n_fresh = 8 - round(8 * fraction)
        assert replay.memory.size.tolist() == [8 + n_fresh * step] * 2
        assert (sampler.reward_calls - calls).tolist() == [n_fresh, n_fresh]  # replayed rewards are not asked for again
        for r, row in enumerate(identity(batch)):
            assert set(row[n_fresh:]) <= stored[r]
            stored[r] |= set(row[:n_fresh])
    statistics = replay.statistics()
    assert statistics["replay_size"].tolist() == [8.0 + 4 * n_fresh] * 2
    ages = [32.0] * 8 + [32.0 - 8 * step for step in range(1, 5) for _ in range(n_fresh)]
    assert statistics["replay_age"].tolist() == pytest.approx([sum(ages) / len(ages)] * 2)


def test_object_memory_keeps_what_each_replica_wants() -> None:
    """Replicas store different numbers of objects; each holds its own newest, with their rewards and ages."""
    memory, stored = ObjectMemory(5, "uniform", 1.0, 0.01), [[], []]
    rng = generators(4, 2)
    for step, share in enumerate((0.0, 0.3, 0.9, 0.6)):
        objects = rng.normal(7, 3)
        keep = rng.uniform(7) < share
        keep[0, 2] = keep[1, 2:4] = True
        memory.add(objects, objects.sum(-1), 10 * step, keep)
        for r in range(2):
            stored[r] = [*stored[r], *((tuple(x), 10 * step) for x in objects[r, keep[r]].tolist())][-5:]
        assert memory.size.tolist() == [len(stored[0]), len(stored[1])]
        assert memory.mean_age(40).tolist() == pytest.approx([40 - sum(age for _, age in row) / len(row) for row in stored])
        drawn, log_reward = memory.draw(200, rng)
        torch.testing.assert_close(log_reward, drawn.sum(-1), **EXACT)
        for r in range(2):
            assert set(map(tuple, drawn[r].tolist())) == {x for x, _ in stored[r]}


@torch.no_grad()
def test_backward_rollouts_reach_the_remembered_objects_by_new_paths() -> None:
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    exploration = BackwardRollout(OnPolicy(), 0.5, capacity=1000, priority="uniform", exponent=1.0)
    rng = generators(2, 2)
    first = exploration.collect(sampler, 40, rng, 0)
    calls = sampler.reward_calls.clone()
    batch = exploration.collect(sampler, 40, rng, 40)
    assert (sampler.reward_calls - calls).tolist() == [20, 20]  # remembered rewards are not asked for again
    known = [set(map(tuple, row)) for row in first.terminal_states().tolist()]
    paths = [set(row) for row in path_keys(first)]
    recalled = batch.select(torch.arange(20, 40).expand(2, -1))
    for r in range(2):
        assert set(map(tuple, recalled.terminal_states()[r].tolist())) <= known[r]
        assert not set(path_keys(recalled)[r]) <= paths[r]
    torch.testing.assert_close(recalled.log_reward, sampler.target.log_reward(recalled.terminal_states()))
    # they are trajectories of the space: the enumerated ones, and P_F evaluates them as finite
    everything = set(path_keys(as_trajectories(sampler.target, 1))[0])
    assert all(set(row) <= everything for row in path_keys(recalled))
    assert bool(sampler.evaluate(recalled).log_ratio().isfinite().all())


@torch.no_grad()
@pytest.mark.parametrize("name", explorations("discrete"))
def test_state_dict_round_trip_goes_on_bit_for_bit(name: str) -> None:
    """Through torch.save, as in a checkpoint; twice in a row, so also before the restored memory was used."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    ours, rng = make_exploration(name), generators(1, 2)
    for step in range(4):
        ours.collect(sampler, 7, rng, 7 * step)
    theirs, between, rng_copy = make_exploration(name), make_exploration(name), generators(9, 2)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    between.load_state_dict(torch.load(file, weights_only=True))
    theirs.load_state_dict(between.state_dict())
    rng_copy.load_state_dict(rng.state_dict())
    for step in range(4, 8):
        a, b = ours.collect(sampler, 7, rng, 7 * step), theirs.collect(sampler, 7, rng_copy, 7 * step)
        assert torch.equal(a.states, b.states)
        assert torch.equal(a.actions, b.actions)
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(a.log_reward, b.log_reward)
    for key, value in ours.statistics().items():
        assert torch.equal(value, theirs.statistics()[key])


@pytest.mark.parametrize("arm", sorted(p.stem for p in (CONFIGS / "arm" / "dag_posterior").glob("*_off_policy.yaml")))
def test_off_policy_arms_of_dag_posterior_explore_as_they_say(arm: str) -> None:
    """Epsilon from 1 to 0.1 over the first half of the run: a schedule's own start must win over epsilon_uniform's."""
    config = composed("experiment=dag_posterior", f"arm=dag_posterior/{arm}", "trainer.n_trajectories=1000")
    exploration = instantiate(config.exploration, _convert_="all")
    epsilon = getattr(exploration, "source", exploration).epsilon
    assert [epsilon.value(n) for n in (0, 250, 500, 1000)] == pytest.approx([1.0, 0.55, 0.1, 0.1], abs=1e-12)
