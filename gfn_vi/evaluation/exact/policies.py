"""The protocols of samplers that can be evaluated exactly: beyond rolling out, they give their policies at any states."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from gfn_vi.core.protocols import GaussianTilt, Sampler


class PolicySampler(Sampler, Protocol):
    """A sampler over a discrete target; has_flow: whether log F is learned."""

    has_flow: bool

    def forward_log_probs(self, states: Tensor) -> Tensor:
        """Return log P_F(. | s): [R, N, *state] -> [R, N, A]; about -1e30 where illegal."""

    def backward_log_probs(self, states: Tensor) -> Tensor:
        """Return log P_B(. | s): [R, N, *state] -> [R, N, A']; about -1e30 where illegal."""

    def log_flows(self, states: Tensor) -> Tensor:
        """Return the learned log F(s): [R, N, *state] -> [R, N]."""


@runtime_checkable
class KernelSampler(Sampler, Protocol):
    """A sampler of a density that gives the log-densities of its steps; n_steps: T; has_flow: whether log F is learned."""

    n_steps: int
    has_flow: bool

    def log_kernels(self, nodes: Tensor, tilt: GaussianTilt | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-densities of all steps between nodes [M, d].

        log P_F of the first step to each node [R, M]; of later steps k, log P_F from node i to node j and log P_B from node j
        back to node i [R, T-1, M, M], [k - 1, i, j]. tilt: of P_F.
        """

    def log_flows_at(self, nodes: Tensor) -> Tensor:
        """Return the learned log F of nodes [M, d] after 1 .. T-1 steps: [R, T-1, M]."""

    def smallest_std(self, nodes: Tensor) -> Tensor:
        """Return the smallest standard deviation of any step, forward or backward, at nodes [M, d]: [R]."""

    def repeated(self, times: int) -> Self:
        """Return a copy with R * times replicas, each replica `times` times in a row, with parameters of their own."""

    def double(self) -> Self:
        """Turn all parameters into float64 and return the sampler."""
