"""The modes that training samples have met so far: what exploration has found, whatever the policy remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.types import Trajectories


class ModesVisited:
    """An observer that counts the modes met so far; it counts nothing where the target does not know its modes."""

    def __init__(self, target: DiscreteTarget, n_replicas: int, device: torch.device) -> None:
        self.target = target
        n_modes = target.n_modes
        self.met = None if n_modes is None else torch.zeros(n_replicas, n_modes + 1, dtype=torch.bool, device=device)

    def observe(self, trajectories: Trajectories) -> None:
        """Mark the modes of the terminal states; the last column takes those in none."""
        if self.met is not None:
            mode = self.target.mode_index(trajectories.terminal_states())
            self.met.scatter_(1, mode % self.met.shape[1], True)

    def statistics(self) -> dict[str, Tensor]:
        """Return modes_visited, the number of modes met so far: [R]; nothing where the modes are not known."""
        return {} if self.met is None else {"modes_visited": self.met[:, :-1].sum(1).double()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return which modes were visited: `met` [R, n_modes + 1] bool; empty where the target does not know its modes."""
        return {} if self.met is None else {"met": self.met}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        if self.met is not None:
            self.met.copy_(state["met"])
