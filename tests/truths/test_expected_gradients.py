"""What each objective claims to descend (claims.py), against the exact expectation of what it computes, over all batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from building import BASELINES, WEIGHTINGS, choices, make_exploration, make_objective
from hydra.errors import InstantiationException
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.enumeration import multisets
from gfn_vi.objectives.baselines import GlobalLogZ, NoBaseline
from gfn_vi.objectives.divergences import ChiSquare, ForwardKL, ReverseKL
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import Plain
from gfn_vi.verification.batches import take_batches
from truths.claims import (
    CLAIMS,
    CONSISTENT,
    NEEDS_FLOW,
    PENALTIES,
    UNBIASED,
    UNDER_P_F,
    VARIATIONAL,
    Steps,
    detailed,
    expected_loss,
    flow_matching,
    kl_backward_forward,
    legal,
    subtrajectories,
    wanted,
)
from truths.expectations import Bench, evaluate_all, expected_gradients, make_bench, relative_error

# Expectations add up at most some thousand float64 terms of order one.
EXACT = 1e-10


def parts(name: str, baseline: str, weighting: str) -> Variational:
    return make_objective(name, baseline=baseline, weighting=weighting)


def behaviors(bench: Bench) -> dict[str, Tensor]:
    """log pi [n] of every shipped exploration that has a density, at the start of its schedule."""
    names = ("on_policy", "epsilon_uniform", "tempered", "stop_bias", "mixture")
    explorations = {name: make_exploration(name) for name in names}
    return {k: e.log_density(bench.sampler, bench.trajectories, 0)[0] for k, e in explorations.items()}


def test_every_objective_has_a_row() -> None:
    assert sorted(CLAIMS) == choices("objective")


@pytest.mark.parametrize("target", ["grid2x2", "tiny_dag"])
@pytest.mark.parametrize("name", [n for n in CLAIMS if n not in CONSISTENT])
def test_on_policy(name: str, target: str) -> None:
    """As configured (weights set to plain, unbiased on the P_B side too), B = 2; log Z right where P_B is averaged over."""
    if name == "modified_detailed_balance" and target == "tiny_dag":
        pytest.skip("needs a target in which every state can stop")
    bench = make_bench(target, exact_log_Z=name in VARIATIONAL and name not in UNDER_P_F, flow=name in NEEDS_FLOW)
    objective = parts(name, "none", "plain") if name in VARIATIONAL else make_objective(name)
    claim = wanted(bench, name)
    found = expected_gradients(objective, bench, 2, bench.on_policy)
    assert relative_error(found, claim) < EXACT
    assert all(float(g.norm()) > 1e-3 for role, g in claim.items() if (name, role) not in NOTHING_TO_LEARN)


NOTHING_TO_LEARN = {("flow_matching", Role.BACKWARD)}


@pytest.mark.parametrize("name", UNBIASED)
def test_the_loss_of_a_divergence_estimates_it(name: str) -> None:
    """What is recorded as `loss`: its expectation is the divergence that P_F descends, log Z being right."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    for behavior, log_pi in behaviors(bench).items():
        objective = parts(name, "none", "plain")
        index, log_orders = multisets(len(log_pi), 2)
        probability = (log_pi[index].sum(1) + log_orders).exp()
        losses = objective(take_batches(evaluate_all(bench, objective.needs, log_pi), index))
        claim = CLAIMS[name](bench)[Role.FORWARD].detach()
        torch.testing.assert_close((probability * losses).sum().detach(), claim, rtol=EXACT, atol=0, msg=behavior)


@pytest.mark.parametrize("penalty", ["huber", "log_cosh"])
@pytest.mark.parametrize(
    ("name", "loss"),
    [("detailed_balance", detailed), ("subtrajectory_balance", subtrajectories), ("flow_matching", flow_matching)],
)
def test_penalties(name: str, loss: Callable[[Steps, Callable[[Tensor], Tensor]], Tensor], penalty: str) -> None:
    bench = make_bench("grid2x2", flow=True)
    claim = {role: bench.gradients(value)[role] for role, value in expected_loss(loss, penalty)(bench).items()}
    objective = make_objective(name, penalty=penalty)
    assert relative_error(expected_gradients(objective, bench, 1, bench.on_policy), claim) < EXACT


