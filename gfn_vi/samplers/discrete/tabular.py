"""One free logit per state and action: no approximation error, for small enumerable targets, tests and theorems."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.samplers.discrete.visited import take_rows


class TabularSampler(DiscreteSampler):
    """A sampler made of tables of logits [R, S, A], [R, S, A'] and log F [R, S, 1]; they start normal with deviation `scale`."""

    rehearses = False

    def __init__(
        self, target: DiscreteTarget, rng: ReplicaGenerators, scale: float, backward: str, flow: bool, log_Z: float
    ) -> None:
        """scale: 0 starts from the uniform policy; backward: "learned" or "uniform"; flow, log_Z: as in DiscreteSampler."""
        super().__init__(target, len(rng), backward, flow, log_Z)
        require(backward != "tied", "sampler.backward", backward, "a table has no trunk to tie to: learned or uniform")
        if self.enumerable is None:
            raise ConfigError("sampler", "tabular", "the target is too large to enumerate: use sampler=mlp")
        n_states = self.enumerable.state_graph().n_states

        def table(width: int) -> nn.Parameter:
            return nn.Parameter(scale * rng.normal(n_states, width))

        self.forward_table = table(target.n_actions)
        self.backward_table = table(target.n_backward_actions) if backward == "learned" else None
        self.flow_table = table(1) if flow else None
        self.to(rng.dtype)

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        """Return logits [R, N, A] and [R, N, A'], or log F [R, N, 1], of states [R, N, *state] for each of the given roles."""
        assert self.enumerable is not None
        index = self.enumerable.state_index(states)
        tables = {Role.FORWARD: self.forward_table, Role.BACKWARD: self.backward_table, Role.FLOW: self.flow_table}
        out = {}
        for role in roles:
            table = tables[role]
            assert table is not None
            out[role] = take_rows(table, index)
        return out

    def parameter_groups(self) -> dict[Role, list[nn.Parameter]]:
        """Return the table of each role, and log Z."""
        groups = super().parameter_groups() | {Role.FORWARD: [self.forward_table]}
        if self.backward_table is not None:
            groups[Role.BACKWARD] = [self.backward_table]
        if self.flow_table is not None:
            groups[Role.FLOW] = [self.flow_table]
        return groups
