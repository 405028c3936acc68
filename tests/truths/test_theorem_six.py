"""What an inequality and gradients do not see: constant errors, and a left side that was lost, must be found wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from building import generators, make_exploration, make_sampler, make_target
from torch import Tensor

from gfn_vi.evaluation.exact.enumeration import Enumeration
from gfn_vi.evaluation.exact.expectations import GraphExpectations
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.samplers.discrete.tabular import TabularSampler
from gfn_vi.targets.tiny_dag import TinyDag
from gfn_vi.verification import theorems as theorems_module
from gfn_vi.verification.check import Check
from gfn_vi.verification.quantities import sides_by_both_ways
from gfn_vi.verification.referee import DIVERGENCES, Referee
from gfn_vi.verification.table import by_enumeration
from gfn_vi.verification.theorems import Theorems

TOLERANCE = 1e-9


def compared() -> Check:
    """The line of the table."""
    space = make_target("grid3x3")
    sampler = make_sampler(space, n_replicas=2, seed=3)
    return sides_by_both_ways(Theorems(ExactGradients(sampler, space.state_graph())), Referee(sampler, space))


@pytest.mark.parametrize("name", ["elbo", "eubo", "log_power", "kl_forward_backward", "kl_backward_forward"])
def test_a_constant_error_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no gradient, so theorems 1 to 5 hold with it; a small one leaves theorem 6 as it is, too."""
    assert compared().holds(TOLERANCE)
    right = getattr(GraphExpectations, name)

    def wrong(self: GraphExpectations, *arguments: Any) -> Tensor:
        return right(self, *arguments) + 1e-6

    monkeypatch.setattr(GraphExpectations, name, wrong)
    assert float(compared().error.min()) > 1e-7
    space = make_target("grid3x3")
    checks = by_enumeration(make_sampler(space), space, make_exploration("epsilon_uniform"), 2, 0)
    assert [check.theorem for check in checks if not check.holds(TOLERANCE)] == [6]


def test_a_left_side_that_was_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """P_T = R / Z has no divergence from it, and 0 <= D holds: the inequality is silent, the comparison is not."""
    space = make_target("grid3x3")

    def target_itself(policies: Any) -> Tensor:
        return policies.graph.log_target.exp()[:, None].expand(-1, policies.log_pf.shape[1])

    with monkeypatch.context() as patched:
        patched.setattr(theorems_module, "terminating_probability", target_itself)
        exact = ExactGradients(make_sampler(space, n_replicas=2, seed=3), space.state_graph())
        assert all(check.holds(TOLERANCE) for check in Theorems(exact).data_processing())
        assert float(compared().error.min()) > 0.5
    per_object = Enumeration.per_object
    monkeypatch.setattr(Enumeration, "per_object", lambda self, values: per_object(self, self.log_target.exp()))
    assert float(compared().error.min()) > 0.5


def test_the_sides_exchanged_must_fail() -> None:
    """Trajectories are further apart than what they end in, by the divergence of the ways to it."""
    space = make_target("grid3x3")
    referee = Referee(make_sampler(space, n_replicas=2, seed=3), space)
    (control,) = referee.exchanged()
    assert control.must_fail
    assert control.holds(TOLERANCE)
    p, q = referee.listed.log_target, referee.listed.log_pf
    ends = [referee.listed.per_object(x.exp()).log()[:, referee.listed.terminal] for x in (p, q)]
    ways = (p.exp() * ((p - ends[0]) - (q - ends[1]))).sum(1)  # KL of P_B(tau | x) from P_F(tau | x), x from the target
    torch.testing.assert_close(control.left - control.right, ways, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(control.error, ways / control.right, rtol=1e-12, atol=1e-12)


def one_way() -> Referee:
    """A tree."""
    space = TinyDag([[0, 1], [0, 2]], {1: 1.0, 2: 3.0})
    return Referee(make_sampler(space, n_replicas=2), space)


def same_ways() -> Referee:
    """Two ways to the corner of a square, both of them alike under uniform policies."""
    space = make_target("grid2x2")
    sampler = TabularSampler(space, generators(0, 1), scale=0.0, backward="uniform", flow=False, log_Z=0.0)
    return Referee(sampler, space)


@pytest.mark.parametrize("make", [one_way, same_ways])
def test_where_both_draw_the_same_ways_there_is_nothing_to_exchange(make: Callable[[], Referee]) -> None:
    referee = make()
    assert referee.exchanged() == []
    for check in referee.data_processing():
        torch.testing.assert_close(check.left, check.right, rtol=1e-12, atol=1e-12)


def test_divergences_of_two_coins_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[0.25, 0.75]]).double()
    by_hand = {
        "KL(R/Z, P_T)": 0.5 * math.log(2) + 0.5 * math.log(2 / 3),
        "KL(P_T, R/Z)": 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2),
        "chi2(P_T, R/Z)": 2 * 0.25**2 / 0.5,
        "H2(P_T, R/Z)": 1 - math.sqrt(1 / 8) - math.sqrt(3 / 8),
        "JS(R/Z, P_T)": (0.5 * (math.log(4 / 3) + math.log(4 / 5)) + 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)) / 2,
        "TV(R/Z, P_T)": 0.25,
    }
    assert {name: float(divergence(p, q)) for name, divergence in DIVERGENCES.items()} == pytest.approx(by_hand, rel=1e-14)
