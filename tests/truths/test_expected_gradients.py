"""The table of expected gradients: what each objective claims to descend, against the exact expectation of what it computes.

A row of CLAIMS states, for every role, a function of the parameters written from its definition over all trajectories; its
gradient by autograd is compared with the expectation of the objective's gradient over all batches. A new YAML in
configs/objective without a row fails.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hydra.errors import InstantiationException
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.enumeration import multisets
from gfn_vi.objectives.baselines import GlobalLogZ, NoBaseline
from gfn_vi.objectives.divergences import ChiSquare, ForwardKL, ReverseKL
from gfn_vi.objectives.variational import Variational
from gfn_vi.objectives.weightings import Plain
from gfn_vi.verification.batches import take_batches
from truths.building import BASELINES, WEIGHTINGS, choices, make_exploration, make_objective
from truths.expectations import Bench, evaluate_all, expected_gradients, make_bench, relative_error

# Expectations add up at most some thousand float64 terms of order one.
EXACT = 1e-10
ALPHA = 0.5  # of configs/objective/{renyi,tsallis}_alpha.yaml
Claim = dict[Role, Tensor]


# -- divergences between the trajectory distributions, from their definitions ------------------------------------------


def densities(bench: Bench) -> tuple[Tensor, Tensor]:
    """P_F and R P_B / Z with the learned log Z (held fixed) in the place of the true one: [n]."""
    log_m = (bench.listed.log_pb + bench.listed.log_reward)[0] - bench.sampler.log_Z.detach()
    return bench.listed.log_pf[0].exp(), log_m.exp()


def kl_forward_backward(bench: Bench) -> Tensor:
    """KL(P_F, P_B); both normalized."""
    p, q = bench.listed.log_pf[0], bench.listed.log_target[0]
    return (p.exp() * (p - q)).sum()


def kl_backward_forward(bench: Bench) -> Tensor:
    """KL(P_B, P_F)."""
    p, q = bench.listed.log_pf[0], bench.listed.log_target[0]
    return (q.exp() * (q - p)).sum()


def jensen_shannon(bench: Bench) -> Tensor:
    """(KL(P_F, M) + KL(P_B, M)) / 2 with M = (P_F + P_B) / 2."""
    p, q = densities(bench)
    m = (p + q) / 2
    return ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2


def chi_square(bench: Bench) -> Tensor:
    """Sum of (P_F - P_B)^2 / P_B."""
    p, q = densities(bench)
    return ((p - q).square() / q).sum()


def tsallis(bench: Bench) -> Tensor:
    """(sum of P_F^alpha P_B^(1 - alpha) - 1) / (alpha - 1)."""
    p, q = densities(bench)
    return ((p**ALPHA * q ** (1 - ALPHA)).sum() - 1) / (ALPHA - 1)


def renyi(bench: Bench) -> Tensor:
    """log of the sum of P_F^alpha P_B^(1 - alpha), over alpha - 1."""
    p, q = densities(bench)
    return (p**ALPHA * q ** (1 - ALPHA)).sum().log() / (ALPHA - 1)


# -- balance losses, trajectory by trajectory ---------------------------------------------------------------------------


def square(x: Tensor) -> Tensor:
    return x * x


def huber(x: Tensor) -> Tensor:
    """delta = 1."""
    return x * x if abs(float(x.detach())) <= 1 else 2 * x.abs() - 1


def log_cosh(x: Tensor) -> Tensor:
    return 2 * x.cosh().log()


PENALTIES = {"square": square, "huber": huber, "log_cosh": log_cosh}


class Steps:
    """Along trajectory k: step log-probabilities and log F, looked up state by state in the sampler's tables."""

    def __init__(self, bench: Bench, k: int) -> None:
        target, self.sampler = bench.target, bench.sampler
        self.length = int(bench.trajectories.mask[0, k].sum())
        self.states = list(bench.trajectories.states[0, k, : self.length])  # s_0 .. x
        self.actions = bench.trajectories.actions[0, k, : self.length].tolist()
        self.target = target
        self.log_reward = bench.trajectories.log_reward[0, k]
        self.log_pf = [self.forward(s)[a] for s, a in zip(self.states, self.actions, strict=True)]
        self.log_pb = [self._back(t) for t in range(self.length - 1)] + [torch.zeros(()).double()]

    def forward(self, state: Tensor) -> Tensor:
        return self.sampler.forward_log_probs(state[None, None])[0, 0]

    def flow(self, state: Tensor) -> Tensor:
        if torch.equal(state, self.target.initial()):
            return self.sampler.log_Z[0]
        return self.sampler.flow_table[0, self.target.state_index(state), 0]

    def _back(self, t: int) -> Tensor:
        child, parent = self.states[t + 1], self.states[t]
        legal = self.target.backward_mask(child).nonzero()[:, 0].tolist()
        (a,) = [a for a in legal if torch.equal(self.target.backstep(child, torch.tensor(a)), parent)]
        return self.sampler.backward_log_probs(child[None, None])[0, 0, a]

    def log_flows(self) -> list[Tensor]:
        """log F(s_0) .. log F(x), and log R after the stop step."""
        return [*(self.flow(s) for s in self.states), self.log_reward]


