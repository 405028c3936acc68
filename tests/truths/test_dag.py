"""The space of directed acyclic graphs: how many there are, that none has a cycle, in how many orders one is built."""

from __future__ import annotations

import math
from functools import cache

import networkx
import pytest
import torch
from building import composed, generators, make_sampler
from torch import Tensor

from gfn_vi.build_target import build_target
from gfn_vi.core.protocols import GraphTarget
from gfn_vi.core.types import Need
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.targets.dags.dag import Dag, n_graphs, transitive_closure
from gfn_vi.targets.dags.data import Table
from gfn_vi.targets.dags.priors import Uniform
from gfn_vi.targets.dags.scores import BGe, LinearGaussian

CPU = torch.device("cpu")


@cache
def make_dag(n_nodes: int, *overrides: str) -> Dag:
    simulated = ("target=dag", "data@target.data=erdos_renyi", f"target.data.n_nodes={n_nodes}")
    target = build_target(composed(*simulated, *overrides), CPU)
    assert isinstance(target, Dag)
    return target


def test_it_is_a_graph_target() -> None:
    assert isinstance(make_dag(3), GraphTarget)


@pytest.mark.parametrize(("n_nodes", "count"), [(0, 1), (1, 1), (2, 3), (3, 25), (4, 543), (5, 29281), (6, 3781503)])
def test_robinson_counts_the_graphs(n_nodes: int, count: int) -> None:
    assert n_graphs(n_nodes) == count


@pytest.mark.parametrize("n_nodes", [2, 3, 4, 5])
def test_the_state_graph_lists_every_graph_once(n_nodes: int) -> None:
    """As many as Robinson says, all different, all with the closure that repeated squaring gives."""
    graph = make_dag(n_nodes).state_graph()
    assert graph.n_states == n_graphs(n_nodes)
    assert len(graph.states[:, 0].flatten(1).unique(dim=0)) == graph.n_states
    assert torch.equal(graph.states[:, 1], transitive_closure(graph.states[:, 0]))
    # every graph with n edges is reached by n edges of the state graph
    assert len(graph.source) == int(graph.states[:, 0].sum())


def test_every_graph_that_is_listed_is_acyclic_and_none_is_missing() -> None:
    """Four nodes: all 4096 matrices without self-loops, asked one by one by networkx."""
    listed = {tuple(m.flatten().tolist()) for m in make_dag(4).state_graph().states[:, 0]}
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    for number in range(2 ** len(pairs)):
        edges = [pair for k, pair in enumerate(pairs) if number >> k & 1]
        graph = networkx.DiGraph(edges)
        graph.add_nodes_from(range(4))
        matrix = tuple(int(x) for x in networkx.to_numpy_array(graph, nodelist=range(4)).flatten())
        assert (matrix in listed) == networkx.is_directed_acyclic_graph(graph)


@pytest.mark.parametrize(("n_nodes", "overrides"), [(8, ()), (12, ("target.max_parents=2",))])
def test_random_walks_stay_acyclic_and_masks_say_what_networkx_says(n_nodes: int, overrides: tuple[str, ...]) -> None:
    """Uniform walks until nothing can be added: at every step the legal edges are those that close no cycle."""
    target = make_dag(n_nodes, *overrides)
    generator = torch.Generator().manual_seed(0)
    states = target.initial(6)
    n_steps = 0
    while bool(target.forward_mask(states)[:, :-1].any(1).all()):
        mask = target.forward_mask(states)
        for state, legal in zip(states, mask, strict=True):
            graph = networkx.from_numpy_array(state[0].numpy(), create_using=networkx.DiGraph)
            assert networkx.is_directed_acyclic_graph(graph)
            reach = networkx.to_numpy_array(networkx.transitive_closure(graph, reflexive=True), nodelist=range(n_nodes))
            assert torch.equal(state[1], torch.from_numpy(reach > 0).to(torch.uint8))
            for edge in range(n_nodes * n_nodes):
                i, j = divmod(edge, n_nodes)
                fits = not graph.has_edge(i, j) and i != j and graph.in_degree(j) < target.max_parents
                assert bool(legal[edge]) == (fits and not networkx.has_path(graph, j, i))
        states = target.step(states, torch.multinomial(mask[:, :-1].double(), 1, generator=generator)[:, 0])
        n_steps += 1
    assert n_steps <= target.horizon - 1
    assert torch.equal(target.step(states, torch.full((6,), target.n_actions - 1)), states)


def test_the_horizon_is_that_of_a_full_graph_and_its_stop() -> None:
    assert make_dag(5).horizon == 5 * 4 // 2 + 1
    assert make_dag(5, "target.max_parents=2").horizon == 0 + 1 + 2 + 2 + 2 + 1


def test_a_limit_on_parents_removes_exactly_the_graphs_beyond_it() -> None:
    everything = make_dag(4).state_graph().states[:, 0]
    limited = make_dag(4, "target.max_parents=1").state_graph().states[:, 0]
    allowed = everything[(everything.sum(1) <= 1).all(1)]
    assert {tuple(m.flatten().tolist()) for m in limited} == {tuple(m.flatten().tolist()) for m in allowed}


@pytest.mark.parametrize("n_nodes", [3, 5, 8])
def test_under_the_uniform_backward_policy_all_orders_of_edges_are_equally_likely(n_nodes: int) -> None:
    """log P_B(tau | x) = -log n! for a graph of n edges."""
    target = make_dag(n_nodes)
    rng = generators(0, 2)
    sampler = MlpSampler(target, rng, hidden=[8], backward="uniform", flow=False, log_Z=0.0)
    trajectories = sampler.rollout(32, rng)
    n_edges = target.adjacency(trajectories.terminal_states()).sum((-1, -2))
    assert len(n_edges.unique()) > 1
    expected = -torch.lgamma(n_edges.double() + 1)
    for drawn in (trajectories, sampler.backward_rollout(trajectories.terminal_states(), rng)):
        log_pb = sampler.evaluate(drawn, frozenset()).trajectory_log_pb
        torch.testing.assert_close(log_pb, expected, rtol=1e-13, atol=1e-13)


