"""Multilayer perceptrons on the target's features.

arXiv 2210.00580 (section 4.1) has two separate ReLU networks with layers of 256 and 256 on K-hot input on hypergrids.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.networks import Mlp
from gfn_vi.samplers.discrete.separate_networks import SeparateNetworks


class MlpSampler(SeparateNetworks):
    """A sampler of separate networks for P_F, P_B and log F; a tied P_B is a second head on the trunk of P_F."""

    def __init__(
        self,
        target: DiscreteTarget,
        rng: ReplicaGenerators,
        hidden: Sequence[int],
        backward: str,
        flow: bool,
        log_Z: float,
    ) -> None:
        """hidden: widths of the ReLU layers; backward, flow, log_Z: as in DiscreteSampler; rng draws the weights."""
        super().__init__(target, len(rng), backward, flow, log_Z)
        require(all(width > 0 for width in hidden), "sampler.hidden", list(hidden), "expected positive widths")
        tied = target.n_backward_actions if backward == "tied" else 0
        self.forward_net = Mlp(rng, target.n_features, hidden, target.n_actions + tied)
        self.backward_net = Mlp(rng, target.n_features, hidden, target.n_backward_actions) if backward == "learned" else None
        self.flow_net = Mlp(rng, target.n_features, hidden, 1) if flow else None
        self.to(rng.dtype)

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        """Return logits [R, N, A] and [R, N, A'], or log F [R, N, 1], of states [R, N, *state] for each of the given roles."""
        return self.heads_of_some(states, roles, [states.shape[1]] * self.n_replicas)

    def heads_of_some(self, states: Tensor, roles: Sequence[Role], counts: list[int]) -> dict[Role, Tensor]:
        """Return the same where only the first counts[r] states of replica r are asked for."""
        features = self.target.features(states)
        out = {}
        if Role.FORWARD in roles or (Role.BACKWARD in roles and self.backward_kind == "tied"):
            both = self.forward_net(features, counts)
            out[Role.FORWARD] = both[..., : self.target.n_actions]
            if self.backward_kind == "tied":
                out[Role.BACKWARD] = both[..., self.target.n_actions :]
        if Role.BACKWARD in roles and self.backward_net is not None:
            out[Role.BACKWARD] = self.backward_net(features, counts)
        if Role.FLOW in roles and self.flow_net is not None:
            out[Role.FLOW] = self.flow_net(features, counts)
        return {role: out[role] for role in roles}
