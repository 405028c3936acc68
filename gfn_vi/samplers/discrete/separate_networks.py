"""What samplers of separate networks for P_F, P_B and log F share: whose parameters are whose."""

from __future__ import annotations

from torch import nn

from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.sampler import DiscreteSampler


class SeparateNetworks(DiscreteSampler):
    """forward_net, and backward_net and flow_net or None where P_B and log F have none of their own; set by the subclass."""

    forward_net: nn.Module
    backward_net: nn.Module | None
    flow_net: nn.Module | None

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """A tied P_B shares the forward group."""
        groups = super().parameter_groups() | {Role.FORWARD: list(self.forward_net.parameters())}
        if self.backward_net is not None:
            groups[Role.BACKWARD] = list(self.backward_net.parameters())
        if self.flow_net is not None:
            groups[Role.FLOW] = list(self.flow_net.parameters())
        return groups
