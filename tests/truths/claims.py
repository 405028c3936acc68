"""The table of expected gradients: what each objective claims to descend, written from its definition over all trajectories.

A row of CLAIMS states, for every role, a function of the parameters whose gradient by autograd is the claim. A new YAML in
configs/objective without a row fails (test_expected_gradients.py).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from building import BASELINES
from torch import Tensor

from gfn_vi.core.types import Role
from truths.expectations import Bench

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
