"""Theorems 1, 2, 3, 5 and 6 (arXiv 2210.00580, Propositions 1 and 2, eqs. 7 to 9) by passes over the state graph.

The two sides of a theorem share no formula: expectations of squares are pulled through the conditional means of the residual
(evaluation/exact/expectations.py), divergences through the adjoint of the visit probabilities, and the second moment of theorem 3
through two passes of its own. All replicas are checked at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, backward_pass, terminating_probability
from gfn_vi.evaluation.exact.expectations import GraphExpectations
from gfn_vi.evaluation.exact.line_graph import LineGraph
from gfn_vi.evaluation.exact.metrics import divergences
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.verification.check import CLAIMS, Check, combined, compare, excess, worst
from gfn_vi.verification.windows import node_flows, windows

METHOD = "recursion"
# Theorems 1 to 3 hold for every log Z: checked at the sampler's and at these distances from it, in nats.
LOG_Z_SHIFTS = (0.0, 5.0, -5.0)


class Theorems:
    """The theorems at a sampler's parameters: its networks are evaluated once on every state, for all replicas."""

    def __init__(self, exact: ExactGradients) -> None:
        self.exact, self.graph = exact, exact.graph

    def proposition_1_forward(self) -> Check:
        """Check theorem 1 (proposition 1, eq. 8): E_{P_F}[d_theta u^2] = 2 d_theta KL(P_F, P_B), for every log Z."""
        return self._square_and_divergence(1, Role.FORWARD)

    def proposition_1_backward(self) -> Check:
        """Check theorem 2 (proposition 1, eq. 7): E_{P_B}[d_phi u^2] = 2 d_phi KL(P_B, P_F), for every log Z."""
        return self._square_and_divergence(2, Role.BACKWARD)

    def _square_and_divergence(self, theorem: int, role: Role) -> Check:
        forward = role is Role.FORWARD
        expectations = self.exact.under("P_F" if forward else "P_B")
        kl = expectations.kl_forward_backward() if forward else expectations.kl_backward_forward()
        right = self._gradient(role, 2 * kl)
        lefts = [self._gradient(role, self._shifted(expectations, shift).residual_square()) for shift in LOG_Z_SHIFTS]
        return Check(theorem, CLAIMS[theorem], METHOD, *worst([compare(left, right) for left in lefts]))

    def surrogate_of_equation_9(self) -> Check:
        """Check theorem 3 (eq. 9): E_{P_F}[d_phi u^2] = d_phi (E_{P_F}[log^2 P_B/P_F] + 2 (log Z - log Zhat) KL(P_F, P_B))."""
        expectations, found = self.exact.under("P_F"), []
        for shift in LOG_Z_SHIFTS:
            shifted = self._shifted(expectations, shift)
            left = self._gradient(Role.BACKWARD, shifted.residual_square())
            excess = (shifted.log_Z - self.graph.log_partition).detach()
            surrogate = self._log_ratio_second_moment(expectations) + 2 * excess * expectations.kl_forward_backward()
            found.append(compare(left, self._gradient(Role.BACKWARD, surrogate)))
        return Check(3, CLAIMS[3], METHOD, *worst(found))

    def _log_ratio_second_moment(self, expectations: GraphExpectations) -> Tensor:
        """Return E_{P_F}[(log P_F(tau) - log P_B(tau))^2] by the moments of what is to come: [R]. P_F's kernel is held fixed."""
        graph, kernel, stop = self.graph, expectations.visits.edge_kernel, expectations.visits.stop_kernel
        gain, end = expectations.gain, expectations.end
        first = backward_pass(graph, kernel, (stop * end).index_add(0, graph.source, kernel * gain))
        ahead = kernel * (gain.square() + 2 * gain * first[graph.target])
        second = backward_pass(graph, kernel, (stop * end.square()).index_add(0, graph.source, ahead))
        log_Z = graph.log_partition
        return second[0] + 2 * log_Z * first[0] + log_Z.square()

    def proposition_2(self, junctions: Sequence[int], name: str) -> Check:
        """Check theorem 5 (proposition 2), SubTB is nested VI between layers `junctions`: theta under p-hat, phi under p-check.

        Of many windows a sum with unequal weights is compared: one pull through the networks for all of them.
        """
        found, parts = [], [list(windows(part, junctions, node_flows(part))) for part in _with_own_flows(self.exact.policies)]
        for role in (Role.FORWARD, Role.BACKWARD):
            square = torch.cat([_weighted(window.square(role) for window in part) for part in parts])
            kl = torch.cat([_weighted(window.divergence(role) for window in part) for part in parts])
            found.append(compare(self._gradient(role, square), self._gradient(role, 2 * kl)))
        return Check(5, f"SubTB = nested VI, {name}", METHOD, *combined(found))

    def data_processing(self) -> list[Check]:
        """Check theorem 6, D_f(R/Zhat, P_T) <= D_f(P_B, P_F), for both KLs, chi-square and squared Hellinger.

        The error is the excess of the left side. It is one-sided: verification/quantities.py says whether the sides are right.
        """
        expectations = self.exact.under("P_F")
        with torch.no_grad():
            terminating = terminating_probability(self.exact.policies)
            ends = divergences(self.graph.log_target, terminating)
            target = self.graph.log_target.exp()[:, None]
            log_Z = self.graph.log_partition
            share = terminating.square() / target.where(target > 0, 1.0)
            # where P_T underflows its logarithm is cut: a smaller left side, so that no true inequality is called false
            log_p_t = terminating.clamp(min=torch.finfo(terminating.dtype).tiny).log()
            kl = (target * (self.graph.log_target[:, None] - log_p_t)).where(target > 0, 0.0).sum(0)
            sides = {
                "KL(R/Z, P_T) <= KL(P_B, P_F)": (kl, expectations.kl_backward_forward()),
                "KL(P_T, R/Z) <= KL(P_F, P_B)": (ends["kl_reverse"], expectations.kl_forward_backward()),
                "chi2(P_T, R/Z) <= chi2(P_F, P_B)": (share.sum(0) - 1, (expectations.log_power(2.0) + log_Z).exp() - 1),
                "H2(P_T, R/Z) <= H2(P_F, P_B)": (
                    1 - (terminating * target).sqrt().sum(0),
                    1 - (expectations.log_power(0.5) - log_Z / 2).exp(),
                ),
            }
        return [Check(6, claim, METHOD, left, right, excess(left, right)) for claim, (left, right) in sides.items()]

    def controls(self) -> Iterator[Check]:
        """Yield theorems 1 to 3 with one mistake each; they must fail, those of P_B only where it has parameters."""
        on_policy, from_target = self.exact.under("P_F"), self.exact.under("P_B")
        log_Z_excess = (on_policy.log_Z - self.graph.log_partition).detach()
        moved = self._shifted(on_policy, LOG_Z_SHIFTS[1] - float(log_Z_excess.max()))
        reverse, forward = on_policy.kl_forward_backward(), on_policy.kl_backward_forward()
        rows = [
            ("E_PF d_theta u^2 = d_theta KL(P_F, P_B)", Role.FORWARD, on_policy.residual_square(), reverse),
            ("E_PB d_theta u^2 = 2 d_theta KL(P_F, P_B)", Role.FORWARD, from_target.residual_square(), 2 * reverse),
            ("E_PF d_phi u^2 = 2 d_phi KL(P_B, P_F)", Role.BACKWARD, on_policy.residual_square(), 2 * forward),
            (
                "E_PF d_phi u^2 = d_phi of eq. 9's surrogate without log Z",
                *(Role.BACKWARD, moved.residual_square(), self._log_ratio_second_moment(on_policy)),
            ),
        ]
        for claim, role, left, right in rows:
            check = Check(0, claim, METHOD, *compare(self._gradient(role, left), self._gradient(role, right)), must_fail=True)
            if bool(((check.left != 0) | (check.right != 0)).any()):
                yield check

    def _gradient(self, role: Role, value: Tensor) -> Tensor:
        """Return the gradient of value [R] through the log-probabilities of `role` alone: [R, P] over all parameters."""
        return torch.cat(list(self.exact({role: value}).values()), 1)

    def _shifted(self, expectations: GraphExpectations, shift: float) -> GraphExpectations:
        return GraphExpectations(expectations.policies, expectations.log_Z.detach() + shift, expectations.visits)


def _weighted(terms: Iterable[Tensor]) -> Tensor:
    """Return a sum with weights of order one, no two alike: an error in one window is not canceled by another's."""
    return torch.stack([(1.5 + math.sin(k)) * term for k, term in enumerate(terms)]).sum(0)


def _with_own_flows(policies: EdgePolicies) -> list[EdgePolicies]:
    """Return the policies of replicas that share the flows of theorem 5: all together, on a line each by itself."""
    if not isinstance(policies.graph, LineGraph):
        return [policies]
    columns = zip(policies.log_pf.split(1, 1), policies.log_pb.split(1, 1), policies.log_stop.split(1, 1), strict=True)
    return [EdgePolicies(policies.graph, *own) for own in columns]
