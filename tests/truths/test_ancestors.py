"""log P_T of chosen objects by the recursion over their ancestors = the one on the graph of all states = a recursion by hand."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from building import bumpy, composed, generators, make_sampler, make_target, target_variants
from torch import Tensor

from gfn_vi.build_target import build_target
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.log_probability import uniform_log_probs
from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.evaluation.exact.ancestors import STEP, ancestor_graph, distinct_states, log_terminating_probability, state_codes
from gfn_vi.evaluation.exact.dynamic_programming import terminating_probability
from gfn_vi.evaluation.exact.tables import policies_on_graph
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.targets.grids.hypergrid import Hypergrid

# Name -> overrides: grids, a graph whose states cannot all stop, permutations, sequences in every order, lattices, graphs.
SPACES = {
    **{name: target_variants("hypergrid")[name] for name in ("small", "cube", "flat")},
    **{f"tiny_dag_{name}": overrides for name, overrides in target_variants("tiny_dag").items()},
    "permutations": ("target=permutations", "target.n_items=4"),
    "left_to_right": ("target=bit_sequences", "target.length=6", "target.word=2"),
    "in_any_order": target_variants("bit_sequences")["in_any_order"],
    "ising_in_any_order": target_variants("ising")["in_any_order"],
    "dag": ("target=dag", "data@target.data=erdos_renyi", "target.data.n_nodes=4"),
    "trees": target_variants("dag")["of_trees"],
}


@cache
def space(name: str) -> EnumerableTarget:
    return build_target(composed(*SPACES[name]), torch.device("cpu"))  # type: ignore[return-value]


def log_p_of(sampler: DiscreteSampler, objects: Tensor, most: int = 100_000) -> Tensor:
    return log_terminating_probability(sampler, ancestor_graph(sampler.target, objects, most, "most_ancestors"))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(("kind", "backward"), [("tabular", "learned"), ("mlp", "uniform")])
@torch.no_grad()
def test_log_p_is_the_one_on_all_states(name: str, kind: str, backward: str) -> None:
    """Of 20 states at random, repeated and unordered as they come, -inf where they cannot stop; two different replicas."""
    target = space(name)
    sampler = make_sampler(target, kind, backward, n_replicas=2)
    graph = target.state_graph()
    rows = generators(0, 1).integers(graph.n_states, 20)[0]
    expected = terminating_probability(policies_on_graph(sampler, graph))[rows].T.log()
    torch.testing.assert_close(log_p_of(sampler, graph.states[rows]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["small", "tiny_dag_diamond", "in_any_order", "trees"])
@torch.no_grad()
def test_probabilities_of_all_objects_sum_to_one(name: str) -> None:
    target = space(name)
    total = log_p_of(make_sampler(target, "mlp", n_replicas=3), target.state_graph().states).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(3).double(), rtol=1e-12, atol=0)


def test_ancestors_are_the_states_that_lead_to_the_objects_and_no_others() -> None:
    """Below cell (2, 3) of a grid and below (4, 0): 3 * 4 + 5 - 3 cells. The objects are rows of the graph, in their order."""
    target, objects = Hypergrid(2, 5, r0=0.1, reward=bumpy, max_enumerated_states=0), torch.tensor([[2, 3], [4, 0], [2, 3]])
    found = ancestor_graph(target, objects, 14, "most_ancestors")
    cells = {(i, j) for i in range(3) for j in range(4)} | {(i, 0) for i in range(5)}
    assert set(map(tuple, found.graph.states.tolist())) == cells
    assert found.graph.n_states == len(cells) == 14
    assert torch.equal(found.graph.states[found.objects], objects)
    assert torch.equal(found.log_reward, target.log_reward(objects))
    assert int(found.graph.log_reward.isfinite().sum()) == 2
    with pytest.raises(ConfigError, match="most_ancestors=13: the 3 objects have more ancestors"):
        ancestor_graph(target, objects, 13, "most_ancestors")


class Uniform:
    """A sampler without parameters, and so without a list of states: uniform over legal actions, and in replica 1 nearly so."""

    n_replicas = 2

    def __init__(self, target: Any) -> None:
        self.target = target
        self.calls: list[int] = []

    def forward_log_probs(self, states: Tensor) -> Tensor:
        self.calls.append(states.shape[1])
        mask = self.target.forward_mask(states)
        preference = torch.arange(mask.shape[-1]).double() * torch.tensor([0.0, 0.01])[:, None, None]
        return (uniform_log_probs(mask, torch.float64) + preference).log_softmax(-1)


def by_hand(sampler: Uniform, objects: Tensor) -> Tensor:
    """log P_T by sums over parents, one state after the other: [R, M]."""
    target, known = sampler.target, {}

    def policy(state: Tensor) -> Tensor:
        return sampler.forward_log_probs(state.expand(2, 1, *state.shape))[:, 0]

    def visits(state: Tensor) -> Tensor:
        key = tuple(state.flatten().tolist())
        if key not in known:
            terms = []
            for undo in target.backward_mask(state).nonzero()[:, 0]:
                parent = target.backstep(state, undo)
                terms.append(visits(parent) + policy(parent)[:, target.forward_action(state, undo)])
            known[key] = torch.logsumexp(torch.stack(terms), 0) if terms else torch.zeros(2).double()
        return known[key]

    return torch.stack([visits(x) + policy(x)[:, -1] for x in objects], 1)


def test_a_space_that_nobody_can_list() -> None:
    """Graphs of 8 nodes, some 10^11 of them: 10 edges have at most 2^10 ancestors, 2 of 3 edges share most of theirs."""
    target = build_target(composed("target=dag", "data@target.data=erdos_renyi", "target.data.n_nodes=8"), torch.device("cpu"))
    sampler: Any = Uniform(target)
    states, objects = target.initial(3), []
    noise = generators(1, 1).uniform(10, 3)[0]
    for k in range(10):
        legal = target.forward_mask(states)[..., :-1].double()
        states = target.step(states, (legal.cumsum(-1) <= noise[k][:, None] * legal.sum(-1, keepdim=True)).sum(-1))
        objects += [states[:2]] if k == 2 else []
    chosen = torch.cat([*objects, states])
    found = ancestor_graph(target, chosen, 5000, "most_ancestors")
    assert 2**10 < found.graph.n_states <= 3 * 2**10
    torch.testing.assert_close(log_terminating_probability(sampler, found), by_hand(sampler, chosen), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_tiny_probabilities_do_not_underflow() -> None:
    """A path of 1,000 cells, a corner of 128 x 128 by a formula, and 400 nats a step, where P_T itself is 0 in float64."""
    line: Any = Uniform(Hypergrid(1, 1001, r0=0.1, reward=bumpy, max_enumerated_states=0))
    expected = 1000 * math.log(0.5)
    assert float(log_p_of(line, torch.tensor([[1000]]))[0, 0]) == pytest.approx(expected, rel=1e-12)
    square: Any = Uniform(Hypergrid(2, 128, r0=0.1, reward=bumpy, max_enumerated_states=0))
    # inside of the square every step has probability 1/3, on its upper borders 1/2: the sum over where the border is reached
    paths = [2 * math.comb(127 + j - 1, j) * 3.0 ** -(127 + j) * 2.0 ** -(127 - j) for j in range(127)]
    found = log_p_of(square, torch.tensor([[127, 127]]))
    assert float(found[0, 0]) == pytest.approx(math.log(math.fsum(paths)), rel=1e-12)
    target = make_target("grid3x3")
    sampler = make_sampler(target, n_replicas=2)
    sampler.forward_table[0, :, :2] = -400.0
    sampler.forward_table[0, :, 2] = 0.0
    corner = log_p_of(sampler, torch.tensor([[2, 1]]))
    assert float(corner[0, 0]) == pytest.approx(3 * -400 + math.log(3), rel=1e-12)
    assert -50 < float(corner[1, 0]) < 0


def test_policies_are_evaluated_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2 replicas, 3 actions and at most 36 numbers at once: 6 states, whatever the number of states is; each of them once."""
    target = Hypergrid(2, 5, r0=0.1, reward=bumpy, max_enumerated_states=0)
    objects = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    whole: Any = Uniform(target)
    expected = log_p_of(whole, objects)
    assert whole.calls == [25]
    monkeypatch.setattr("gfn_vi.evaluation.exact.ancestors.LARGEST_POLICY", 36)
    monkeypatch.setattr("gfn_vi.evaluation.exact.ancestors.LARGEST_FRONT", 3)
    split: Any = Uniform(target)
    torch.testing.assert_close(log_p_of(split, objects), expected, rtol=1e-14, atol=0)
    assert split.calls == [6, 6, 6, 6, 1]


def test_equal_states_are_one_and_different_states_are_not() -> None:
    states = torch.cartesian_prod(torch.arange(-20, 20), torch.arange(40), torch.arange(40))
    first, number = distinct_states(states)
    assert torch.equal(first, torch.arange(len(states)))
    shuffled = generators(0, 1).uniform(len(states))[0].argsort()
    first, number = distinct_states(torch.cat([states[shuffled], states]))
    assert torch.equal(first, torch.arange(len(states)))
    assert torch.equal(number[len(states) :], shuffled.argsort())


def test_negative_numbers_have_codes_of_their_own() -> None:
    """The step of a code is a permutation of all integers; a shift that keeps the sign would map x and -1 - x to one number."""
    x = torch.randint(-(2**62), 2**62, (1000,), generator=torch.Generator().manual_seed(0)) * 2
    codes = state_codes(torch.cat([x, -1 - x - STEP - STEP])[:, None])  # of one coordinate, to which STEP is added
    assert len(codes.unique()) == 2000
    assert 900 < int((codes < 0).sum()) < 1100