def detailed(steps: Steps, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    f = steps.log_flows()
    return sum(penalty(f[t] + steps.log_pf[t] - f[t + 1] - steps.log_pb[t]) for t in range(steps.length))


def subtrajectories(steps: Steps, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """lamda = 0.9 of the YAML."""
    f, n = steps.log_flows(), steps.length
    total, weights = torch.zeros(()).double(), 0.0
    for i, j in product(range(n + 1), range(n + 1)):
        if i < j:
            between = sum(steps.log_pf[t] - steps.log_pb[t] for t in range(i, j))
            total = total + 0.9 ** (j - i) * penalty(f[i] + between - f[j])
            weights += 0.9 ** (j - i)
    return total / weights


def flow_matching(steps: Steps, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """The parents of a state are found by trying every action in every state of the target."""
    target, total = steps.target, torch.zeros(()).double()
    stop = target.n_actions - 1
    for state in steps.states[1:]:
        edges = []
        for parent in target.state_graph().states:
            for action in target.forward_mask(parent).nonzero()[:, 0].tolist():
                if action != stop and torch.equal(target.step(parent, torch.tensor(action)), state):
                    edges.append(steps.flow(parent) + steps.forward(parent)[action])
        total = total + penalty(torch.logsumexp(torch.stack(edges), 0) - steps.flow(state))
    last = steps.states[-1]
    return total + penalty(steps.flow(last) + steps.forward(last)[stop] - steps.log_reward)


def modified(steps: Steps, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """log R(s) P_F(s' | s) P_F(stop | s') / (R(s') P_B(s | s') P_F(stop | s)) over the edges of the trajectory."""
    total = torch.zeros(()).double()
    for t in range(steps.length - 1):
        a, b = steps.states[t], steps.states[t + 1]
        flow_a = steps.target.log_reward(a) - steps.forward(a)[-1]
        flow_b = steps.target.log_reward(b) - steps.forward(b)[-1]
        total = total + penalty(flow_a + steps.log_pf[t] - steps.log_pb[t] - flow_b)
    return total


def expected_loss(loss: Callable[[Steps, Callable[[Tensor], Tensor]], Tensor], penalty: str) -> Callable[[Bench], Claim]:
    """E_{P_F}[loss(tau)] with P_F, as the measure, held fixed: what every role descends."""

    def claim(bench: Bench) -> Claim:
        p = bench.on_policy.exp()
        total = sum(p[k] * loss(Steps(bench, k), PENALTIES[penalty]) for k in range(len(p)))
        return {Role.FORWARD: total, Role.BACKWARD: total, Role.FLOW: total, Role.LOG_Z: total}

    return claim


# -- the table -----------------------------------------------------------------------------------------------------------


def log_Z_term(bench: Bench) -> Tensor:
    """E_{P_F}[(log Z + l)^2]."""
    p, log_ratio = bench.on_policy.exp(), bench.listed.log_ratio[0].detach()
    return (p * (bench.sampler.log_Z + log_ratio).square()).sum()


def trajectory_balance(bench: Bench) -> Claim:
    """Theorem 1 (twice KL(P_F, P_B), whatever log Z is) and theorem 3 (eq. 9)."""
    p, log_r = bench.on_policy.exp(), bench.listed.log_target[0] - bench.on_policy
    surrogate = (p * log_r.square()).sum() + 2 * (bench.sampler.log_Z.detach() - bench.listed.log_Z) * (p * -log_r).sum()
    return {Role.FORWARD: 2 * kl_forward_backward(bench), Role.BACKWARD: surrogate.sum(), Role.LOG_Z: log_Z_term(bench)}


def log_variance(bench: Bench) -> Claim:
    """2 KL(P_F, P_B) for P_F; the variance of l under P_F, held fixed, for P_B."""
    p, log_ratio = bench.on_policy.exp(), bench.listed.log_ratio[0]
    variance = (p * log_ratio.square()).sum() - (p * log_ratio).sum().square()
    return {Role.FORWARD: 2 * kl_forward_backward(bench), Role.BACKWARD: variance, Role.LOG_Z: log_Z_term(bench)}


def modified_detailed_balance(bench: Bench) -> Claim:
    """As expected_loss; log Z follows log R(s_0) - log P_F(stop | s_0)."""
    claim = expected_loss(modified, "square")(bench)
    source = bench.target.initial(1, 1)
    log_flow = (bench.target.log_reward(source) - bench.sampler.forward_log_probs(source)[..., -1]).detach()
    return claim | {Role.LOG_Z: (bench.sampler.log_Z - log_flow).square().sum()}


def both_sides(forward: Callable[[Bench], Tensor], backward: Callable[[Bench], Tensor]) -> Callable[[Bench], Claim]:
    return lambda bench: {
        Role.FORWARD: forward(bench),
        Role.BACKWARD: backward(bench),
        Role.LOG_Z: log_Z_term(bench),
    }


def symmetric(bench: Bench) -> Tensor:
    return kl_forward_backward(bench) + kl_backward_forward(bench)


CLAIMS: dict[str, Callable[[Bench], Claim]] = {
    "trajectory_balance": trajectory_balance,
    "log_variance": log_variance,
    "detailed_balance": expected_loss(detailed, "square"),
    "subtrajectory_balance": expected_loss(subtrajectories, "square"),
    "flow_matching": expected_loss(flow_matching, "square"),
    "modified_detailed_balance": modified_detailed_balance,
    "reverse_kl": both_sides(kl_forward_backward, kl_forward_backward),
    "forward_kl": both_sides(kl_backward_forward, kl_backward_forward),
    "wake_sleep": both_sides(kl_backward_forward, kl_forward_backward),
    "reverse_wake_sleep": both_sides(kl_forward_backward, kl_backward_forward),
    "symmetric_kl": both_sides(symmetric, symmetric),
    "jensen_shannon": both_sides(jensen_shannon, jensen_shannon),
    "chi_square": both_sides(chi_square, chi_square),
    "tsallis_alpha": both_sides(tsallis, tsallis),
    "renyi_alpha": both_sides(renyi, renyi),
}
NEEDS_FLOW = ("detailed_balance", "subtrajectory_balance", "flow_matching")
BALANCE = ("trajectory_balance", "log_variance", "modified_detailed_balance", *NEEDS_FLOW)
VARIATIONAL = tuple(sorted(set(CLAIMS) - set(BALANCE)))
CONSISTENT = ("renyi_alpha",)  # a ratio of means: no batch size makes it exact
UNBIASED = tuple(name for name in VARIATIONAL if name not in CONSISTENT)
# Averaged under P_F alone: on-policy all weights are 1 / B, whatever the weighting, and log Z may be wrong.
UNDER_P_F = ("reverse_kl", "jensen_shannon", "chi_square", "tsallis_alpha")
ONLY_KL = ("reverse_kl", "forward_kl", "reverse_wake_sleep", "symmetric_kl")


def legal(objective: str) -> tuple[str, ...]:
    """Paper, section 2: wake-sleep takes no baseline; log Z is one of the KL divergences only."""
    if objective == "wake_sleep":
        return ("none",)
    return BASELINES if objective in ONLY_KL else tuple(b for b in BASELINES if b != "global_log_z")


def wanted(bench: Bench, name: str) -> dict[Role, Tensor]:
    """The claimed gradients."""
    roles = bench.sampler.parameter_groups()
    return {role: bench.gradients(value)[role] for role, value in CLAIMS[name](bench).items() if role in roles}


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
