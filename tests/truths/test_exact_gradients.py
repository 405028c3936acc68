"""Exact expected gradients by passes over the state graph = by listing all trajectories, for every objective and measure."""

from __future__ import annotations

import pytest
import torch
from building import TARGETS, bumpy, choices, make_exploration, make_objective, make_sampler, make_target
from torch import Tensor

from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.unrolling import unroll
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients, Measure, expected_gradients
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.verification.batches import AllBatches
from gfn_vi.verification.windows import NodeFlows, windows
from truths.claims import NEEDS_FLOW, VARIATIONAL, wanted
from truths.expectations import Bench, make_bench, relative_error
from truths.expectations import expected_gradients as enumerated_gradients

# Expectations add up at most some thousand float64 terms of order one.
EXACT = 1e-10
NOT_A_SUM = ("jensen_shannon",)  # log(1 + P_F / P_B) of whole trajectories
WEIGHTED = tuple(name for name in VARIATIONAL if name not in NOT_A_SUM)
UNWEIGHTED = tuple(name for name in choices("objective") if name not in VARIATIONAL)


def measures(bench: Bench) -> dict[str, tuple[Measure, Tensor]]:
    """Name -> (what the recursion is told, log pi [n] of all trajectories)."""
    found: dict[str, tuple[Measure, Tensor]] = {"P_F": ("P_F", bench.on_policy), "P_B": ("P_B", bench.from_target)}
    for name in ("stop_bias", "epsilon_uniform", "tempered"):
        exploration = make_exploration(name)
        tilt = exploration.tilt(0)
        assert tilt is not None
        found[name] = (tilt, exploration.log_density(bench.sampler, bench.trajectories, 0)[0])
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", UNWEIGHTED)
def test_losses_without_weights_under_every_measure(name: str, target: str) -> None:
    """Against the expectation of the objective itself over all trajectories (all pairs, for the log-variance)."""
    if name == "modified_detailed_balance" and target == "tiny_dag":
        pytest.skip("needs a target in which every state can stop")
    bench = make_bench(target, flow=name in NEEDS_FLOW)
    objective = make_objective(name)
    for measure, log_pi in measures(bench).values():
        claim = enumerated_gradients(objective, bench, 2 if name == "log_variance" else 1, log_pi)
        found = expected_gradients(bench.sampler, bench.target.state_graph(), objective, measure)
        assert found is not None
        assert relative_error({role: found[role].view_as(g) for role, g in claim.items()}, claim) < EXACT


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_divergences_whatever_is_drawn(name: str, target: str) -> None:
    """Against the definition of each divergence over all trajectories."""
    bench = make_bench(target)
    claim = wanted(bench, name)
    for measure, _ in measures(bench).values():
        found = expected_gradients(bench.sampler, bench.target.state_graph(), make_objective(name), measure)
        assert found is not None
        assert relative_error({role: found[role].view_as(g) for role, g in claim.items()}, claim) < EXACT


@pytest.mark.parametrize("lamda", [0.01, 0.5, 1.0, 2.0, 30.0])
@pytest.mark.parametrize("target", ["grid3x3", "tiny_dag"])
def test_subtrajectories_of_every_weight(target: str, lamda: float) -> None:
    bench = make_bench(target, flow=True)
    objective = make_objective("subtrajectory_balance")
    objective.lamda = lamda
    claim = enumerated_gradients(objective, bench, 1, bench.on_policy)
    found = expected_gradients(bench.sampler, bench.target.state_graph(), objective)
    assert found is not None
    assert relative_error({role: found[role].view_as(g) for role, g in claim.items()}, claim) < EXACT


@pytest.mark.parametrize("penalty", ["huber", "log_cosh"])
@pytest.mark.parametrize("name", ["detailed_balance", "flow_matching", "modified_detailed_balance"])
def test_penalties_of_single_steps(name: str, penalty: str) -> None:
    bench = make_bench("grid3x3", flow=True)
    objective = make_objective(name, penalty=penalty)
    claim = enumerated_gradients(objective, bench, 1, bench.on_policy)
    found = expected_gradients(bench.sampler, bench.target.state_graph(), objective)
    assert found is not None
    assert relative_error({role: found[role].view_as(g) for role, g in claim.items()}, claim) < EXACT


def test_what_is_no_sum_over_the_graph_says_so() -> None:
    bench = make_bench("grid2x2", flow=True)
    objectives = [make_objective(name) for name in NOT_A_SUM]
    objectives += [make_objective(name, penalty="huber") for name in ("trajectory_balance", "subtrajectory_balance")]
    objectives += [make_objective("forward_kl", weighting="unweighted", baseline="none")]
    for objective in objectives:
        assert expected_gradients(bench.sampler, bench.target.state_graph(), objective) is None


