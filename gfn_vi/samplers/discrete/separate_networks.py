"""The base class of samplers with separate networks for P_F, P_B and log F: which parameters belong to which role."""

from __future__ import annotations

from torch import nn

from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.sampler import DiscreteSampler


class SeparateNetworks(DiscreteSampler):
    """A sampler whose subclass sets forward_net, backward_net and flow_net; the last two are None where there is none."""

    can_share = True

    forward_net: nn.Module
    backward_net: nn.Module | None
    flow_net: nn.Module | None

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """Return every parameter exactly once, by role; a tied P_B has its parameters in the forward group."""
        groups = super().parameter_groups() | {Role.FORWARD: list(self.forward_net.parameters())}
        if self.backward_net is not None:
            groups[Role.BACKWARD] = list(self.backward_net.parameters())
        if self.flow_net is not None:
            groups[Role.FLOW] = list(self.flow_net.parameters())
        return groups
