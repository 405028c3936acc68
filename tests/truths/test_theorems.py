"""The table of theorems: it holds on every target and sampler, by listing and by recursion, and it can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from building import TARGETS, generators, make_exploration, make_sampler, make_target
from measuring import measured
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.expectations import GraphExpectations
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.verification import equivalence
from gfn_vi.verification import theorems as theorems_module
from gfn_vi.verification.check import Check, combined, compare, excess, worst
from gfn_vi.verification.equivalence import trajectory_balance_is_reverse_kl
from gfn_vi.verification.estimators import Estimators
from gfn_vi.verification.junctions import junction_choices
from gfn_vi.verification.quantities import sides_by_both_ways
from gfn_vi.verification.referee import Referee
from gfn_vi.verification.table import by_dynamic_programming, by_enumeration
from gfn_vi.verification.theorem_errors import TheoremErrors
from gfn_vi.verification.theorems import Theorems
from gfn_vi.verification.windows import Window, layers, node_flows, windows

TOLERANCE = 1e-9
EMPTY = {"uniform": (2, 3), "tied": (4,)}  # no parameters of P_B; none that are P_B's alone
KINDS = [("tabular", "learned"), ("tabular", "uniform"), ("mlp", "learned"), ("mlp", "tied")]
every_target = pytest.mark.parametrize("target", TARGETS)
every_sampler = pytest.mark.parametrize(("kind", "backward"), KINDS)


def all_junctions(n_layers: int) -> dict[str, list[int]]:
    return junction_choices(n_layers, None, 0)


@every_target
@every_sampler
def test_theorems_hold_by_recursion(target: str, kind: str, backward: str) -> None:
    space = make_target(target)
    sampler = make_sampler(space, kind, backward, n_replicas=2, seed=5)
    checks = list(
        by_dynamic_programming(sampler, space.state_graph(), generators(0, 2), 20, all_junctions(space.state_graph().n_levels))
    )
    assert {check.theorem for check in checks} == {1, 2, 3, 4, 5, 6}
    for check in checks:
        assert check.error.shape == (2,)
        assert check.holds(TOLERANCE), check
        if check.theorem in (1, 5) or (check.theorem in (2, 3) and backward != "uniform"):
            assert float(check.right.min()) > 1e-3, check
        assert check.is_empty == (check.theorem in EMPTY.get(backward, ()))


@every_target
@every_sampler
def test_theorems_hold_by_listing(target: str, kind: str, backward: str) -> None:
    space = make_target(target)
    sampler = make_sampler(space, kind, backward, seed=5)
    checks = list(by_enumeration(sampler, space, make_exploration("epsilon_uniform"), 2, 0))
    assert {check.theorem for check in checks} == {0, 1, 2, 3, 5, 6}
    for check in checks:
        assert check.holds(TOLERANCE), check
    assert sum(check.must_fail for check in checks) == 6


@every_target
@every_sampler
def test_both_ways_find_the_same_sides(target: str, kind: str, backward: str) -> None:
    """Not only do sides agree: a gradient that was lost on both would be missed without this."""
    space = make_target(target)
    sampler = make_sampler(space, kind, backward, n_replicas=2, seed=6)
    theorems, referee = Theorems(ExactGradients(sampler, space.state_graph())), Referee(sampler, space)
    assert referee.n_layers == space.state_graph().n_levels
    for ours, theirs in (
        (theorems.proposition_1_forward(), referee.proposition_1_forward()),
        (theorems.proposition_1_backward(), referee.proposition_1_backward()),
    ):
        torch.testing.assert_close(ours.right, theirs.right, rtol=1e-9, atol=1e-12)
    assert sides_by_both_ways(theorems, referee).holds(TOLERANCE)
    # of several log Z the one of largest error is shown: which one is a matter of rounding, so all are compared
    by_recursion = theorems.exact.under("P_F").residual_square()
    residual = referee.listed.log_ratio + sampler.log_Z[:, None]
    torch.testing.assert_close(by_recursion, (referee.listed.log_pf.exp() * residual.square()).sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["grid3x3", "tiny_dag"])
def test_windows_hold_the_sub_trajectories(target: str) -> None:
    """What the two sides of proposition 2 are in every window, against sub-trajectories listed one by one."""
    space = make_target(target)
    sampler = make_sampler(space, n_replicas=2, seed=7)
    graph = space.state_graph()
    theorems, referee = Theorems(ExactGradients(sampler, graph)), Referee(sampler, space)
    flows = node_flows(theorems.exact.policies)
    edge = {(int(s), int(t)): e for e, (s, t) in enumerate(zip(graph.source, graph.target, strict=True))}

    def row(state: object) -> int:
        return int(space.state_index(torch.tensor(state)))

    def log_flow(node: tuple[object, ...]) -> float:
        if node[0] == "dummy":
            return float(flows.dummies[edge[row(node[1]), row(node[2])]])
        return float((flows.states if node[0] == "state" else flows.ended)[row(node[1])])

    junctions = [0, 2, graph.n_levels - 1, graph.n_levels]
    for number, window in enumerate(windows(theorems.exact.policies, junctions, flows)):
        for role in (Role.FORWARD, Role.BACKWARD):
            a, b = junctions[number], junctions[number + 1]
            left, right, error = referee.window(a, b, role, log_flow)
            assert float(error.max()) < TOLERANCE
            ours = compare(theorems._gradient(role, window.square(role)), theorems._gradient(role, 2 * window.divergence(role)))
            torch.testing.assert_close(ours[0], left, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(ours[1], right, rtol=1e-9, atol=1e-12)


def test_one_window_is_the_whole_trajectory() -> None:
    """K = 1 is proposition 1: its flows at the ends are a constant and R."""
    space = make_target("tiny_dag")
    exact = ExactGradients(make_sampler(space, n_replicas=2), space.state_graph())
    n_layers = space.state_graph().n_levels
    (window,) = windows(exact.policies, [0, n_layers], node_flows(exact.policies))
    expectations = exact.under("P_F")
    torch.testing.assert_close(window.divergence(Role.FORWARD), expectations.kl_forward_backward())
    torch.testing.assert_close(window.divergence(Role.BACKWARD), expectations.kl_backward_forward())
    with pytest.raises(ValueError, match=r"junctions \[0, 2\]: expected 0 <"):
        list(windows(exact.policies, [0, 2], node_flows(exact.policies)))
    assert int(layers(space.state_graph()).max()) == n_layers - 1


# -- the table can fail ---------------------------------------------------------------------------------------------------


def wrong_gain(self: GraphExpectations, log_start: Tensor, right: Callable[..., Tensor]) -> Tensor:
    """The mean of what comes before an edge is left out."""
    half = (self.visits.edges * self.gain.detach() * self.gain).sum(0) + (self.visits.stops * self.end.detach() * self.end).sum(0)
    return 2 * half - half.detach()


def test_a_wrong_expectation_fails_theorems_one_two_three_and_five(monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_target("grid3x3")
    theorems = Theorems(ExactGradients(make_sampler(space, n_replicas=2), space.state_graph()))
    monkeypatch.setattr(GraphExpectations, "square", lambda self, start: wrong_gain(self, start, GraphExpectations.square))
    for check in (
        theorems.proposition_1_forward(),
        theorems.proposition_1_backward(),
        theorems.surrogate_of_equation_9(),
        theorems.proposition_2([0, 2, 5], ""),
    ):
        assert float(check.error.min()) > 1e-2, check
        assert not check.holds(TOLERANCE)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_every_window_counts(broken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in one window is not lost in the sum over all."""
    space = make_target("grid3x3")
    theorems = Theorems(ExactGradients(make_sampler(space, n_replicas=2), space.state_graph()))

    def one_wrong(*arguments: Any) -> list[Window]:
        between = list(windows(*arguments))
        square = between[broken].square
        between[broken].square = lambda role: (1 + 1e-6) * square(role)  # type: ignore[method-assign]
        return between

    monkeypatch.setattr(theorems_module, "windows", one_wrong)
    error = float(theorems.proposition_2([0, 2, 3, space.state_graph().n_levels], "").error.max())
    assert 1e-9 < error < 1e-5