@pytest.mark.parametrize("backward", ["learned", "uniform", "tied"])
@pytest.mark.parametrize("name", ["trajectory_balance", "reverse_wake_sleep", "subtrajectory_balance"])
def test_replicas_of_networks_are_apart(name: str, backward: str) -> None:
    """Replica r of three has the gradient that autograd finds through the network alone; log P_B may share P_F's trunk."""
    target = make_target("grid3x3")
    objective = make_objective(name)
    together = make_sampler(target, "mlp", backward, n_replicas=3, seed=4, flow=True)
    found = expected_gradients(together, target.state_graph(), objective)
    assert found is not None
    for r in range(3):
        alone = make_sampler(target, "mlp", backward, n_replicas=1, seed=4 + r, flow=True)
        single = expected_gradients(alone, target.state_graph(), objective)
        assert single is not None
        for role, gradient in single.items():
            torch.testing.assert_close(found[role][r : r + 1], gradient, rtol=1e-9, atol=1e-12)


def test_a_tied_backward_policy_adds_its_gradient_to_the_trunk() -> None:
    target = make_target("grid3x3")
    sampler = make_sampler(target, "mlp", "tied", n_replicas=2)
    exact = ExactGradients(sampler, target.state_graph())
    expectations = exact.under("P_F")
    apart = [exact({role: expectations.kl_forward_backward()})[Role.FORWARD] for role in (Role.FORWARD, Role.BACKWARD)]
    assert all(float(part.norm()) > 1e-2 for part in apart)
    torch.testing.assert_close(exact(expectations.kl_forward_backward())[Role.FORWARD], apart[0] + apart[1])


def test_nothing_of_the_sampler_is_touched() -> None:
    target = make_target("grid3x3")
    sampler = make_sampler(target, "mlp", n_replicas=2)
    before = {name: value.clone() for name, value in sampler.state_dict().items()}
    expected_gradients(sampler, target.state_graph(), make_objective("trajectory_balance"))
    assert all(torch.equal(value, before[name]) for name, value in sampler.state_dict().items())
    assert all(p.grad is None for p in sampler.parameters())


def test_unrolling_a_graph_that_skips_layers() -> None:
    """Every (state, number of steps) that a trajectory visits is a node, once; hypergrids stay as they are."""
    bench = make_bench("tiny_dag")
    graph = bench.target.state_graph()
    unrolled = unroll(graph)
    mask = bench.trajectories.mask[0]
    rows = bench.target.state_index(bench.trajectories.states[0, :, :-1])
    visited = {(int(rows[i, t]), t) for i, t in mask.nonzero().tolist()}
    assert {(int(s), int(t)) for s, t in zip(unrolled.state, unrolled.position, strict=True)} == visited
    assert len(unrolled.state) == len(visited) > graph.n_states
    torch.testing.assert_close(unrolled.state[unrolled.graph.source], graph.source[unrolled.edge])
    torch.testing.assert_close(unrolled.state[unrolled.graph.target], graph.target[unrolled.edge])
    grid = make_target("grid3x3").state_graph()
    assert unroll(grid).graph is grid


def test_large_weight_ratios_do_not_overflow() -> None:
    """127 steps: lamda^127 is far beyond float64 at lamda = 1000. Towards infinity only the whole trajectory counts."""
    long = Hypergrid(1, 127, r0=0.1, reward=bumpy, max_enumerated_states=1000)
    exact = ExactGradients(make_sampler(long, n_replicas=2, flow=True), long.state_graph())
    found = exact.under("P_F").subtrajectories(1e6)
    assert bool(exact(found)[Role.FORWARD].isfinite().all())
    torch.testing.assert_close(found, exact.under("P_F").residual_square(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("target", ["grid3x3", "tiny_dag"])
@pytest.mark.parametrize("name", UNWEIGHTED)
def test_values_are_the_expected_losses(name: str, target: str) -> None:
    """Not their gradients alone: the loss itself, in expectation (for log Z's record there is none)."""
    if name == "modified_detailed_balance" and target == "tiny_dag":
        pytest.skip("needs a target in which every state can stop")
    bench = make_bench(target, flow=name in NEEDS_FLOW)
    objective = make_objective(name)
    loss = AllBatches(bench.sampler, bench.target).expected_loss(objective, 2 if name == "log_variance" else 1, bench.on_policy)
    exact = ExactGradients(bench.sampler, bench.target.state_graph())
    descends = objective.descends(exact.under("P_F"))
    torch.testing.assert_close(descends[Role.FORWARD][0], loss, rtol=1e-10, atol=0)


def test_detailed_balance_is_theorem_five_between_all_layers() -> None:
    """With F = the visits of P_F and F = R once ended, windows times their mass sum to the expected DB loss, for theta."""
    space = make_target("grid3x3")
    graph = space.state_graph()
    sampler = make_sampler(space, n_replicas=1, flow=True)
    visits = ExactGradients(sampler, graph).under("P_F").visits.states[:, 0].log()
    with torch.no_grad():
        sampler.log_Z.zero_()
        sampler.flow_table[0, space.state_index(graph.states), 0] = visits
    exact = ExactGradients(sampler, graph)
    flows = NodeFlows(visits, torch.zeros(len(graph.source)).double(), graph.log_reward)
    between = list(windows(exact.policies, list(range(graph.n_levels + 1)), flows))
    squares = [window.log_start.logsumexp(0).exp() * window.square(Role.FORWARD) for window in between]
    found = exact({Role.FORWARD: torch.stack(squares).sum(0)})[Role.FORWARD]
    wanted = exact({Role.FORWARD: exact.under("P_F").steps(torch.square)})[Role.FORWARD]
    assert float(wanted.norm()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