def test_backward_policies_other_than_uniform_do_not_pass() -> None:
    sampler = make_sampler(make_dag(3), "mlp", backward="learned")
    trajectories = sampler.rollout(32, generators(0, 1))
    n_edges = trajectories.mask.sum(-1) - 1
    error = sampler.evaluate(trajectories, frozenset()).trajectory_log_pb + torch.lgamma(n_edges.double() + 1)
    assert float(error.detach().abs().max()) > 0.01


def test_steps_and_backward_steps_are_inverse_in_larger_spaces() -> None:
    """The closure after adding and removing an edge is that of the graph before."""
    target = make_dag(8)
    rng = generators(1, 1)
    sampler = MlpSampler(target, rng, hidden=[8], backward="uniform", flow=False, log_Z=0.0)
    states = sampler.rollout(16, rng).states[0].flatten(0, 1)
    row, edge = target.backward_mask(states).nonzero(as_tuple=True)
    before = target.backstep(states[row], edge)
    assert torch.equal(transitive_closure(before[:, 0]), before[:, 1])
    assert torch.equal(target.step(before, target.forward_action(states[row], edge)), states[row])


def test_rewards_are_relative_to_the_empty_graph() -> None:
    assert float(make_dag(5).log_reward(make_dag(5).initial())) == 0.0


def test_modified_detailed_balance_sees_the_reward_of_every_state() -> None:
    """log F(s) = log R(s) - log P_F(stop | s) at the states of a space too large to list."""
    target = make_dag(8)
    rng = generators(2, 1)
    sampler = MlpSampler(target, rng, hidden=[8], backward="uniform", flow=False, log_Z=0.0)
    trajectories = sampler.rollout(8, rng)
    flow = sampler.evaluate(trajectories, frozenset({Need.STOP_FLOW})).log_flow
    assert flow is not None
    log_stop = sampler.forward_log_probs(trajectories.states[:, :, :-1].flatten(1, 2))[..., -1].view(trajectories.mask.shape)
    expected = target.log_reward(trajectories.states[:, :, :-1]) - log_stop
    alive = trajectories.mask
    torch.testing.assert_close(flow[..., :-1][alive], expected[alive], rtol=1e-12, atol=1e-10)


class Rows:
    """Data: the given rows, the last n_held_out of them kept apart."""

    def __init__(self, rows: Tensor, n_held_out: int) -> None:
        self.rows, self.n_train = rows, len(rows) - n_held_out

    def table(self) -> Table:
        names = tuple(f"x{i}" for i in range(self.rows.shape[1]))
        return Table(names, self.rows[: self.n_train], self.rows[self.n_train :], None)


def test_held_out_rows_are_predicted_by_the_ratio_of_marginal_likelihoods() -> None:
    """Row by row: p(rows 20..24 | rows 0..19, G) is the product of p(row n | rows before it, G)."""
    rows = torch.randn(25, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def dag(n_rows: int, n_held_out: int) -> Dag:
        return Dag(
            Rows(rows[:n_rows], n_held_out), BGe(prior_mean=0.0, alpha_mu=1.0, alpha_w=None, t=None), Uniform(), None, 1000
        )

    states = dag(25, 5).state_graph().states
    assert dag(25, 5).n_held_out == 5
    one_by_one = torch.stack([dag(n + 1, 1).held_out_log_likelihood(states) for n in range(20, 25)]).sum(0)
    torch.testing.assert_close(dag(25, 5).held_out_log_likelihood(states), one_by_one, rtol=1e-12, atol=1e-11)


def test_held_out_rows_change_nothing_but_their_own_likelihood() -> None:
    """The reward is that of the training rows."""
    split, whole = (make_dag(3, "target.data.n_samples=20", f"target.data.n_held_out={n}") for n in (7, 0))
    states = whole.state_graph().states
    assert whole.n_held_out == 0
    assert torch.equal(split.log_reward(states), whole.log_reward(states))


def test_the_posterior_of_two_nodes_by_hand() -> None:
    """Known noise 1, weights N(0, 1), two rows x = (1, 2), y = (2, 3): the three graphs.

    Without an edge both columns are N(0, I). With x -> y, y is N(0, I + x x^T): log det = log(1 + 5), and
    y^T (I + x x^T)^-1 y = 13 - (x . y)^2 / (1 + 5) = 13 - 64 / 6. With y -> x: log(1 + 13), 5 - 64 / 14.
    """
    rows = torch.tensor([[1.0, 2.0], [2.0, 3.0]], dtype=torch.float64)
    target = Dag(Rows(rows, 0), LinearGaussian(weight_mean=0.0, weight_scale=1.0, noise_scale=1.0), Uniform(), None, 1000)
    forwards = (-math.log(6) + 64 / 6) / 2
    backwards = (-math.log(14) + 64 / 14) / 2
    logs = {(0, 0): 0.0, (1, 0): forwards, (0, 1): backwards}  # (A_xy, A_yx)
    log_total = math.log(sum(math.exp(value) for value in logs.values()))
    graph = target.state_graph()
    assert graph.n_states == 3
    for matrix, log_probability in zip(graph.states[:, 0].tolist(), graph.log_target.tolist(), strict=True):
        assert log_probability == pytest.approx(logs[matrix[0][1], matrix[1][0]] - log_total, abs=1e-12)
