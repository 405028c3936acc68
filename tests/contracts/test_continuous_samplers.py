"""What every sampler of a density must satisfy, found by listing configs/sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from building import choices, generators, make_objective, samplers
from densities import CASES, DIM, NETWORK, VARIANTS, make, spread
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Need, Role, Trajectories, concatenate
from gfn_vi.exploration.mixture import Mixture
from gfn_vi.exploration.replay import BackwardRollout
from gfn_vi.exploration.tilted import EpsilonUniform, OnPolicy
from gfn_vi.exploration.widened import WidenedSteps
from gfn_vi.samplers.continuous import sampler as chains
from gfn_vi.samplers.continuous.sampler import ContinuousSampler

R = 2
EXACT = {"rtol": 1e-12, "atol": 1e-12}
PATHS = (Need.PATHWISE, Need.STICKING_THE_LANDING)
TILT = WidenedSteps(0.4).tilt(0)


@pytest.fixture(params=CASES, ids="-".join)
def sampler(request: pytest.FixtureRequest) -> ContinuousSampler:
    name, variant = request.param
    return spread(make(name, *VARIANTS[name][variant]))


def test_every_sampler_is_listed_here() -> None:
    assert sorted(VARIANTS) == samplers("continuous")


def test_parameters_have_one_role_and_the_replica_axis_first(sampler: ContinuousSampler) -> None:
    groups = sampler.parameter_groups()
    grouped = [p for parameters in groups.values() for p in parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(sampler.parameters())
    assert all(p.shape[0] == R and p.dtype == torch.float64 for p in grouped)
    assert groups[Role.LOG_Z] == [sampler.log_Z]
    assert all(groups.values()), "a role without parameters is none"
    for p in grouped:
        assert not torch.equal(p[0], p[1])


def check_valid(sampler: ContinuousSampler, drawn: Trajectories) -> None:
    """Chains of T steps from 0, all of them alive, with the reward of their ends."""
    steps, batch = sampler.n_steps, drawn.batch
    assert drawn.states.shape == (R, batch, steps + 1, DIM)
    assert drawn.actions.shape == (R, batch, steps, 0)
    assert not bool(drawn.states[:, :, 0].any())
    assert bool(drawn.mask.all())
    assert drawn.mask.shape == (R, batch, steps)
    assert bool(drawn.states.isfinite().all())
    assert not any(t.requires_grad for t in vars(drawn).values() if isinstance(t, Tensor))
    torch.testing.assert_close(drawn.log_reward, sampler.target.log_reward(drawn.terminal_states()), **EXACT)


@pytest.mark.parametrize("tilt", [None, TILT], ids=["plain", "widened"])
def test_rollouts_are_trajectories_with_their_density(sampler: ContinuousSampler, tilt: Any) -> None:
    drawn = sampler.rollout(9, generators(0, R), tilt)
    check_valid(sampler, drawn)
    torch.testing.assert_close(drawn.log_behavior, sampler.log_density(drawn, tilt), **EXACT)
    plain = sampler.evaluate(drawn).trajectory_log_pf.detach()
    assert torch.allclose(drawn.log_behavior, plain, **EXACT) == (tilt is None)


def test_backward_rollouts_are_trajectories_to_the_given_objects(sampler: ContinuousSampler) -> None:
    terminals = generators(3, R).normal(7, DIM)
    drawn = sampler.backward_rollout(terminals, generators(1, R))
    check_valid(sampler, drawn)
    assert torch.equal(drawn.terminal_states(), terminals)
    assert drawn.log_behavior is None
    assert not bool(sampler.evaluate(drawn).log_pb[:, :, 0].any())


@pytest.mark.parametrize("rows", [1, 40, 10**9])
def test_values_and_gradients_do_not_depend_on_how_the_batch_is_divided(
    sampler: ContinuousSampler, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor on whether what a gradient needs is kept or computed again."""
    drawn = sampler.rollout(11, generators(0, R))
    needs = frozenset({Need.FLOW} & sampler.offers)
    few = drawn.select(torch.tensor([[3, 7], [10, 0]]))

    def evaluated(t: Trajectories) -> tuple[Tensor, Tensor, list[Tensor]]:
        evaluation = sampler.evaluate(t, needs)
        flow = evaluation.log_flow if needs else torch.zeros(())
        loss = (evaluation.residual().square().mean(1) + flow.square().sum()).sum()
        grads = torch.autograd.grad(loss, list(sampler.parameters()), allow_unused=True, materialize_grads=True)
        return evaluation.log_ratio().detach(), flow.detach(), grads

    ratio, flow, grads = evaluated(drawn)
    monkeypatch.setitem(chains.CHUNK_ROWS, "cpu", rows)
    monkeypatch.setitem(chains.KEPT_ROWS, "cpu", (0, 0))
    again = evaluated(drawn)
    torch.testing.assert_close(again[0], ratio, **EXACT)
    torch.testing.assert_close(again[1], flow, **EXACT)
    for a, b in zip(again[2], grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    alone = evaluated(few)[0]
    for r, chosen in enumerate([[3, 7], [10, 0]]):
        torch.testing.assert_close(alone[r], ratio[r, chosen], **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluate_is_differentiable_and_of_its_type(sampler: ContinuousSampler, dtype: torch.dtype) -> None:
    sampler = sampler.to(dtype)
    drawn = sampler.rollout(5, generators(0, R, dtype=dtype))
    evaluation = sampler.evaluate(drawn, frozenset({Need.FLOW} & sampler.offers))
    assert evaluation.residual().dtype == drawn.log_behavior.dtype == dtype
    assert evaluation.log_pf.requires_grad
    assert evaluation.log_pf.shape == evaluation.log_pb.shape == drawn.mask.shape
    assert evaluation.log_pb.requires_grad == (Role.BACKWARD in sampler.parameter_groups())
    if evaluation.log_flow is not None:
        assert evaluation.log_flow.shape == (R, 5, sampler.n_steps + 1)
        assert evaluation.log_flow.dtype == dtype
        assert torch.equal(evaluation.log_flow[:, :, 0], sampler.log_Z[:, None].expand(R, 5))
        assert torch.equal(evaluation.log_flow[:, :, -1], drawn.log_reward)


def test_a_replica_is_the_sampler_with_its_seed(sampler: ContinuousSampler, request: pytest.FixtureRequest) -> None:
    """Weights, rollouts forward and backward, evaluation and gradients along the noise."""
    name, variant = request.node.callspec.params["sampler"]
    drawn = sampler.rollout(6, generators(0, R), TILT)
    back = sampler.backward_rollout(drawn.terminal_states(), generators(5, R))
    path = frozenset({Need.PATHWISE} & sampler.offers)
    loss = sampler.evaluate(drawn, path).residual().square().sum(1)
    grads = torch.autograd.grad(loss.sum(), list(sampler.parameters()), allow_unused=True, materialize_grads=True)
    for r in range(R):
        alone = spread(make(name, *VARIANTS[name][variant], n_replicas=1, seed=r), seed=r)
        own = alone.rollout(6, generators(r, 1), TILT)
        for field in ("states", "log_reward", "log_behavior"):
            torch.testing.assert_close(getattr(drawn, field)[r], getattr(own, field)[0], **EXACT)
        own_back = alone.backward_rollout(own.terminal_states(), generators(5 + r, 1))
        torch.testing.assert_close(back.states[r], own_back.states[0], **EXACT)
        own_loss = alone.evaluate(own, path).residual().square().sum(1)
        own_grads = torch.autograd.grad(own_loss.sum(), list(alone.parameters()), allow_unused=True, materialize_grads=True)
        for a, b in zip(grads, own_grads, strict=True):
            torch.testing.assert_close(a[r], b[0], rtol=1e-9, atol=1e-10)
    assert not torch.equal(drawn.states[0], drawn.states[1])


def test_calls_are_counted_by_replica(sampler: ContinuousSampler) -> None:
    """Rewards of ends, and of inner states where flows look forward; scores where the drift does; both along the noise."""
    visited = 7 * sampler.n_steps if sampler.uses_score else 0
    drawn = sampler.rollout(7, generators(0, R))
    assert (sampler.reward_calls.tolist(), sampler.score_calls.tolist()) == ([7, 7], [visited, visited])
    sampler.backward_rollout(drawn.terminal_states(), generators(0, R))
    sampler.evaluate(drawn)
    sampler.log_density(drawn, TILT)
    assert (sampler.reward_calls.tolist(), sampler.score_calls.tolist()) == ([14, 14], [3 * visited] * R)
    if Need.FLOW in sampler.offers:
        sampler.evaluate(drawn, frozenset({Need.FLOW}))
        inner = 7 * (sampler.n_steps - 1) if sampler.flow_sees_reward() else 0
        assert sampler.reward_calls.tolist() == [14 + inner] * R
        assert sampler.score_calls.tolist() == [4 * visited] * R
    for need in set(PATHS) & sampler.offers:
        rewards, scores = sampler.reward_calls.clone(), sampler.score_calls.clone()
        sampler.evaluate(drawn, frozenset({need})).residual().sum().backward()
        assert (sampler.reward_calls - rewards).tolist() == [7, 7]
        assert (sampler.score_calls - scores).tolist() == [visited + 7] * R


def test_state_dict_round_trip(sampler: ContinuousSampler) -> None:
    drawn = sampler.rollout(6, generators(0, R))
    wanted = sampler.evaluate(drawn).residual()
    state = {k: v.clone() for k, v in sampler.state_dict().items()}
    assert "score_calls" in state
    with torch.no_grad():
        for p in sampler.parameters():
            p.add_(1.0)
    assert not torch.equal(sampler.evaluate(drawn).residual(), wanted)
    sampler.load_state_dict(state)
    assert torch.equal(sampler.evaluate(drawn).residual(), wanted)


def test_repeated_replicas_have_the_same_parameters(sampler: ContinuousSampler) -> None:
    drawn = sampler.rollout(6, generators(0, R))
    twin = sampler.repeated(2)
    twice = drawn.map(lambda x: x.repeat_interleave(2, 0))
    torch.testing.assert_close(twin.evaluate(twice).residual()[::2], sampler.evaluate(drawn).residual(), **EXACT)
    assert twin.rollout(3, generators(0, 2 * R)).batch == 3
    assert all(getattr(twin, name).shape == (2 * R,) for name in twin.counters)
    assert twin.target is sampler.target


OBJECTIVES = [name for name in choices("objective") if Need.INFLOW not in make_objective(name).needs]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_run_unchanged(sampler: ContinuousSampler, name: str) -> None:
    """Finite, with a gradient for P_F that is a replica's own; those whose needs are not offered are refused by `offers`."""
    objective = make_objective(name)
    needs = objective.needs - {Need.BEHAVIOR, Need.ON_POLICY}
    assert Need.STOP_FLOW not in sampler.offers
    if not needs <= sampler.offers:
        assert needs <= {Need.STOP_FLOW, Need.FLOW}
        return
    drawn = WidenedSteps(0.2).collect(sampler, 8, generators(0, R), 0)
    if Need.ON_POLICY in objective.needs:
        drawn = OnPolicy().collect(sampler, 8, generators(0, R), 0)
    loss = objective(sampler.evaluate(drawn, objective.needs))
    assert loss.shape == (R,)
    assert bool(loss.isfinite().all())
    forward = sampler.parameter_groups()[Role.FORWARD]
    for r in range(R):
        grads = torch.autograd.grad(loss[r], forward, retain_graph=True, allow_unused=True, materialize_grads=True)
        for q in range(R):
            assert any(bool(g[q].any()) for g in grads) == (q == r)
            assert all(bool(g[q].isfinite().all()) for g in grads)


@pytest.mark.parametrize("need", PATHS)
def test_values_along_the_noise_are_the_plain_ones(sampler: ContinuousSampler, need: Need) -> None:
    assert (need in sampler.offers) == sampler.has_noise_path
    if need not in sampler.offers:
        with pytest.raises(NotImplementedError, match="no path"):
            sampler.evaluate(sampler.rollout(5, generators(0, R)), frozenset({need}))
        return
    drawn = sampler.rollout(5, generators(0, R), TILT)
    plain, along = sampler.evaluate(drawn), sampler.evaluate(drawn, frozenset({need}))
    for field in ("log_pf", "log_pb", "log_reward", "log_Z", "log_behavior", "mask"):
        torch.testing.assert_close(getattr(along, field), getattr(plain, field), **EXACT)
    assert along.log_reward.requires_grad
    assert not plain.log_reward.requires_grad


@pytest.mark.parametrize("also", [frozenset(), *(frozenset({need}) for need in PATHS)])
def test_score_norms_are_those_of_each_trajectory(sampler: ContinuousSampler, also: frozenset[Need]) -> None:
    """At fixed states, whatever moves along the noise."""
    if not also <= sampler.offers:
        return
    drawn = sampler.rollout(3, generators(0, R))
    found = sampler.evaluate(drawn, also | {Need.SCORE_NORMS})
    plain = sampler.evaluate(drawn)
    pairs = ((plain.trajectory_log_pf, found.score_norm_pf), (plain.trajectory_log_pb, found.score_norm_pb))
    for log_prob, norms in pairs:
        for r in range(R):
            for b in range(3):
                if not log_prob.requires_grad:
                    assert float(norms[r, b]) == 0
                    continue
                grads = torch.autograd.grad(log_prob[r, b], list(sampler.parameters()), retain_graph=True, allow_unused=True)
                square = sum(float(g.square().sum()) for g in grads if g is not None)
                assert float(norms[r, b]) == pytest.approx(square, rel=1e-10)


def test_a_diverged_replica_leaves_the_others_alone(sampler: ContinuousSampler) -> None:
    sound = sampler.rollout(4, generators(0, R))
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter[1] = float("nan")
    spoiled = sampler.rollout(4, generators(0, R))
    assert torch.equal(sound.states[0], spoiled.states[0])
    assert bool(sampler.evaluate(spoiled).residual()[0].isfinite().all())


# Case -> times of seven steps, of which a Gaussian start is one.
GRIDS = {
    ("diffusion", "plain"): "uniform",
    ("diffusion", "langevin"): [0, 0.3, 0.4, 1, 3, 4, 5],
    ("variance_preserving", "learned"): "uniform",
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("case", "grid"), GRIDS.items(), ids=["plain", "langevin", "preserving"])
def test_another_grid_is_the_sampler_with_that_grid(case: tuple[str, str], grid: Any, dtype: torch.dtype) -> None:
    """Same parameters, same counters, other steps; the sampler itself stays as it is."""
    name, variant = case
    sampler = spread(make(name, *VARIANTS[name][variant])).to(dtype)
    before = sampler.rollout(4, generators(0, R, dtype=dtype))
    finer = sampler.on_grid(7, grid)
    built = spread(make(name, *VARIANTS[name][variant], "n_steps=7", f"grid={grid}")).to(dtype)
    assert all(a is b for a, b in zip(finer.parameters(), sampler.parameters(), strict=True))
    drawn, wanted = (s.rollout(4, generators(0, R, dtype=dtype)) for s in (finer, built))
    assert torch.equal(drawn.states, wanted.states)
    assert drawn.states.dtype == dtype
    assert torch.equal(finer.evaluate(drawn).residual(), built.evaluate(drawn).residual())
    assert finer.reward_calls.tolist() == sampler.reward_calls.tolist() == [8, 8]
    assert finer.score_calls.tolist() == sampler.score_calls.tolist()
    after = sampler.rollout(4, generators(0, R, dtype=dtype))
    assert torch.equal(after.states, before.states)
    with pytest.raises(ConfigError, match=r"sampler\.grid"):
        sampler.on_grid(7, [0.0, 0.2, 0.1])


# -- explorations --------------------------------------------------------------------------------------------------------


def test_explorations_say_which_tilts_they_use(sampler: ContinuousSampler) -> None:
    widened, on_policy, discrete = WidenedSteps(0.1), OnPolicy(), EpsilonUniform(0.1)
    assert widened.tilts == {sampler.tilts}
    assert on_policy.tilts == frozenset()
    assert Mixture([widened, on_policy], [1, 1]).tilts == {"gaussian"}
    assert Mixture([widened, discrete], [1, 1]).tilts == {"gaussian", "discrete"}
    assert BackwardRollout(discrete, 0.5, 10, "uniform", 1.0).tilts == {"discrete"} != {sampler.tilts}
    with pytest.raises(TypeError):
        discrete.collect(sampler, 4, generators(0, R), 0)


def test_mixtures_have_the_mixtures_density_and_replay_walks_back(sampler: ContinuousSampler) -> None:
    mixture = Mixture([WidenedSteps(0.3), OnPolicy()], [1, 3])
    drawn = mixture.collect(sampler, 8, generators(0, R), 0)
    check_valid(sampler, drawn)
    wide, plain = (sampler.log_density(drawn, tilt) for tilt in (WidenedSteps(0.3).tilt(0), None))
    torch.testing.assert_close(drawn.log_behavior.exp(), wide.exp() / 4 + plain.exp() * 3 / 4, rtol=1e-10, atol=0)
    replay = BackwardRollout(WidenedSteps(0.3), 0.5, 20, "reward", 1.0)
    rng = generators(0, R)
    first, calls = replay.collect(sampler, 8, rng, 0), sampler.reward_calls.clone()
    second = replay.collect(sampler, 8, rng, 8)
    assert (sampler.reward_calls - calls).tolist() == [4, 4]  # remembered rewards are not asked for again
    check_valid(sampler, second)
    ends = first.terminal_states()
    for r in range(R):
        replayed = second.terminal_states()[r, 4:]
        assert all(bool((x == ends[r]).all(-1).any()) for x in replayed)
        assert not torch.equal(second.states[r, 4:, 1], first.states[r, 4:, 1]) or sampler.n_steps == 1
    assert concatenate([first, second]).batch == 16


# -- what cannot work ----------------------------------------------------------------------------------------------------

DIFFUSION = ("diffusion", *NETWORK)
REFUSED = {
    ("diffusion", "n_steps=0"): "sampler.n_steps",
    ("diffusion", "n_steps=2.5"): "sampler.n_steps",
    ("diffusion", "sigma=0"): "sampler.sigma",
    ("diffusion", "noise=geometric"): "sampler.sigma_end",
    ("diffusion", "noise=linear", "sigma_end=0"): "sampler.sigma_end",
    ("diffusion", "noise=loud"): "sampler.noise",
    ("diffusion", "process=jump"): "sampler.process",
    ("diffusion", "langevin=yes"): "sampler.langevin",
    ("diffusion", "backward=uniform"): "sampler.backward",
    ("diffusion", "start_std=0"): "sampler.start_std",
    ("diffusion", "start_std=1", "n_steps=1"): "sampler.n_steps",
    ("diffusion", "score_clip=0"): "sampler.score_clip",
    ("diffusion", "hidden=[]"): "sampler.hidden",
    ("diffusion", "n_frequencies=0"): "sampler.n_frequencies",
    ("diffusion", "end_time=-1"): "sampler.end_time",
    ("diffusion", "log_variance_range=0"): "sampler.log_variance_range",
    ("diffusion", "largest_correction=1"): "sampler.largest_correction",
    (*DIFFUSION, "grid=even"): "sampler.grid",
    (*DIFFUSION, "grid=[0,0.2,0.1,0.3,0.4,1]"): "sampler.grid",
    (*DIFFUSION, "grid=[0,0.2,0.2,0.3,0.4,1]"): "sampler.grid",
    (*DIFFUSION, "grid=[0,0.2,0.3,0.4,1]"): "sampler.grid",
    ("variance_preserving", "start_std=null"): "sampler.start_std",
    ("gaussian_chain", "n_layers=0"): "sampler.n_layers",
    ("gaussian_chain", "init_std=0"): "sampler.init_std",
    ("gaussian_chain", "backward=none"): "sampler.backward",
    ("linear_chain", "n_steps=0"): "sampler.n_steps",
    ("linear_chain", "init_std=0"): "sampler.init_std",
    ("linear_chain", "backward=none"): "sampler.backward",
    ("flow", "n_couplings=1"): "sampler.n_couplings",
    ("flow", "hidden=[]"): "sampler.hidden",
    ("mean_field", "init_std=-1"): "sampler.init_std",
    ("gaussian_mixture_family", "n_components=0"): "sampler.n_components",
    ("gaussian_mixture_family", "init_spread=-1"): "sampler.init_spread",
}


@pytest.mark.parametrize(
    ("arguments", "key"), REFUSED.items(), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_what_cannot_work_is_refused(arguments: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(*arguments)
    assert error.value.key == key


def test_widening_by_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"exploration\.extra_std"):
        WidenedSteps(-0.1)


def test_selecting_keeps_everything_together(sampler: ContinuousSampler) -> None:
    drawn = sampler.rollout(6, generators(0, R))
    chosen = drawn.select(torch.tensor([[5, 0], [2, 2]]))
    torch.testing.assert_close(sampler.log_density(chosen), chosen.log_behavior, **EXACT)
    assert replace(drawn, log_behavior=None).select(torch.tensor([[0], [1]])).log_behavior is None