@pytest.mark.parametrize("penalty", PENALTIES)
def test_trajectory_balance_off_policy_descends_the_expected_penalty(penalty: str) -> None:
    """E_pi[penalty(u)], no weights, for every behavior."""
    bench = make_bench("grid2x2")
    objective = make_objective("trajectory_balance", penalty=penalty)
    u = bench.listed.log_ratio[0] + bench.sampler.log_Z
    for name, log_pi in behaviors(bench).items():
        value = sum(p * PENALTIES[penalty](x) for p, x in zip(log_pi.exp(), u, strict=True))
        found = expected_gradients(objective, bench, 2, log_pi)
        assert relative_error(found, bench.gradients(value)) < EXACT, name


@pytest.mark.parametrize("target", ["grid3x3", "grid2x2x2", "tiny_dag"])
def test_theorems_one_two_and_three(target: str) -> None:
    """Sampling tau from P_B instead, P_B of TB descends 2 KL(P_B, P_F) (eq. 7); log Z right and wrong."""
    for exact in (True, False):
        bench = make_bench(target, exact_log_Z=exact)
        tb = make_objective("trajectory_balance")
        found = expected_gradients(tb, bench, 1, bench.on_policy)
        assert relative_error(found, wanted(bench, "trajectory_balance"), (Role.FORWARD, Role.BACKWARD)) < EXACT
        found = expected_gradients(tb, bench, 1, bench.from_target)
        claim = bench.gradients(2 * kl_backward_forward(bench))
        assert relative_error(found, claim, (Role.BACKWARD,)) < EXACT


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("name", "baseline"), [(n, b) for n in UNBIASED for b in legal(n) if b != "batch_mean"])
def test_unbiased_under_any_behavior_with_plain_weights(name: str, baseline: str, size: int) -> None:
    """Independent trajectories from any pi of full support; log Z exact (see test_wrong_log_Z_is_a_factor for when it is not)."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    claim = wanted(bench, name)
    for behavior, log_pi in behaviors(bench).items():
        objective = parts(name, baseline, "plain")
        found = expected_gradients(objective, bench, size, log_pi, earlier=torch.tensor([0, 3, 1]))
        assert relative_error(found, claim) < EXACT, behavior


@pytest.mark.parametrize("target", ["grid2x2", "tiny_dag"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize(("name", "baseline"), [(n, b) for n in UNDER_P_F for b in legal(n) if b != "batch_mean"])
def test_unbiased_on_policy_with_every_weighting(name: str, baseline: str, weighting: str, target: str) -> None:
    """Where only P_F is averaged over; log Z is wrong on purpose."""
    bench = make_bench(target)
    found = expected_gradients(parts(name, baseline, weighting), bench, 2, bench.on_policy, earlier=torch.tensor([0, 3, 1]))
    assert relative_error(found, wanted(bench, name)) < EXACT


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("name", UNDER_P_F)
def test_batch_mean_shrinks_the_score_term(name: str, size: int) -> None:
    """By exactly (B - 1) / B for P_F; P_B's term has no baseline and is whole."""
    bench = make_bench("grid2x2")
    claim = wanted(bench, name)
    found = expected_gradients(parts(name, "batch_mean", "self_normalized"), bench, size, bench.on_policy)
    claim[Role.FORWARD] = claim[Role.FORWARD] * (size - 1) / size
    assert relative_error(found, claim) < EXACT


