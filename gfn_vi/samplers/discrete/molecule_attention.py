"""Attention between the blocks of a molecule: P_F, P_B and log F of molecules, smaller than message passing.

A token is a block: its kind, and what its slots hear of the blocks that are bonded to them (molecule_layers.Hearing). All pairs
of blocks of a molecule attend with a bias by how many bonds lie between them (Ying et al. 2021: arXiv 2106.05234).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.samplers.discrete.molecule_layers import Hearing, take
from gfn_vi.samplers.discrete.molecule_sampler import MoleculeSampler
from gfn_vi.samplers.discrete.molecule_trees import Trees, Vocabulary
from gfn_vi.samplers.networks import ReplicaLinear

NEARNESS = 4  # the block itself, at most 1, 2 or 3 bonds away
ABSENT = -1e9  # bias of a row without a block


@dataclass(frozen=True)
class Relations:
    """How the tokens of a list lie in molecules of `size` rows, and how near they are to each other.

    rows: token of each place of the grid [R, n, size], flat; places: the place of each token, any for nothing, flat.
    near: [R, n, NEARNESS, size size], 1.0 for pairs of rows that are at most 0, 1, 2, 3 bonds apart; absent: the bias
    [R, n, 1, size size] that keeps rows without a block out.
    """

    size: int
    rows: Tensor
    places: Tensor
    near: Tensor
    absent: Tensor


def relations(trees: Trees, n_tokens: int, dtype: torch.dtype) -> Relations:
    """Return the relations of a list with n_tokens rows in each replica."""
    n_replicas, n_states, max_blocks, n_slots = trees.shape
    empty = trees.rows % n_tokens == 0  # row 0 of each replica is nothing
    # rows in use come first: those that no molecule uses are left out of compact lists
    size = int((~empty).sum(-1).max()) if trees.compact else max_blocks
    rows, empty = trees.rows[..., :size].reshape(-1), empty[..., :size]
    places = torch.zeros(n_replicas * n_tokens, dtype=torch.long, device=rows.device)
    places.scatter_(0, rows, torch.arange(len(rows), device=rows.device))
    bonds = torch.zeros(n_replicas, n_states, max_blocks, max_blocks + 1, dtype=dtype, device=rows.device)
    bonds.scatter_(3, trees.links // n_slots + 1, 1.0)  # column 0: no bond
    self = torch.eye(size, dtype=dtype, device=rows.device).expand(n_replicas, n_states, size, size)
    one = bonds[:, :, :size, 1 : size + 1] + self
    two = (one @ one).clamp_(max=1)
    three = (two @ one).clamp_(max=1)
    near = torch.stack([self, one, two, three], 2).flatten(3)
    absent = (empty * ABSENT).to(dtype)[:, :, None, :, None].expand(-1, -1, 1, -1, size).flatten(3)
    return Relations(size, rows, places, near, absent)


def _normed(tokens: Tensor) -> Tensor:
    """Return normalized tokens; no scale and shift, which the layer that follows has anyway."""
    return nn.functional.layer_norm(tokens, tokens.shape[-1:])


class TreeAttention(nn.Module):
    """A layer of attention between the blocks of each molecule, normalized before, and a ReLU layer of twice the width."""

    def __init__(self, rng: ReplicaGenerators, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relate = nn.Parameter(rng.normal(NEARNESS, heads))
        self.project = ReplicaLinear(rng, width, 3 * width)
        self.merge = ReplicaLinear(rng, width, width)
        self.widen = ReplicaLinear(rng, width, 2 * width)
        self.narrow = ReplicaLinear(rng, 2 * width, width)

    def forward(self, tokens: Tensor, relations: Relations) -> Tensor:
        """Return new tokens: [R, M, width] -> the same."""
        n_replicas, n_tokens, width = tokens.shape
        size = relations.size
        split = take(self.project(_normed(tokens)), relations.rows).view(-1, size, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)  # [R n H, size, width / H]
        bias = torch.matmul(self.relate.transpose(1, 2)[:, None], relations.near) + relations.absent  # [R, n, H, size size]
        # rows of keys, columns of queries: a softmax over short rows is slow on a CPU, over columns it is not
        scores = torch.baddbmm(bias.view(-1, size, size), key, query.transpose(1, 2), alpha=1 / math.sqrt(width // self.heads))
        mixed = (
            torch.bmm(scores.softmax(1).transpose(1, 2), value).view(-1, self.heads, size, width // self.heads).transpose(1, 2)
        )
        mixed = take(mixed.reshape(-1, width), relations.places).view(n_replicas, n_tokens, width)
        tokens = tokens + self.merge(mixed)
        return tokens + self.narrow(self.widen(_normed(tokens)).relu_())


class BlockAttention(nn.Module):
    """An encoder of trees: tokens of blocks that know what is bonded to them, then layers of attention."""

    def __init__(self, rng: ReplicaGenerators, words: Vocabulary, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.kind = nn.Parameter(rng.normal(words.n_kinds, width))
        self.hearing = Hearing(rng, words, width)
        self.layers = nn.ModuleList(TreeAttention(rng, width, heads) for _ in range(layers))

    def forward(self, trees: Trees) -> Tensor:
        """Return the token of every block: [R, M, width]."""
        n_replicas, _, width = self.kind.shape
        kinds = take(self.kind, trees.kind)
        heard = self.hearing(kinds.view(n_replicas, -1, width), trees, self.hearing.words(trees))
        tokens = kinds.index_add(0, trees.block, heard).view(n_replicas, -1, width)
        related = relations(trees, tokens.shape[1], tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens, related)
        return _normed(tokens)


class MoleculeAttentionSampler(MoleculeSampler):
    """A sampler whose networks attend between all blocks of a molecule."""

    name = "molecule_attention"

    def __init__(
        self,
        target: DiscreteTarget,
        rng: ReplicaGenerators,
        width: int,
        layers: int,
        heads: int,
        backward: str,
        flow: bool,
        log_Z: float,
        illegal_stop: bool = False,
    ) -> None:
        """width: of a block's token; layers, heads: of the attention; rng draws the weights.

        backward, flow, log_Z, illegal_stop: as in MoleculeSampler. Raises ConfigError for a target without blocks.
        """
        super().__init__(target, rng, width, backward, flow, log_Z, illegal_stop)
        require(layers >= 1, "sampler.layers", layers, "expected a whole number >= 1")
        require(heads >= 1, "sampler.heads", heads, "expected a whole number >= 1")
        require(width % heads == 0, "sampler.width", width, f"expected a multiple of sampler.heads={heads}")
        self.build(rng, width, lambda words: BlockAttention(rng, words, width, layers, heads))
