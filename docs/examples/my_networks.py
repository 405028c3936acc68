"""A residual network with three heads: one trunk for P_F, P_B and log F."""

from collections.abc import Sequence

from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.networks import FeatureLinear
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.samplers.networks import ReplicaLinear


class ResidualSampler(DiscreteSampler):
    """x <- x + W relu(x) for each of n_blocks layers. P_B is a head of the same trunk (tied) or uniform."""

    def __init__(
        self, target: DiscreteTarget, rng: ReplicaGenerators, width: int, n_blocks: int, backward: str, flow: bool, log_Z: float
    ) -> None:
        super().__init__(target, len(rng), backward, flow, log_Z)
        require(backward != "learned", "sampler.backward", backward, "there is one trunk for all: expected tied or uniform")
        require(width > 0, "sampler.width", width, "expected a positive number")
        self.widths = [target.n_actions, target.n_backward_actions, 1]
        self.first = FeatureLinear(rng, target.n_features, width)
        self.blocks = nn.ModuleList(ReplicaLinear(rng, width, width) for _ in range(n_blocks))
        self.last = ReplicaLinear(rng, width, sum(self.widths))
        self.to(rng.dtype)

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        x = self.first(self.target.features(states))  # [R, N, width]
        for block in self.blocks:
            x = x + block(x.relu())
        heads = zip((Role.FORWARD, Role.BACKWARD, Role.FLOW), self.last(x.relu()).split(self.widths, -1), strict=True)
        return {role: head for role, head in heads if role in roles}

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        trunk = [*self.first.parameters(), *self.blocks.parameters(), *self.last.parameters()]
        return super().parameter_groups() | {Role.FORWARD: trunk}
