"""What every discrete target must satisfy, found by listing configs/target, and every reward on the hypergrid."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import pytest
import torch
from building import TARGET_VARIANTS, choices, composed, discrete_targets, make_trainer, target_variants

from gfn_vi import check_target
from gfn_vi.build_target import build_target
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.families import is_density
from gfn_vi.core.protocols import DiscreteTarget, EnumerableTarget
from gfn_vi.targets.grids.hypergrid import Hypergrid

CPU = torch.device("cpu")
# Every variant of every choice, and every reward on a grid.
VARIANTS = {
    **{f"{choice}-{name}": made for choice in discrete_targets() for name, made in target_variants(choice).items()},
    **{f"{reward}_grid": ("target=hypergrid", f"reward@target.reward={reward}", "target.side=9") for reward in choices("reward")},
}


@pytest.fixture(params=VARIANTS, scope="module")
def target(request: pytest.FixtureRequest) -> EnumerableTarget:
    return build_target(composed(*VARIANTS[request.param]), CPU)


def test_variants_are_those_of_choices_that_there_are() -> None:
    assert {path.stem for path in TARGET_VARIANTS.iterdir()} <= set(choices("target"))


def test_it_is_what_the_protocol_says(target: EnumerableTarget) -> None:
    assert isinstance(target, DiscreteTarget)
    assert isinstance(target, EnumerableTarget)
    assert target.enumerable
    assert target.initial(2, 3).shape == (2, 3, *target.state_shape)
    assert target.initial().shape == target.state_shape


def test_it_keeps_what_a_target_owes(target: EnumerableTarget) -> None:
    """Masks, inverses, horizon, stops, rewards, features, batches, facts: gfn_vi/verification/targets."""
    report = check_target(target)
    assert report.faults == ()
    assert report.scope.startswith(f"all {target.state_graph().n_states} states")
    assert report.findings[-1].check == "names"


def test_walks_find_nothing_either(target: EnumerableTarget) -> None:
    report = check_target(target, most_states=2, n_walks=2)
    assert report.faults == ()
    assert "met by 2 random walks" in report.scope


def test_its_graph_has_the_masks_and_the_rewards(target: EnumerableTarget) -> None:
    graph = target.state_graph()
    assert torch.equal(graph.states[0], target.initial())
    assert torch.equal(graph.forward_mask, target.forward_mask(graph.states))
    assert torch.equal(graph.backward_mask, target.backward_mask(graph.states))
    assert torch.equal(target.log_reward(graph.states), graph.log_reward), "none where one cannot stop"


def test_functions_do_not_care_about_leading_axes(target: EnumerableTarget) -> None:
    states = target.state_graph().states[torch.arange(6).remainder(target.state_graph().n_states)]
    boxed = states.view(2, 3, *target.state_shape)
    for function in (
        target.forward_mask,
        target.backward_mask,
        target.features,
        target.log_reward,
        target.state_index,
        target.mode_index,
    ):
        flat = function(states)
        assert torch.equal(function(boxed), flat.view(2, 3, *flat.shape[1:])), function


def test_the_graph_lists_every_edge_once_in_order_of_levels(target: EnumerableTarget) -> None:
    """Found again by walking through the space from the source, one state and action at a time."""
    graph = target.state_graph()
    seen, front, edges = {tuple(target.initial().flatten().tolist())}, [target.initial()], set()
    while front:
        state = front.pop()
        for a in target.forward_mask(state)[:-1].nonzero()[:, 0].tolist():
            child = target.step(state, torch.tensor(a))
            undo = int(target.backward_action(state, torch.tensor(a)))
            edges.add((int(target.state_index(state)), int(target.state_index(child)), a, undo))
            if tuple(child.flatten().tolist()) not in seen:
                seen.add(tuple(child.flatten().tolist()))
                front.append(child)
    listed = list(
        zip(*(x.tolist() for x in (graph.source, graph.target, graph.forward_action, graph.backward_action)), strict=True)
    )
    assert len(listed) == len(edges)
    assert set(listed) == edges
    assert {tuple(s) for s in graph.states.flatten(1).tolist()} == seen
    assert torch.equal(target.state_index(graph.states), torch.arange(graph.n_states))
    level = torch.bucketize(torch.arange(graph.n_states), torch.tensor(graph.level_offsets[1:]), right=True)
    longest = [0] * graph.n_states
    for a, b, *_ in sorted(listed):  # topological: sources in order
        longest[b] = max(longest[b], longest[a] + 1)
    assert level.tolist() == longest
    assert target.horizon == max(longest) + 1
    for k in range(graph.n_levels):
        assert bool((level[graph.target[graph.in_offsets[k] : graph.in_offsets[k + 1]]] == k).all())
        out = graph.out_order[graph.out_offsets[k] : graph.out_offsets[k + 1]]
        assert bool((level[graph.source[out]] == k).all())
    assert graph.in_offsets[-1] == graph.out_offsets[-1] == len(listed)
    following = graph.next_state.clone()
    assert bool((following[:, -1] == graph.n_states).all())
    for a, b, action, _ in listed:
        assert int(following[a, action]) == b


def test_features_tell_states_apart(target: EnumerableTarget) -> None:
    features = target.features(target.state_graph().states)
    assert len({tuple(row) for row in features.tolist()}) == len(features)


def test_rewards_and_modes(target: EnumerableTarget) -> None:
    """Modes are the connected regions of top reward."""
    graph = target.state_graph()
    log_reward = target.log_reward(graph.states)
    assert not bool(log_reward.isnan().any())
    mode = target.mode_index(graph.states)
    top = [i for i in range(graph.n_states) if log_reward[i] >= log_reward.max() - 1e-9]
    assert (mode >= 0).nonzero()[:, 0].tolist() == top
    region = {i: {i} for i in top}
    for a, b in zip(graph.source.tolist(), graph.target.tolist(), strict=True):
        if a in region and b in region:
            joined = region[a] | region[b]
            region.update(dict.fromkeys(joined, joined))
    assert target.n_modes == len({frozenset(r) for r in region.values()})
    for i, j in product(top, top):
        assert (mode[i] == mode[j]) == (j in region[i])


def test_moving_to_a_device_changes_nothing(target: EnumerableTarget) -> None:
    moved = target.to("cpu")
    graph, other = target.state_graph(), moved.state_graph()
    assert torch.equal(graph.states, other.states)
    assert torch.equal(graph.log_reward, other.log_reward)
    assert torch.equal(moved.features(graph.states), target.features(graph.states))
    assert (moved.horizon, moved.n_actions, moved.n_modes) == (target.horizon, target.n_actions, target.n_modes)


def test_a_grid_too_large_to_list_is_still_trained_on() -> None:
    """Exact metrics give way to sampled ones; the graph is refused with the key to change."""
    trainer = make_trainer(
        "target.side=30", "target.max_enumerated_states=100", "trainer.batch_size=8", "sampler.hidden=[8]", replicas=2
    )
    trainer.update()
    assert "sampled_elbo" in trainer.measure()
    with pytest.raises(ConfigError, match=r"target\.max_enumerated_states=100"):
        trainer.parts.target.state_graph()


# -- rewards, in exact fractions -----------------------------------------------------------------------------------------


def z(s: int, side: int) -> Fraction:
    return abs(Fraction(s, side - 1) - Fraction(1, 2))


def corners(zs: list[Fraction]) -> float:
    """Paper, section 4.1."""
    return 0.5 * all(Fraction(1, 4) < x <= Fraction(1, 2) for x in zs) + 2.0 * all(
        Fraction(3, 10) < x < Fraction(4, 10) for x in zs
    )


def cosine(zs: list[Fraction]) -> float:
    density = [math.exp(-((5 * float(x)) ** 2) / 2) / math.sqrt(2 * math.pi) for x in zs]
    return 0.5 * math.prod((math.cos(50 * float(x)) + 1) * d for x, d in zip(zs, density, strict=True))


def deceptive(zs: list[Fraction]) -> float:
    """torchgfn: r0 + r1 - r1 prod 1[z > 0.1] + r2 prod 1[0.3 < z < 0.4]."""
    return 0.1 - 0.1 * all(x > Fraction(1, 10) for x in zs) + 2.0 * all(Fraction(3, 10) < x < Fraction(4, 10) for x in zs)


REWARDS: dict[str, Callable[[list[Fraction]], float]] = {"corners": corners, "cosine": cosine, "deceptive": deceptive}


def test_every_reward_has_a_formula() -> None:
    assert sorted(REWARDS) == choices("reward")


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(("n_dims", "side"), [(2, 8), (2, 11), (2, 16), (2, 21), (2, 41), (3, 9), (1, 101)])
def test_rewards_are_their_formulas(name: str, n_dims: int, side: int) -> None:
    """In fractions, so that no boundary is a matter of rounding; sides 11, 21, 41 and 101 have cells on the boundaries."""
    grid = build_target(
        composed(
            "target=hypergrid", f"reward@target.reward={name}", f"target.n_dims={n_dims}", f"target.side={side}", "target.r0=0.01"
        ),
        CPU,
    )
    states = torch.cartesian_prod(*[torch.arange(side)] * n_dims).view(-1, n_dims)
    expected = [0.01 + REWARDS[name]([z(s, side) for s in state]) for state in states.tolist()]
    # one multiplication and addition each; the cosine of an argument up to 25 is good to a few 1e-15
    torch.testing.assert_close(grid.log_reward(states).exp(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["corners", "deceptive"])
@pytest.mark.parametrize(("n_dims", "side"), [(1, 16), (2, 8), (2, 16), (3, 8), (2, 30)])
def test_modes_without_enumeration_are_those_with(name: str, n_dims: int, side: int) -> None:
    """The closed form for grids too large to list: the same regions, up to their numbers."""
    config = composed("target=hypergrid", f"reward@target.reward={name}", f"target.n_dims={n_dims}", f"target.side={side}")
    grid = build_target(config, CPU)
    config.target.max_enumerated_states = 1
    large = build_target(config, CPU)
    states = grid.state_graph().states
    assert isinstance(large, Hypergrid)
    assert not large.enumerable
    assert large.n_modes == grid.n_modes == 2**n_dims
    pairs = set(zip(grid.mode_index(states).tolist(), large.mode_index(states).tolist(), strict=True))
    assert len(pairs) == 2**n_dims + 1
    assert (-1, -1) in pairs


def test_a_graph_of_states_may_call_something_dim() -> None:
    """What makes a density is that it has no moves, not that it has a name that a user may have chosen, too."""
    target = build_target(composed("target=hypergrid_3x3"), CPU)
    target.dim = 2  # type: ignore[attr-defined]
    assert not is_density(target)
    assert is_density(build_target(composed("target=gmm9"), CPU))
