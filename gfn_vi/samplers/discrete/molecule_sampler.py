"""The base class of samplers of molecules, built block by block: networks on trees of blocks, one for each role."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.protocols import DiscreteTarget, MoleculeTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.molecule_layers import BlockHead, MoleculeNetwork, StemHead, WholeHead
from gfn_vi.samplers.discrete.molecule_trees import Vocabulary, list_trees, vocabulary
from gfn_vi.samplers.discrete.separate_networks import SeparateNetworks


class MoleculeSampler(SeparateNetworks):
    """A sampler of separate networks for P_F, P_B and log F; a tied P_B is a second head on the encoder of P_F."""

    name: str
    target: MoleculeTarget
    is_in_training: bool = False

    def __init__(
        self,
        target: DiscreteTarget,
        rng: ReplicaGenerators,
        width: int,
        backward: str,
        flow: bool,
        log_Z: float,
        illegal_stop: bool,
    ) -> None:
        """width: of the state of a block; backward, flow, log_Z: as in DiscreteSampler.

        illegal_stop: whether training normalizes P_F over the stop where there are too few blocks for it, as the published code
        does. Raises ConfigError for a target without blocks.
        """
        super().__init__(target, len(rng), backward, flow, log_Z)
        if not isinstance(target, MoleculeTarget):
            raise ConfigError("sampler", self.name, "reads trees of blocks: use target=molecules, or sampler=mlp")
        require(width >= 1, "sampler.width", width, "expected a whole number >= 1")
        self.words, self.illegal_stop = vocabulary(target.blocks), illegal_stop

    def build(self, rng: ReplicaGenerators, width: int, encoder: Callable[[Vocabulary], nn.Module]) -> None:
        """Make the networks; encoder: makes one that maps lists of blocks to the state of each block, [R, M, width]."""
        words = self.words
        stems = StemHead(rng, words, width, self.target.n_block_choices)
        tied = BlockHead(rng, width) if self.backward_kind == "tied" else None
        learned = self.backward_kind == "learned"
        self.forward_net = MoleculeNetwork(encoder(words), stems, tied, WholeHead(rng, width))
        self.backward_net = MoleculeNetwork(encoder(words), blocks=BlockHead(rng, width)) if learned else None
        self.flow_net = MoleculeNetwork(encoder(words), whole=WholeHead(rng, width)) if self.has_flow else None
        self.to(rng.dtype)

    def in_training(self, seen: int) -> Self:
        """Return the sampler that draws and evaluates the batches of training: itself, but with illegal_stop.

        Then `evaluate` counts a stop as possible in every state, while rollouts and densities do not: parameters and counters are
        shared, and what is measured outside of training is normalized over legal actions.
        """
        if not self.illegal_stop:
            return self
        twin = copy.copy(self)
        twin.is_in_training = True
        return twin

    def _possible_in_evaluation(self, states: Tensor) -> Tensor | None:
        if not self.is_in_training:
            return None
        return nn.functional.pad(self.target.forward_mask(states)[..., :-1], (0, 1), value=True)

    def heads(self, states: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
        """Return logits [R, n, A] and [R, n, N], or log F [R, n, 1], of states [R, n, *state] for each of the given roles."""
        compact = states.device.type == "cpu"
        trees = list_trees(self.target.kinds(states), self.target.links(states), self.words, self.dtype, compact)
        out = {}
        if Role.FORWARD in roles or (Role.BACKWARD in roles and self.backward_kind == "tied"):
            stems, *tied, stop = self.forward_net(trees)
            out[Role.FORWARD] = torch.cat([stems, stop], -1)
            if tied:
                out[Role.BACKWARD] = tied[0]
        if Role.BACKWARD in roles and self.backward_net is not None:
            out[Role.BACKWARD] = self.backward_net(trees)[0]
        if Role.FLOW in roles and self.flow_net is not None:
            out[Role.FLOW] = self.flow_net(trees)[0]
        return {role: out[role] for role in roles}