def test_every_log_Z_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong at another log Z only is seen."""
    space = make_target("grid3x3")
    theorems = Theorems(ExactGradients(make_sampler(space, n_replicas=2), space.state_graph()))
    square = GraphExpectations.residual_square
    right = float(theorems.exact.under("P_F").log_Z[0].detach())

    def wrong_elsewhere(self: GraphExpectations) -> Tensor:
        return square(self) * (1 + 1e-6 * (abs(float(self.log_Z[0]) - right) > 1))

    monkeypatch.setattr(GraphExpectations, "residual_square", wrong_elsewhere)
    for check in (theorems.proposition_1_forward(), theorems.proposition_1_backward(), theorems.surrogate_of_equation_9()):
        assert not check.holds(TOLERANCE)


def test_theorems_hold_at_the_optimum_where_both_sides_vanish() -> None:
    """P_F with the same visits as P_B: gradients are rounding, and so are their differences."""
    space = make_target("grid3x3")
    sampler = make_sampler(space, n_replicas=2)
    visits = ExactGradients(sampler, space.state_graph()).under("P_B").visits
    graph = space.state_graph()
    with torch.no_grad():
        row = space.state_index(graph.states)
        sampler.forward_table[:, row[graph.source], graph.forward_action] = visits.edge_kernel.T.log()
        sampler.forward_table[:, row, -1] = visits.stop_kernel.T.log()
    for check in by_dynamic_programming(sampler, graph, generators(0, 2), 5, all_junctions(graph.n_levels)):
        assert check.holds(TOLERANCE), check


def test_nothing_exceeds_infinity() -> None:
    inf = torch.inf
    found = excess(torch.tensor([1.0, inf, 2.0, 1.0, torch.nan]), torch.tensor([inf, inf, 1.0, 2.0, inf]))
    assert found[:4].tolist() == [0, 0, 1, 0]
    assert bool(found[4].isnan())


def test_a_wrong_rate_fails_theorem_four(monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_target("grid3x3")
    sgd = equivalence._sgd
    monkeypatch.setattr(
        equivalence, "_sgd", lambda sampler, rate: sgd(sampler, rate * (1 + 1e-6)) if rate > 1e-3 else sgd(sampler, rate)
    )
    check = trajectory_balance_is_reverse_kl(make_sampler(space, n_replicas=2), generators(0, 2), 20)
    assert not check.holds(TOLERANCE)
    assert float(check.error.max()) < 1e-3  # and yet sees a millionth


def test_more_divergence_at_the_ends_fails_theorem_six(monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_target("grid3x3")
    theorems = Theorems(ExactGradients(make_sampler(space, n_replicas=2), space.state_graph()))
    kl = GraphExpectations.kl_backward_forward
    monkeypatch.setattr(GraphExpectations, "kl_backward_forward", lambda self: kl(self) / 10)
    held = {check.claim: check.holds(TOLERANCE) for check in theorems.data_processing()}
    assert [claim for claim, holds in held.items() if not holds] == ["KL(R/Z, P_T) <= KL(P_B, P_F)"]


@pytest.mark.parametrize("size", [2, 3])
def test_controls_are_wrong_by_what_theory_says(size: int) -> None:
    """The batch mean by exactly 1 / B, weights divided twice by (B - 1) / B, the illegal baseline by its constant."""
    space = make_target("grid2x2")
    checks = Estimators(make_sampler(space), space, make_exploration("epsilon_uniform"), size).checks()
    wrong = {check.claim.split(":")[0]: float(check.error) for check in checks if check.must_fail}
    assert wrong["reverse KL, batch mean, theta"] == pytest.approx(1 / size, rel=1e-9)
    assert wrong["reverse KL, weights over B twice"] == pytest.approx(1 - 1 / size, rel=1e-9)
    assert wrong["forward KL, baseline on the illegal side"] == pytest.approx(0.5, rel=1e-9)
    assert 0 < wrong["forward KL, published weights"] < 1
    assert not any(replace(check, must_fail=False).holds(TOLERANCE) for check in checks if check.must_fail)
    assert not any(replace(check, must_fail=True).holds(TOLERANCE) for check in checks if not check.must_fail)


def test_nan_neither_holds_nor_fails_as_it_must() -> None:
    nan = torch.tensor([0.0, float("nan")])
    for must_fail in (False, True):
        assert not Check(1, "", "", nan, nan, nan, must_fail).holds(TOLERANCE)
    left, right = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.5]])
    # against nothing, on the smallest scale
    torch.testing.assert_close(compare(left, right)[2], torch.tensor([1e5, 0.5 / float(right[1].norm())]).double())
    sides = [compare(left, left), compare(left, right)]
    torch.testing.assert_close(worst(sides)[2], sides[1][2])
    torch.testing.assert_close(combined([sides[1], sides[1]])[2], torch.stack([2**0.5 * sides[1][2][0], sides[1][2][1]]))


@pytest.mark.parametrize("given", [[0, 3], [0, 5, 5, 8], [1, 8], [0, 8.0], [8], [0, 9, 8]])
def test_junctions_that_are_none_are_refused(given: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"junctions=.*expected increasing layers from 0 to 8"):
        junction_choices(8, given, 0)


def test_errors_as_a_metric_leave_the_sampler_alone() -> None:
    space = make_target("grid3x3")
    sampler: DiscreteSampler = make_sampler(space, "mlp", n_replicas=2)
    before = {name: value.clone() for name, value in sampler.state_dict().items()}
    with torch.no_grad():
        found = measured(TheoremErrors(3), sampler, space, generators(0, 2))
    assert list(found) == [f"theorem_{k}" for k in range(1, 7)]
    assert all(value.shape == (2,) and float(value.max()) < TOLERANCE for value in found.values())
    assert all(torch.equal(value, before[name]) for name, value in sampler.state_dict().items())
