"""The expected sub-trajectory balance loss (Madan et al. 2022) without listing sub-trajectories.

At position j of a trajectory let S_k = sum over i < j of lamda^(j - i) (log F(s_i) + gain from i to j)^k. A step of gain g maps

    S_0 -> lamda (S_0 + 1)      S_1 -> lamda (S_1 + F + (S_0 + 1) g)      S_2 -> lamda (S_2 + F^2 + 2 g (S_1 + F) + (S_0 + 1) g^2)

with F = log F(s_j), and the pairs that end in j contribute S_2 - 2 F S_1 + F^2 S_0. All of it is divided by the sum of the
weights, a function of the trajectory's length: given a state and its position, what comes after decides the length and what came
before decides S, independently. So E[visits S_1], E[visits S_2] are two forward passes, and E[1 / sum of weights] a backward one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.evaluation.exact.dynamic_programming import at_source, backward_pass, forward_pass
from gfn_vi.evaluation.exact.unrolling import unroll
from gfn_vi.evaluation.exact.visits import Visits


def subtrajectory_square(
    measure: Visits, gain: Tensor, end: Tensor, log_flow: Tensor, lamda: float, stop_is_step: bool = True
) -> Tensor:
    """Return the expected weighted mean of squared sub-trajectory residuals: [R].

    measure: distribution over trajectories; gain [E, R]: log P_F - log P_B; end [S, R]: log P_F(stop) - log R where legal;
    log_flow [S, R]: log F; stop_is_step: whether stopping is the last step, or a trajectory ends in a state whose flow is R.
    """
    unrolled = unroll(measure.graph)
    graph, state, edge = unrolled.graph, unrolled.state, unrolled.edge
    position = unrolled.position
    kernel, stop_kernel = measure.edge_kernel[edge], measure.stop_kernel[state]
    visits = forward_pass(graph, kernel, at_source(graph, gain))
    weights = _Weights(lamda, int(position.max()) + 1, gain.device)
    total = weights.total[(position + 1) if stop_is_step else position.clamp(min=1)][:, None]
    stopping = stop_kernel / weights.scale if stop_is_step else stop_kernel
    inverse = backward_pass(graph, kernel / weights.scale, stopping / total)  # E[1 / sum of weights]
    gain, end, log_flow = gain[edge], end[state], log_flow[state]
    one, pairs = weights.one[position][:, None], weights.ending[position][:, None]  # lamda^0 and S_0, scaled
    rho = lamda / weights.scale

    def step(g: Tensor, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return additions to E[visits S_1] and E[visits S_2] by a step of gain g from `rows`, before rho and the kernel."""
        v, f, u, n = visits[rows], log_flow[rows], one[rows], one[rows] + pairs[rows]
        return v * (u * f + n * g), v * (u * f * f + 2 * u * g * f + n * g * g)

    source, target, everywhere = graph.source, graph.target, slice(None)
    zero = torch.zeros_like(visits)
    first_added, second_added = step(gain, source)
    first = forward_pass(graph, rho * kernel, zero.index_add(0, target, rho * kernel * first_added))
    second_added = second_added + 2 * gain * first[source]
    second = forward_pass(graph, rho * kernel, zero.index_add(0, target, rho * kernel * second_added))
    inner = inverse * (second - 2 * log_flow * first + log_flow * log_flow * visits * pairs)
    if not stop_is_step:
        return inner.sum(0)
    # the pairs that end after the stop step, where F = R: end = log P_F(stop) - log R holds both
    last = rho * stop_kernel * (second + 2 * end * first + step(end, everywhere)[1])
    return inner.sum(0) + (last / total).sum(0)


class _Weights:
    """Powers of lamda up to n steps, over c^n with c = max(lamda, 1), so that none overflows: all tensors are indexed by n.

    one: 1; ending: sum of lamda^d for d = 1..n; total: sum of what ends at 1..n, the sum of the weights of n steps.
    """

    def __init__(self, lamda: float, n_steps: int, device: torch.device) -> None:
        self.scale = max(lamda, 1.0)
        one, ending, total = [1.0], [0.0], [0.0]
        for _ in range(n_steps):
            ending.append(lamda / self.scale * (ending[-1] + one[-1]))
            total.append(total[-1] / self.scale + ending[-1])
            one.append(one[-1] / self.scale)
        self.one, self.ending, self.total = (
            torch.tensor(values, dtype=torch.float64, device=device) for values in (one, ending, total)
        )
