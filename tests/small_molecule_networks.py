"""Small networks on trees of blocks in float64, away from where they start."""

from __future__ import annotations

import torch
from block_trees import N_SLOTS, SYMMETRIES, BlockTrees
from building import generators
from torch import Tensor

from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.molecule_attention import MoleculeAttentionSampler
from gfn_vi.samplers.discrete.molecule_mpnn import MoleculeMpnnSampler
from gfn_vi.samplers.discrete.molecule_sampler import MoleculeSampler

ROLES = [Role.FORWARD, Role.BACKWARD, Role.FLOW]
EXACT = {"rtol": 1e-11, "atol": 1e-12}
NAMES = ("molecule_mpnn", "molecule_attention")
TREES = BlockTrees(max_blocks=6)
WIDTH, LAYERS, HEADS = 8, 2, 2


def make(
    name: str, backward: str = "learned", replicas: int = 1, seed: int = 0, target: BlockTrees = TREES, flow: bool = True
) -> MoleculeSampler:
    """Small networks in float64, away from where they start."""
    rng = generators(seed, replicas, "initialization")
    sampler: MoleculeSampler
    if name == "molecule_mpnn":
        sampler = MoleculeMpnnSampler(target, rng, WIDTH, 3, backward, flow, 0.0)
    else:
        sampler = MoleculeAttentionSampler(target, rng, WIDTH, LAYERS, HEADS, backward, flow, 0.0)
    noise = generators(seed, replicas, "noise")
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.add_(0.3 * noise.normal(*parameter.shape[1:]))
    return sampler


def is_free(state: Tensor) -> Tensor:
    """Which slots of one state a block can be bonded to, of a molecule that can grow: [N, S]."""
    free = torch.zeros(state.shape[0], N_SLOTS, dtype=torch.bool)
    if int(state[-1, 0]) < 0:
        for row, kind in enumerate(state[:, 0].tolist()):
            if kind >= 0:
                free[row, : len(SYMMETRIES[kind][0])] = True
    return free & (state[:, 1:] < 0)


def by_stem(logits: Tensor) -> Tensor:
    """Forward logits without the stop: [..., A] -> [..., N - 1, S, B]."""
    return logits[..., :-1].unflatten(-1, (-1, N_SLOTS, TREES.n_block_choices))
