"""What every sampler of a discrete target must satisfy, found by listing configs/sampler."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from building import CONFIGS, bumpy, discrete_targets, generators, make_sampler, make_target, make_trainer, samplers, small_target
from omegaconf import OmegaConf
from torch import Tensor

from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.exact.enumeration import as_trajectories, enumerate_policies
from gfn_vi.exploration.tilted import EpsilonUniform, StopBias
from gfn_vi.samplers.discrete.networks import FeatureLinear, Mlp
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.samplers.networks import ReplicaLinear
from gfn_vi.targets.grids.hypergrid import Hypergrid

R = 2
SPACES = [name for name in discrete_targets() if "_target_" in OmegaConf.load(CONFIGS / "target" / f"{name}.yaml")]
BACKWARD = {
    "mlp": ("learned", "uniform", "tied"),
    "tabular": ("learned", "uniform"),
    "tabular_random": ("learned",),
    "dag_transformer": ("learned", "uniform", "tied"),
    "molecule_mpnn": ("learned", "uniform", "tied"),
    "molecule_attention": ("learned", "uniform", "tied"),
}
# A network that looks at some spaces only.
SPACES_OF = {"dag_transformer": ["dag"], "molecule_mpnn": ["molecules"], "molecule_attention": ["molecules"]}
SIZES = {
    "mlp": ["sampler.hidden=[8,8]"],
    "dag_transformer": ["sampler.width=8"],
    "molecule_mpnn": ["sampler.width=8", "sampler.steps=2"],
    "molecule_attention": ["sampler.width=8"],
}
VARIANTS = [(name, b, space) for name in samplers("discrete") for b in BACKWARD[name] for space in SPACES_OF.get(name, SPACES)]
EXACT = {"rtol": 1e-12, "atol": 1e-13}
BUILT: dict[tuple[str, str, str], DiscreteSampler] = {}


@pytest.fixture(params=VARIANTS, ids="-".join)
def sampler(request: pytest.FixtureRequest) -> DiscreteSampler:
    """As its YAML builds it, with flows, and with parameters spread out so that no policy is uniform by accident."""
    name, backward, space = request.param
    if request.param not in BUILT:
        size = SIZES.get(name, ["sampler.scale=1.0"])
        overrides = [f"sampler={name}", f"sampler.backward={backward}", "sampler.flow=true", *small_target(space), *size]
        built = make_trainer(*overrides, replicas=R).parts.sampler
        if name in SIZES:
            with torch.no_grad():
                for parameter in built.parameters():
                    parameter.mul_(3)
        BUILT[request.param] = built
    return BUILT[request.param]


def all_states(sampler: DiscreteSampler) -> Tensor:
    states = sampler.target.state_graph().states
    return states.expand(R, *states.shape)


def test_every_sampler_is_listed_here() -> None:
    assert sorted(BACKWARD) == samplers("discrete")


def test_policies_are_normalized_over_legal_actions(sampler: DiscreteSampler) -> None:
    states = all_states(sampler)
    pairs = [
        (sampler.forward_log_probs(states), sampler.target.forward_mask(states)),
        (sampler.backward_log_probs(states)[:, 1:], sampler.target.backward_mask(states)[:, 1:]),  # the source has no parent
    ]
    for log_probs, mask in pairs:
        p = log_probs.exp()
        torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]), **EXACT)
        assert not bool(p[~mask].any())
        assert bool((p[mask] > 0).all())
        assert bool(log_probs.isfinite().all())
    if sampler.backward_kind == "uniform":
        back, mask = pairs[1]
        torch.testing.assert_close(back.exp(), mask / mask.sum(-1, keepdim=True).double(), **EXACT)


def test_parameters_have_one_role_and_the_replica_axis_first(sampler: DiscreteSampler) -> None:
    groups = sampler.parameter_groups()
    grouped = [p for parameters in groups.values() for p in parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(sampler.parameters())
    assert all(p.shape[0] == R and p.dtype == torch.float64 for p in grouped)
    assert (Role.BACKWARD in groups) == (sampler.backward_kind == "learned")
    assert groups[Role.LOG_Z] == [sampler.log_Z]
    for p in grouped:
        constant = bool((p == p.flatten()[0]).all())  # log Z, scales of layer normalization
        assert constant or not torch.equal(p[0], p[1]), "replicas start from different numbers"


def check_valid(sampler: DiscreteSampler, t: Trajectories) -> None:
    """Legal actions, true transitions, one stop action at the end, repeated last state, the reward of it."""
    target, stop = sampler.target, sampler.target.n_actions - 1
    length = t.mask.sum(2)
    steps = torch.arange(t.mask.shape[2])
    assert torch.equal(t.mask, steps < length[..., None])
    assert int(length.min()) >= 1
    assert int(length.max()) <= target.horizon
    assert torch.equal(t.states[:, :, 0], target.initial(*t.mask.shape[:2]))
    legal = target.forward_mask(t.states[:, :, :-1]).gather(3, t.actions[..., None])[..., 0]
    assert bool(legal[t.mask].all())
    assert torch.equal((t.actions == stop) & t.mask, steps == length[..., None] - 1)
    after = target.step(t.states[:, :, :-1], t.actions)
    assert torch.equal(t.states[:, :, 1:][t.mask], after[t.mask])
    assert torch.equal(t.states[:, :, 1:][~t.mask], t.states[:, :, :-1][~t.mask])
    assert not bool(t.actions[~t.mask].any())
    torch.testing.assert_close(t.log_reward, target.log_reward(t.terminal_states()))


@pytest.mark.parametrize("batch", [1, 9, 400])
@pytest.mark.parametrize("tilted", [False, True])
def test_rollouts_are_trajectories_with_their_density(sampler: DiscreteSampler, batch: int, tilted: bool) -> None:
    """Small batches are drawn step by step, large ones from a table; both agree with `evaluate` and `log_density`."""
    tilt = StopBias(1.0).tilt(0) if tilted else None
    drawn = sampler.rollout(batch, generators(0, R), tilt)
    assert drawn.mask.shape[:2] == (R, batch)
    check_valid(sampler, drawn)
    torch.testing.assert_close(drawn.log_behavior, sampler.log_density(drawn, tilt), **EXACT)
    if not tilted:
        torch.testing.assert_close(drawn.log_behavior, sampler.evaluate(drawn).trajectory_log_pf.detach(), **EXACT)
    assert not drawn.log_behavior.requires_grad


def test_backward_rollouts_are_trajectories_to_the_given_objects(sampler: DiscreteSampler) -> None:
    terminals = sampler.rollout(30, generators(0, R)).terminal_states()
    drawn = sampler.backward_rollout(terminals, generators(1, R))
    check_valid(sampler, drawn)
    assert torch.equal(drawn.terminal_states(), terminals)
    assert drawn.log_behavior is None
    at_source = sampler.target.initial(R, 3)
    if bool(sampler.target.forward_mask(at_source)[..., -1].all()):
        stopped = sampler.backward_rollout(at_source, generators(1, R))
        check_valid(sampler, stopped)
        assert stopped.mask.shape[2] == 1


def test_the_log_probabilities_of_one_rollout_do_not_depend_on_the_batch_around_it(sampler: DiscreteSampler) -> None:
    drawn = sampler.rollout(40, generators(0, R))
    few = drawn.select(torch.tensor([[3, 17], [30, 0]]))
    joint, alone = sampler.evaluate(drawn), sampler.evaluate(few)
    for r, chosen in enumerate([[3, 17], [30, 0]]):
        torch.testing.assert_close(alone.log_ratio()[r], joint.log_ratio()[r, chosen], **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluate_is_differentiable_and_of_its_type(sampler: DiscreteSampler, dtype: torch.dtype) -> None:
    drawn = sampler.rollout(5, generators(0, R))
    evaluation = sampler.evaluate(drawn, frozenset({Need.FLOW}))
    assert evaluation.log_pf.requires_grad
    assert evaluation.log_pb.requires_grad == (sampler.backward_kind != "uniform")
    assert evaluation.log_flow.shape == (R, 5, drawn.mask.shape[2] + 1)
    assert torch.equal(evaluation.log_flow[:, :, 0], sampler.log_Z[:, None].expand(R, 5))
    end = drawn.mask.sum(2, keepdim=True)
    torch.testing.assert_close(evaluation.log_flow.gather(2, end)[..., 0], drawn.log_reward, **EXACT)
    low = make_sampler(make_target("grid3x3"), "mlp").to(dtype)
    assert low.evaluate(low.rollout(3, generators(0, 1, dtype=dtype))).residual().dtype == dtype


@pytest.mark.parametrize(
    ("kind", "name"),
    [("tabular", "grid3x3"), ("tabular", "tiny_dag"), ("mlp", "grid3x3"), ("mlp", "tiny_dag"), ("mlp", "unlisted")],
)
@torch.no_grad()
def test_policies_of_nan_stay_inside_the_space(kind: str, name: str) -> None:
    """A diverged replica stops at once, and walks back while that is legal; the other draws as if nothing had happened."""
    space = make_target("grid3x3" if name == "unlisted" else name)
    target = Hypergrid(2, 3, 0.1, bumpy, max_enumerated_states=1) if name == "unlisted" else space
    sound, spoiled = (make_sampler(target, kind, n_replicas=R) for _ in range(2))
    for parameter in spoiled.parameters():
        parameter[1] = float("nan")
    states = space.state_graph().states
    terminals = states[space.forward_mask(states)[:, -1]].expand(R, -1, -1)
    pairs = [
        (
            sampler.rollout(200, generators(0, R)),  # from a table where there is one
            sampler.rollout(2, generators(0, R)),
            sampler.backward_rollout(terminals, generators(0, R)),
        )
        for sampler in (sound, spoiled)
    ]
    for a, b in zip(*pairs, strict=True):
        steps = min(a.mask.shape[2], b.mask.shape[2])
        assert torch.equal(a.actions[0, :, :steps], b.actions[0, :, :steps])
        assert bool((b.states[..., None, :] == states).all(-1).any(-1).all()), "every state is a state of the space"
    assert all(bool((drawn.mask[1].sum(1) == 1).all()) for drawn in pairs[1][:2])


def test_reward_calls_are_counted_by_replica(sampler: DiscreteSampler) -> None:
    before = sampler.reward_calls.clone()
    drawn = sampler.rollout(7, generators(0, R))
    sampler.backward_rollout(drawn.terminal_states(), generators(0, R))
    assert (sampler.reward_calls - before).tolist() == [14, 14]
    sampler.evaluate(drawn)
    assert (sampler.reward_calls - before).tolist() == [14, 14]


def test_state_dict_round_trip(sampler: DiscreteSampler) -> None:
    state = {k: v.clone() for k, v in sampler.state_dict().items()}
    drawn = sampler.rollout(6, generators(0, R))
    wanted = sampler.evaluate(drawn).residual()
    with torch.no_grad():
        for p in sampler.parameters():
            p.add_(1.0)
    assert not torch.equal(sampler.evaluate(drawn).residual(), wanted)
    sampler.load_state_dict(state)
    assert torch.equal(sampler.evaluate(drawn).residual(), wanted)


# -- evaluate against brute force ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "backward"), [(k, b) for k, kinds in BACKWARD.items() for b in kinds])
@pytest.mark.parametrize("name", ["grid3x3", "grid2x2x2", "tiny_dag"])
def test_evaluate_is_the_product_along_every_trajectory(name: str, kind: str, backward: str) -> None:
    target = make_target(name)
    sampler = make_sampler(target, kind, backward, n_replicas=R)
    evaluation, listed = sampler.evaluate(as_trajectories(target, R)), enumerate_policies(sampler, target)
    torch.testing.assert_close(evaluation.trajectory_log_pf, listed.log_pf, **EXACT)
    torch.testing.assert_close(evaluation.trajectory_log_pb, listed.log_pb, **EXACT)
    torch.testing.assert_close(evaluation.log_ratio(), listed.log_ratio, **EXACT)
    torch.testing.assert_close(evaluation.residual(), listed.log_ratio + sampler.log_Z[:, None], **EXACT)


def tensors(evaluation: Evaluation) -> dict[str, Tensor]:
    return {k: v for k, v in vars(evaluation).items() if isinstance(v, Tensor)}


@pytest.mark.parametrize("backward", BACKWARD["mlp"])
def test_a_space_that_cannot_be_listed_is_sampled_and_evaluated_the_same(backward: str) -> None:
    """Without a state graph rollouts go step by step and repeated states are not merged: same noise, same numbers."""
    listed = make_target("grid3x3")
    unlisted = Hypergrid(2, 3, 0.1, bumpy, max_enumerated_states=1)
    ours, theirs = (make_sampler(t, "mlp", backward, n_replicas=R, flow=True) for t in (listed, unlisted))
    tilt = EpsilonUniform(0.3).tilt(0)
    needs = frozenset({Need.FLOW, Need.INFLOW, Need.SCORE_NORMS})
    for batch in (5, 300):
        a, b = ours.rollout(batch, generators(0, R), tilt), theirs.rollout(batch, generators(0, R), tilt)
        assert torch.equal(a.states, b.states)
        assert torch.equal(a.actions, b.actions)
        torch.testing.assert_close(a.log_behavior, b.log_behavior, **EXACT)
        if batch == 5:
            found = tensors(theirs.evaluate(b, needs))
            for key, value in tensors(ours.evaluate(a, needs)).items():
                torch.testing.assert_close(found[key], value, rtol=1e-11, atol=1e-12, msg=lambda m, key=key: f"{key}: {m}")


# -- layers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_in", [10, 64, 65, 200])
def test_a_k_hot_layer_is_the_dense_layer_on_ones_and_zeros(n_in: int) -> None:
    """Whichever way it is computed, values and gradients; 64 is where the way changes."""
    layer = FeatureLinear(generators(0, R), n_in, 5)
    index = torch.stack([torch.randperm(n_in, generator=torch.Generator().manual_seed(i))[:4] for i in range(2 * 7)]).view(
        R, 7, 4
    )
    hot = torch.zeros(R, 7, n_in).double().scatter(2, index, 1.0)
    slope = generators(1, R).normal(7, 5)
    results = []
    for x in (index, hot):
        out = layer(x)
        results.append((out, *torch.autograd.grad((out * slope).sum(), list(layer.parameters()))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_layers_start_as_torchs_do() -> None:
    """Uniform on +-1 / sqrt(n_in), weights and biases, whatever the other replicas."""
    layer = ReplicaLinear(generators(0, 3), 50, 400)
    for p in (layer.weight, layer.bias):
        bound = 1 / math.sqrt(50)
        assert float(p.abs().max().detach()) <= bound
        assert float(p.abs().max().detach()) > 0.99 * bound
        # the standard deviation of n uniforms has a relative error of about 0.45 / sqrt(n): 5 of these
        assert float(p.std().detach()) == pytest.approx(bound / math.sqrt(3), rel=5 * 0.45 / math.sqrt(p.numel()))
    assert torch.equal(ReplicaLinear(generators(1, 1), 50, 400).weight[0], layer.weight[1])


def test_replicas_of_a_network_are_separate_networks() -> None:
    net = Mlp(generators(0, 3), 6, [7, 5], 4)
    x = generators(1, 3).normal(9, 6)
    for r in range(3):
        y = x[r]
        for layer in net.layers[:-1]:
            y = (y @ layer.weight[r] + layer.bias[r]).relu()
        y = y @ net.layers[-1].weight[r] + net.layers[-1].bias[r]
        torch.testing.assert_close(net(x)[r], y, **EXACT)


def test_selecting_keeps_everything_together() -> None:
    sampler = make_sampler(make_target("grid3x3"), n_replicas=R)
    drawn = sampler.rollout(6, generators(0, R))
    chosen = drawn.select(torch.tensor([[5, 0], [2, 2]]))
    assert torch.equal(chosen.log_behavior[1], drawn.log_behavior[1, [2, 2]])
    torch.testing.assert_close(sampler.log_density(chosen), chosen.log_behavior, **EXACT)
    assert replace(drawn, log_behavior=None).select(torch.tensor([[0], [1]])).log_behavior is None
