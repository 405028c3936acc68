"""Theorems 1, 2, 3, 5 and 6 (arXiv 2210.00580) by listing every trajectory of a tiny target: slow, but from the definitions.

No state graph and no recursion is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.enumeration import Enumeration, enumerate_paths, enumerate_policies
from gfn_vi.evaluation.exact.policies import PolicySampler
from gfn_vi.verification.check import CLAIMS, SMALLEST_FAILURE, Check, Sides, combined, compare, excess, worst
from gfn_vi.verification.theorems import LOG_Z_SHIFTS

METHOD = "enumeration"
Key = tuple[object, ...]


class Referee:
    """A check of theorems by all trajectories of `target`, whose probabilities are multiplied up one by one."""

    def __init__(self, sampler: PolicySampler, target: DiscreteTarget) -> None:
        self.sampler, self.target = sampler, target
        self.listed = enumerate_policies(sampler, target)
        self.parameters = [p for group in sampler.parameter_groups().values() for p in group]
        self.layer: dict[tuple[int, ...], int] = {}  # of every state: the longest way to it
        for states, _ in enumerate_paths(target):
            for t, state in enumerate(states):
                key = tuple(state.flatten().tolist())
                self.layer[key] = max(self.layer.get(key, 0), t)
        self.n_layers = 1 + max(self.layer.values())

    def proposition_1_forward(self) -> Check:
        """Check theorem 1 (proposition 1, eq. 8): E_{P_F}[d_theta u^2] = 2 d_theta KL(P_F, P_B), for every log Z."""
        return self._square_and_divergence(1, Role.FORWARD)

    def proposition_1_backward(self) -> Check:
        """Check theorem 2 (proposition 1, eq. 7): E_{P_B}[d_phi u^2] = 2 d_phi KL(P_B, P_F), for every log Z."""
        return self._square_and_divergence(2, Role.BACKWARD)

    def _square_and_divergence(self, theorem: int, role: Role) -> Check:
        own = self._only(role)
        p, q = own.log_pf, own.log_target
        if role is Role.BACKWARD:
            p, q = q, p
        right = self._gradient(2 * (p.exp() * (p - q)).sum(1))
        lefts = [self._gradient((p.detach().exp() * self._residual(own, shift).square()).sum(1)) for shift in LOG_Z_SHIFTS]
        return Check(theorem, CLAIMS[theorem], METHOD, *worst([compare(left, right) for left in lefts]))

    def surrogate_of_equation_9(self) -> Check:
        """Check theorem 3 (eq. 9): E_{P_F}[d_phi u^2] = d_phi (E_{P_F}[log^2 P_B/P_F] + 2 (log Z - log Zhat) KL(P_F, P_B))."""
        own, found = self._only(Role.BACKWARD), []
        p, gap = own.log_pf.exp(), own.log_pf - own.log_target
        for shift in LOG_Z_SHIFTS:
            left = self._gradient((p * self._residual(own, shift).square()).sum(1))
            excess = (self.sampler.log_Z.detach() + shift - own.log_Z)[:, None]
            found.append(compare(left, self._gradient((p * (gap.square() + 2 * excess * gap)).sum(1))))
        return Check(3, CLAIMS[3], METHOD, *worst(found))

    def proposition_2(self, junctions: Sequence[int], log_flow: Callable[[Key], float], name: str) -> Check:
        """Check theorem 5 (proposition 2) with flows exp(log_flow(node)) at junctions; a node's name is what it is made of."""
        found: list[Sides] = []
        for a, b in pairwise(junctions):
            for role in (Role.FORWARD, Role.BACKWARD):
                found.append(self.window(a, b, role, log_flow))
        return Check(5, f"SubTB = nested VI, {name}", METHOD, *combined(found))

    def window(self, a: int, b: int, role: Role, log_flow: Callable[[Key], float]) -> Sides:
        """Return both sides of Proposition 2 between layers a and b, compared: theta for P_F, phi for P_B."""
        parts: dict[tuple[Key, ...], tuple[Tensor, Tensor]] = {}
        for nodes, log_pf, log_pb in self._graded_paths(role):
            parts.setdefault(tuple(nodes[a : b + 1]), (log_pf[:, a:b].sum(1), log_pb[:, a:b].sum(1)))

        def flow(node: Key, at_end: bool) -> float:
            return float(self.target.log_reward(torch.tensor(node[1]))) if at_end else log_flow(node)

        like = self.listed.log_reward
        start = torch.tensor([flow(nodes[0], False) for nodes in parts], dtype=like.dtype)
        end = torch.tensor([flow(nodes[-1], b == self.n_layers) for nodes in parts], dtype=like.dtype)
        hat = start + torch.stack([log_pf for log_pf, _ in parts.values()], 1)
        check = end + torch.stack([log_pb for _, log_pb in parts.values()], 1)
        p, q = (hat, check) if role is Role.FORWARD else (check, hat)
        p_normal, q_normal = p.log_softmax(1), q.log_softmax(1)
        left = self._gradient((p_normal.detach().exp() * (hat - check).square()).sum(1))
        return compare(left, self._gradient(2 * (p_normal.exp() * (p_normal - q_normal)).sum(1)))

    def _graded_paths(self, role: Role) -> list[tuple[list[Key], Tensor, Tensor]]:
        """Return every trajectory as its node in each layer 0..L, and log P_F, log P_B [R, L] of its steps between layers."""
        paths, layer = enumerate_paths(self.target), self.layer
        last, found = self.n_layers, []
        steps = zip(paths, self.listed.step_log_pf, self.listed.step_log_pb, strict=True)
        for (states, _), step_log_pf, step_log_pb in steps:
            keys = [tuple(state.flatten().tolist()) for state in states]
            nodes: list[Key] = [("state", keys[0])]
            zero = torch.zeros_like(step_log_pf[0])
            log_pf, log_pb = [zero] * last, [zero] * last
            for t, (before, after) in enumerate(pairwise(keys)):
                nodes += [("dummy", before, after)] * (layer[after] - layer[before] - 1) + [("state", after)]
                log_pf[layer[before]] = step_log_pf[t]
                log_pb[layer[after] - 1] = step_log_pb[t]
            log_pf[layer[keys[-1]]] = step_log_pf[-1]
            nodes += [("ended", keys[-1])] * (last - layer[keys[-1]])
            forward, backward = torch.stack(log_pf, 1), torch.stack(log_pb, 1)
            own = (forward, backward.detach()) if role is Role.FORWARD else (forward.detach(), backward)
            found.append((nodes, *own))
        return found

    def data_processing(self) -> list[Check]:
        """Check theorem 6, D_f(R/Zhat, P_T) <= D_f(P_B, P_F), for all of DIVERGENCES; the error is the excess at the left."""
        listed = self.listed
        with torch.no_grad():
            ends = listed.per_object(listed.log_target.exp()), listed.per_object(listed.log_pf.exp())
            paths = listed.log_target.exp(), listed.log_pf.exp()
            pairs = {name: (divergence(*ends), divergence(*paths)) for name, divergence in DIVERGENCES.items()}
        return [
            Check(6, f"{name} <= the same of trajectories", METHOD, left, right, excess(left, right))
            for name, (left, right) in pairs.items()
        ]

    def exchanged(self) -> list[Check]:
        """Return a control that must fail: theorem 6 with its two sides exchanged, where it is not an equation.

        Where P_F draws the ways to every object as P_B does (there may be one way only) both sides are the same: no control.
        """
        listed, first = self.listed, self.data_processing()[0]
        ends, paths = first.left, first.right
        with torch.no_grad():
            log_forward_way = listed.log_pf - listed.per_object(listed.log_pf.exp()).log()[:, listed.terminal]
            between_ways = (listed.log_target.exp() * (listed.log_pb - log_forward_way)).sum(1)
        if not bool((between_ways > 2 * SMALLEST_FAILURE * ends).all()):
            return []
        claim = "sides of theorem 6 exchanged: KL(P_B, P_F) <= KL(R/Z, P_T)"
        return [Check(0, claim, METHOD, paths, ends, excess(paths, ends), must_fail=True)]

    def _only(self, role: Role) -> Enumeration:
        """Return the enumeration, differentiable through the log-probabilities of `role` alone."""
        listed = self.listed
        if role is Role.FORWARD:
            return replace(listed, log_pb=listed.log_pb.detach())
        return replace(listed, log_pf=listed.log_pf.detach())

    def _residual(self, own: Enumeration, shift: float) -> Tensor:
        return own.log_ratio + (self.sampler.log_Z.detach() + shift)[:, None]

    def _gradient(self, value: Tensor) -> Tensor:
        """Return the gradient of value [R] by all parameters: [R, P]."""
        if not value.requires_grad:
            return torch.zeros(len(value), 1, dtype=value.dtype)
        found = torch.autograd.grad(value.sum(), self.parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([g.reshape(len(value), -1) for g in found], 1)


# Between distributions p and q given as probabilities [R, n]: the target's first.
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "KL(R/Z, P_T)": lambda p, q: (p * (p / q).log()).sum(1),
    "KL(P_T, R/Z)": lambda p, q: (q * (q / p).log()).sum(1),
    "chi2(P_T, R/Z)": lambda p, q: (q.square() / p).sum(1) - 1,
    "H2(P_T, R/Z)": lambda p, q: 1 - (p * q).sqrt().sum(1),
    "JS(R/Z, P_T)": lambda p, q: ((p * (2 * p / (p + q)).log()).sum(1) + (q * (2 * q / (p + q)).log()).sum(1)) / 2,
    "TV(R/Z, P_T)": lambda p, q: (p - q).abs().sum(1) / 2,
}
