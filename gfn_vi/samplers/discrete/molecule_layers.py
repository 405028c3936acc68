"""What networks on trees of blocks are made of: what slots hear, and logits of free slots, of blocks, of the whole molecule."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.samplers.discrete.molecule_trees import Trees, Vocabulary
from gfn_vi.samplers.networks import ReplicaLinear


def take(table: Tensor, index: Tensor) -> Tensor:
    """Return rows of all replicas: table [R, C, width] or [R C, width], index [M] through all replicas -> [M, width]."""
    return table.reshape(-1, table.shape[-1]).index_select(0, index)


class Hearing(nn.Module):
    """The messages to every slot: of its block and of what is beyond it, and both of the other bonded slots of its block.

    Two bonds of one block are told apart by how the pair of their slots lies in it, which a class of slots alone would not say:
    two bonds at one ring of benzene are ortho, meta or para. Slots that a symmetry of the molecule exchanges hear the same.
    """

    def __init__(self, rng: ReplicaGenerators, words: Vocabulary, width: int) -> None:
        super().__init__()
        self.own = nn.Parameter(rng.normal(words.n_classes, width))
        self.beyond = nn.Parameter(rng.normal(words.n_classes, width))
        self.pair = nn.Parameter(rng.normal(words.n_pairs, width))
        self.send = ReplicaLinear(rng, width, 2 * width)

    def words(self, trees: Trees) -> tuple[Tensor, Tensor]:
        """Return what does not depend on the state of blocks: of each slot and of each pair, [..., width]."""
        classes = take(self.own, trees.slot_class) + take(self.beyond, trees.other_class)
        return classes, take(self.pair, trees.pair)

    def forward(self, blocks: Tensor, trees: Trees, words: tuple[Tensor, Tensor]) -> Tensor:
        """Return what each slot hears: blocks [R, M, width] -> [slots, width]."""
        to_own, to_other = self.send(blocks).chunk(2, -1)
        slots = torch.addcmul(words[0] + take(to_own, trees.block), take(to_other, trees.other), trees.bonded)
        return slots.index_add(0, trees.target, slots.index_select(0, trees.source) * words[1]).relu()


class StemHead(nn.Module):
    """A logit for every free slot and every block that could be attached to it."""

    def __init__(self, rng: ReplicaGenerators, words: Vocabulary, width: int, n_blocks: int) -> None:
        super().__init__()
        self.hearing = Hearing(rng, words, width)
        self.choose = ReplicaLinear(rng, width, n_blocks)

    def forward(self, blocks: Tensor, trees: Trees) -> Tensor:
        """Return the logits, 0 where a slot is not free: blocks [R, M, width] -> [R, n, (N - 1) S B]."""
        n_replicas, n_states, max_blocks, n_slots = trees.shape
        slots = self.hearing(blocks, trees, self.hearing.words(trees))
        logits = self.choose(take(slots, trees.stem).view(n_replicas, -1, blocks.shape[-1]))
        n_cells, n_choices = n_states * max_blocks * n_slots, logits.shape[-1]
        grid = logits.new_zeros(n_replicas * (n_cells + 1), n_choices).index_copy_(0, trees.stem_cell, logits.view(-1, n_choices))
        grid = grid.view(n_replicas, n_cells + 1, n_choices)[:, :n_cells].view(n_replicas, n_states, max_blocks, -1)
        return grid[:, :, : max_blocks - 1].flatten(2)


class BlockHead(nn.Module):
    """A logit for every block: that of removing it."""

    def __init__(self, rng: ReplicaGenerators, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = ReplicaLinear(rng, width, width), ReplicaLinear(rng, width, 1)

    def forward(self, blocks: Tensor, trees: Trees) -> Tensor:
        """Return the logits, anything where there is no block: blocks [R, M, width] -> [R, n, N]."""
        return take(self.narrow(self.widen(blocks).relu()), trees.rows.view(-1)).view(trees.rows.shape)


class WholeHead(nn.Module):
    """A number for the whole molecule: a logit of stopping, or log F."""

    def __init__(self, rng: ReplicaGenerators, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = ReplicaLinear(rng, width, width), ReplicaLinear(rng, width, 1)

    def forward(self, blocks: Tensor, trees: Trees) -> Tensor:
        """Return the number, of the sum over blocks divided by N: blocks [R, M, width] -> [R, n, 1]."""
        n_replicas, n_states, max_blocks, _ = trees.shape
        width = blocks.shape[-1]
        nothing = blocks.new_zeros(n_replicas * (n_states + 1), width)
        whole = nothing.index_add_(0, trees.state, blocks.reshape(-1, width), alpha=1 / max_blocks)
        return self.narrow(self.widen(whole.view(n_replicas, -1, width)[:, :n_states]).relu())


class MoleculeNetwork(nn.Module):
    """An encoder with the heads that a role needs: stems and stop, blocks, log F; None where it needs none."""

    def __init__(
        self, encoder: nn.Module, stems: StemHead | None = None, blocks: BlockHead | None = None, whole: WholeHead | None = None
    ) -> None:
        """encoder: maps Trees to the state of their blocks, [R, M, width]."""
        super().__init__()
        self.encoder, self.stems, self.blocks, self.whole = encoder, stems, blocks, whole

    def forward(self, trees: Trees) -> list[Tensor]:
        """Return [R, n, (N - 1) S B] of stems, [R, n, N] of blocks, [R, n, 1] of the whole, as far as there are such heads."""
        blocks = self.encoder(trees)
        return [head(blocks, trees) for head in (self.stems, self.blocks, self.whole) if head is not None]
