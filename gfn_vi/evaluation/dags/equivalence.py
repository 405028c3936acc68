"""The Markov equivalence class of a graph, as its completed partially directed acyclic graph (CPDAG).

Two graphs are equivalent if they have the same skeleton and the same v-structures a -> c <- b, a and b not adjacent (Verma &
Pearl 1990). The CPDAG has an arrow where all graphs of the class have it, and a line where they differ. Starting from the
v-structures, Meek's rules 1 to 3 find the other arrows (Meek 1995, UAI; rule 4 is for knowledge from outside).
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_NUMBERS = 2**24  # of one tensor [N, d, d, d]


def cpdag(adjacency: Tensor) -> Tensor:
    """Return the CPDAG of each graph: [N, d, d] bool -> [N, d, d] bool, true both ways where an edge is a line."""
    size = max(1, MOST_NUMBERS // max(1, adjacency.shape[-1] ** 3))
    parts = [_completed(part) for part in adjacency.split(size)]
    return torch.cat(parts) if parts else adjacency


def _completed(edges: Tensor) -> Tensor:
    near = edges | edges.transpose(-1, -2)
    apart = ~near & ~torch.eye(edges.shape[-1], dtype=torch.bool, device=edges.device)
    # a -> c has company at c: some b -> c that a is not adjacent to
    arrows = edges & _product(apart, edges)
    while True:
        lines = near & ~arrows & ~arrows.transpose(-1, -2)
        found = _product(arrows.transpose(-1, -2), apart)  # 1: a -> b - c, a and c not adjacent: b -> c, or a new v-structure
        found |= _product(arrows, arrows)  # 2: a -> b -> c and a - c: a -> c, or a cycle
        # 3: a - c -> b and a - d -> b, c and d not adjacent, and a - b: a -> b
        between = (lines[:, :, None, :] & arrows.transpose(-1, -2)[:, None]).flatten(1, 2).float()  # [N, a b, c]
        found |= ((between @ apart.float()) * between).sum(-1).view(edges.shape) > 0
        found &= lines
        if not bool(found.any()):
            return arrows | lines
        arrows |= found


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return whether some b has left[a, b] and right[b, c]: [N, d, d] bool."""
    return left.float() @ right.float() > 0
