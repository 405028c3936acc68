"""The protocol of samplers that can be evaluated exactly: beyond rolling out, they give their policies at any states."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gfn_vi.core.protocols import Sampler


class PolicySampler(Sampler, Protocol):
    """A sampler over a discrete target; has_flow: whether log F is learned."""

    has_flow: bool

    def forward_log_probs(self, states: Tensor) -> Tensor:
        """Return log P_F(. | s): [R, N, *state] -> [R, N, A]; about -1e30 where illegal."""

    def backward_log_probs(self, states: Tensor) -> Tensor:
        """Return log P_B(. | s): [R, N, *state] -> [R, N, A']; about -1e30 where illegal."""

    def log_flows(self, states: Tensor) -> Tensor:
        """Return the learned log F(s): [R, N, *state] -> [R, N]."""
