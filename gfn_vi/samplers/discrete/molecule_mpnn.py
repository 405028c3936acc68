"""Message passing over the bonds between blocks, with a gated update: P_F, P_B and log F of molecules.

arXiv 2210.00580 (section 4.2) takes the network of arXiv 2106.04399 (Bengio et al. 2021): ten rounds with shared weights, 256
wide. There a message is a product of what is sent with a matrix of the two atoms that are bonded, and stems are told apart by the
number of their atom. Here atoms that a symmetry of the molecule exchanges are one: a message knows the classes of both slots, and
how they lie to the other bonds of the block (molecule_layers.Hearing). The update is the gated one, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.samplers.discrete.molecule_layers import Hearing, take
from gfn_vi.samplers.discrete.molecule_sampler import MoleculeSampler
from gfn_vi.samplers.discrete.molecule_trees import Trees, Vocabulary
from gfn_vi.samplers.networks import ReplicaLinear


class MessagePassing(nn.Module):
    """An encoder of trees: a block starts from its kind and is updated by the sum of what its slots hear, `steps` times."""

    def __init__(self, rng: ReplicaGenerators, words: Vocabulary, width: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.kind = nn.Parameter(rng.normal(words.n_kinds, width))
        self.hearing = Hearing(rng, words, width)
        self.update = ReplicaLinear(rng, width, 3 * width)
        self.recall = ReplicaLinear(rng, width, 3 * width)

    def forward(self, trees: Trees) -> Tensor:
        """Return the state of every block: [R, M, width]."""
        n_replicas, _, width = self.kind.shape
        blocks = take(self.kind, trees.kind).view(n_replicas, -1, width)
        words = self.hearing.words(trees)
        for _ in range(self.steps):
            heard = torch.zeros_like(blocks).view(-1, width).index_add_(0, trees.block, self.hearing(blocks, trees, words))
            new, old = self.update(heard.view(blocks.shape)), self.recall(blocks)
            reset, keep = (new[..., : 2 * width] + old[..., : 2 * width]).sigmoid_().chunk(2, -1)
            proposal = torch.addcmul(new[..., 2 * width :], reset, old[..., 2 * width :]).tanh_()
            blocks = torch.lerp(proposal, blocks, keep)
        return blocks


class MoleculeMpnnSampler(MoleculeSampler):
    """A sampler whose networks pass messages between bonded blocks."""

    name = "molecule_mpnn"

    def __init__(
        self,
        target: DiscreteTarget,
        rng: ReplicaGenerators,
        width: int,
        steps: int,
        backward: str,
        flow: bool,
        log_Z: float,
        illegal_stop: bool = False,
    ) -> None:
        """width: of a block's state; steps: rounds of messages; rng draws the weights.

        backward, flow, log_Z, illegal_stop: as in MoleculeSampler. Raises ConfigError for a target without blocks.
        """
        super().__init__(target, rng, width, backward, flow, log_Z, illegal_stop)
        require(steps >= 1, "sampler.steps", steps, "expected a whole number >= 1")
        self.build(rng, width, lambda words: MessagePassing(rng, words, width, steps))