def test_batch_mean_shrinks_the_backward_score_term_too() -> None:
    """forward_kl on trajectories from P_B: all weights are 1 / B there."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    claim = wanted(bench, "forward_kl")
    found = expected_gradients(parts("forward_kl", "batch_mean", "self_normalized"), bench, 3, bench.from_target)
    claim[Role.BACKWARD] = claim[Role.BACKWARD] * 2 / 3
    assert relative_error(found, claim, (Role.FORWARD, Role.BACKWARD)) < EXACT


def test_wrong_log_Z_is_a_factor_of_the_terms_averaged_under_backward() -> None:
    """Plain weights use the learned log Z: those terms are multiplied by Zhat / Z, the others not at all."""
    bench = make_bench("grid2x2")
    factor = (bench.listed.log_Z - bench.sampler.log_Z.detach()).exp()
    claim = wanted(bench, "reverse_wake_sleep")
    claim[Role.BACKWARD] = claim[Role.BACKWARD] * factor
    assert abs(float(factor) - 1) > 0.1
    log_pi = behaviors(bench)["epsilon_uniform"]
    found = expected_gradients(parts("reverse_wake_sleep", "leave_one_out", "plain"), bench, 2, log_pi)
    assert relative_error(found, claim) < EXACT


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
@pytest.mark.parametrize("name", VARIATIONAL)
def test_self_normalized_weights_are_consistent(name: str, baseline: str) -> None:
    """Off-policy the bias falls as 1 / B: from B = 12 to 24 it halves, up to a next order of a few 1 / B."""
    if baseline not in legal(name):
        pytest.skip("refused")
    bench = make_bench("grid2x2", exact_log_Z=True)
    log_pi, claim = behaviors(bench)["epsilon_uniform"], wanted(bench, name)
    errors = {}
    for size in (12, 24):
        found = expected_gradients(parts(name, baseline, "self_normalized"), bench, size, log_pi)
        for role in (Role.FORWARD, Role.BACKWARD):
            errors[size, role] = float((found[role] - claim[role]).norm() / claim[role].norm())
    for role in (Role.FORWARD, Role.BACKWARD):
        assert errors[24, role] > 1e3 * EXACT  # there is a bias to see falling
        assert errors[24, role] == pytest.approx(errors[12, role] / 2, rel=0.25)


class ShiftedForwardKL(ForwardKL):
    """A constant subtracted from one coefficient, as a baseline does."""

    def __init__(self, forward: float, backward: float) -> None:
        self.shift = {"forward": forward, "backward": backward}

    def forward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        return super().forward_coefficient(log_ratio, residual, weights) - self.shift["forward"]

    def backward_coefficient(self, log_ratio: Tensor, residual: Tensor, weights: Tensor) -> Tensor:
        return super().backward_coefficient(log_ratio, residual, weights) - self.shift["backward"]


@pytest.mark.parametrize(("forward", "backward", "role"), [(0.5, 0.0, Role.FORWARD), (0.0, 0.5, None)])
def test_a_baseline_on_the_illegal_side_is_bias(forward: float, backward: float, role: Role | None) -> None:
    """Control: d log P_F averaged under P_B has no mean zero, d log P_B has."""
    bench = make_bench("grid2x2", exact_log_Z=True)
    shifted = [ShiftedForwardKL(forward, backward)]
    objective = Variational(shifted, shifted, NoBaseline(), Plain(30.0))
    found, claim = expected_gradients(objective, bench, 2, bench.on_policy), wanted(bench, "forward_kl")
    for side in (Role.FORWARD, Role.BACKWARD):
        if side is role:
            assert relative_error(found, claim, (side,)) > 0.1
        else:
            assert relative_error(found, claim, (side,)) < EXACT


@pytest.mark.parametrize(("name", "baseline"), list(product(VARIATIONAL, BASELINES)))
def test_illegal_baselines_are_refused(name: str, baseline: str) -> None:
    if baseline in legal(name):
        parts(name, baseline, "plain")
        return
    with pytest.raises(InstantiationException) as error:
        parts(name, baseline, "plain")
    assert "objective.baseline" in str(error.value.__cause__)
    assert "use baseline@objective.baseline=" in str(error.value.__cause__)


def test_one_term_that_is_no_kl_is_enough_to_refuse_log_Z() -> None:
    with pytest.raises(ConfigError, match="baseline of the KL divergences only"):
        Variational([ReverseKL(), ChiSquare(30.0)], [ReverseKL()], GlobalLogZ(), Plain(30.0))


def test_a_mixture_is_unbiased_as_it_is_drawn() -> None:
    """Half the batch from each component, weighted by the mixture's density (balance heuristic): all ordered pairs.

    A leave-one-out mean is not independent of which component its own trajectory came from, and is then (slightly) biased:
    control variates from earlier batches are not.
    """
    bench = make_bench("grid2x2", exact_log_Z=True)
    mixture = make_exploration("mixture")
    first, second = (c.log_density(bench.sampler, bench.trajectories, 0)[0] for c in mixture.components)
    log_pi = torch.logaddexp(first, second) - torch.log(torch.tensor(2.0).double())
    n = len(log_pi)
    index = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    probability = (first[index[:, 0]] + second[index[:, 1]]).exp()
    errors = {}
    for baseline in ("none", "running_mean", "global_log_z", "leave_one_out"):
        objective = parts("reverse_wake_sleep", baseline, "plain")
        evaluation = evaluate_all(bench, objective.needs, log_pi)
        objective(take_batches(evaluation, torch.tensor([0, 3]).expand(len(index), -1)))
        found = bench.gradients((probability * objective(take_batches(evaluation, index))).sum())
        errors[baseline] = relative_error(found, wanted(bench, "reverse_wake_sleep"))
    biased = errors.pop("leave_one_out")
    assert all(error < EXACT for error in errors.values()), errors
    assert 1e-4 < biased < 0.1
