"""Random trees of blocks on a small block set made by hand, as a target of molecules without chemistry."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import torch
from torch import Tensor

from gfn_vi.core.protocols import MoleculeTarget

RING = 0  # six slots that turn and mirror as the corners of a hexagon
# Kind -> its symmetries: ring, fork with two equal prongs, end, link without symmetry, two slots of one atom and a third.
SYMMETRIES = [
    [tuple((turn + sign * i) % 6 for i in range(6)) for turn in range(6) for sign in (1, -1)],
    [(0, 1, 2), (0, 2, 1)],
    [(0,)],
    [(0, 1)],
    [(0, 1, 2), (1, 0, 2)],
]
N_SLOTS = 6


def _tables() -> SimpleNamespace:
    most = max(map(len, SYMMETRIES))
    slot_class = torch.full((len(SYMMETRIES), N_SLOTS), -1)
    permutations = torch.arange(N_SLOTS).repeat(len(SYMMETRIES), most, 1)
    mask = torch.zeros(len(SYMMETRIES), most, dtype=torch.bool)
    n_classes = 0
    for kind, symmetries in enumerate(SYMMETRIES):
        for g, move in enumerate(symmetries):
            permutations[kind, g, : len(move)] = torch.tensor(move)
            mask[kind, g] = True
        for slot in range(len(symmetries[0])):
            lowest = min(move[slot] for move in symmetries)
            slot_class[kind, slot] = slot_class[kind, lowest] if lowest < slot else n_classes
            n_classes += lowest == slot
    return SimpleNamespace(slot_class=slot_class, permutations=permutations, permutation_mask=mask, n_classes=n_classes)


class BlockTrees(MoleculeTarget):
    """States [N, 1 + S]: kind and links of each row, as they are. Nothing but networks can use it: it has no actions."""

    def __init__(self, max_blocks: int) -> None:
        self.blocks = _tables()
        self.max_blocks, self.min_blocks, self.n_slots, self.n_kinds = max_blocks, 1, N_SLOTS, len(SYMMETRIES)
        self.n_block_choices = self.n_slot_classes = self.blocks.n_classes
        self.n_actions, self.n_backward_actions = (max_blocks - 1) * N_SLOTS * self.n_block_choices + 1, max_blocks
        self.horizon, self.state_shape, self.n_features = max_blocks + 1, (max_blocks, 1 + N_SLOTS), 0
        self.every_state_stops = False

    def kinds(self, states: Tensor) -> Tensor:
        return states[..., 0]

    def links(self, states: Tensor) -> Tensor:
        return states[..., 1:]

    def state(self, kinds: list[int], bonds: list[tuple[int, int, int, int]]) -> Tensor:
        """The tree with blocks of these kinds and bonds (row, slot, row, slot): [N, 1 + S]."""
        state = torch.full(self.state_shape, -1)
        state[: len(kinds), 0] = torch.tensor(kinds)
        for i, s, j, t in bonds:
            state[i, 1 + s], state[j, 1 + t] = j * N_SLOTS + t, i * N_SLOTS + s
        return state

    def random(self, n: int, seed: int, largest: int | None = None) -> Tensor:
        """n trees of all sizes up to `largest` in turn, the empty one included: [n, N, 1 + S]."""
        generator = torch.Generator().manual_seed(seed)

        def pick(options: list) -> object:
            return options[int(torch.randint(len(options), (), generator=generator))]

        states = []
        for number in range(n):
            size = number % ((self.max_blocks if largest is None else largest) + 1)
            kinds, bonds, free = [], [], []
            for row in range(size):
                # not an end while others have to follow
                kind = pick([k for k in range(self.n_kinds) if row in (0, size - 1) or len(SYMMETRIES[k][0]) > 1])
                kind = 1 if row == 0 and kind == 2 else kind
                slots = list(range(len(SYMMETRIES[kind][0])))
                kinds.append(kind)
                if row:
                    stem, slot = pick(free), pick(slots)
                    bonds.append((*stem, row, slot))
                    free.remove(stem)
                    slots.remove(slot)
                free += list(product([row], slots))
            states.append(self.state(kinds, bonds))
        return torch.stack(states)
