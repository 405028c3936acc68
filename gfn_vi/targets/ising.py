"""The Ising model on a square lattice, built spin by spin.

    log R(s) = coupling * sum over bonds (i, j) of s_i s_j + field * sum over sites of s_i,     s_i = -1 or 1

Bonds join neighbors in rows and columns; with periodic boundaries also the last site with the first. A state has one cell per
site, row by row: 0 while the spin is not set, 1 for down, 2 for up. `order` says which spin is next: raster (row by row; a tree)
or any (each spin that is not set). Action 0 or 1 sets the next spin down or up; in any order action 2 i + b sets spin i. The last
action stops, and only a full lattice can stop.

log Z is exact by the transfer matrix (Kramers & Wannier 1941): the sum over all rows above, given the last one, is a vector of
2^side positive numbers, and a further row multiplies it by a matrix. That matrix is a product of 2 x 2 matrices, one per column,
so a row costs side * 2^side, and nothing is subtracted. Periodic boundaries carry the first row along, 2^side such vectors.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.state_graph import StateGraph
from gfn_vi.targets.base import BaseTarget

# Wider lattices take the transfer matrix more than a few seconds.
WIDEST = {"free": 16, "periodic": 10}


class Ising(BaseTarget):
    """side x side spins, each set once."""

    every_state_stops = False

    def __init__(self, side: int, coupling: float, field: float, boundary: str, order: str, max_enumerated_states: int) -> None:
        """coupling: J over temperature, negative for an antiferromagnet; field: likewise; boundary: free or periodic.

        order: raster or any; max_enumerated_states: exact metrics are available while there are no more states, unfinished
        lattices included (raster: up to side 4).
        """
        require(boundary in WIDEST, "target.boundary", boundary, "expected free or periodic")
        least = 2 if boundary == "free" else 3
        require(side >= least, "target.side", side, f"expected a whole number >= {least} with boundary={boundary}")
        require(math.isfinite(coupling), "target.coupling", coupling, "expected a finite number")
        require(math.isfinite(field), "target.field", field, "expected a finite number")
        require(order in ("raster", "any"), "target.order", order, "expected raster or any")
        self.side, self.coupling, self.field, self.boundary = side, coupling, field, boundary
        self.max_enumerated_states = max_enumerated_states
        self.any_order = order == "any"
        self.n_sites = n = side * side
        self.n_actions, self.n_backward_actions = (2 * n + 1, n) if self.any_order else (3, 1)
        self.horizon, self.state_shape, self.n_features = n + 1, (n,), 3 * n
        self._offsets = torch.arange(n) * 3
        site = torch.arange(n).view(side, side)
        right, below = (site[:, :-1], site[:, 1:]), (site[:-1], site[1:])
        if boundary == "periodic":
            right, below = (site, site.roll(-1, 1)), (site, site.roll(-1, 0))
        self.bonds = torch.stack([torch.cat([a.flatten(), b.flatten()]) for a, b in zip(right, below, strict=True)])  # [2, E]

    def forward_mask(self, states: Tensor) -> Tensor:
        """Both values of a spin that is next; stopping once all are set."""
        empty = states == 0
        unfinished = empty.any(-1, keepdim=True)
        return torch.cat([(empty if self.any_order else unfinished).repeat_interleave(2, -1), ~unfinished], -1)

    def backward_mask(self, states: Tensor) -> Tensor:
        """Any spin that is set, or, row by row, the last one."""
        is_set = states > 0
        return is_set if self.any_order else is_set[..., :1]

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Set the spin; the stop action sets nothing."""
        site = actions // 2 if self.any_order else (states > 0).sum(-1)
        after = states.scatter(-1, site.clamp(max=self.n_sites - 1)[..., None], (actions % 2 + 1)[..., None])
        return states.where(actions[..., None] == self.n_actions - 1, after)

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Unset the spin."""
        return states.scatter(-1, self._site_to_unset(states, backward_actions)[..., None], 0)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """The site of the spin; row by row the only one, 0."""
        return (actions // 2).clamp(max=self.n_backward_actions - 1)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """The value of the spin that is unset, and, in any order, its site."""
        site = self._site_to_unset(states, backward_actions)
        return 2 * backward_actions + (states.gather(-1, site[..., None])[..., 0] - 1).clamp(min=0)

    def _site_to_unset(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        return backward_actions if self.any_order else ((states > 0).sum(-1) - 1).clamp(min=0)

    def features(self, states: Tensor) -> Tensor:
        """K-hot, one index per site: 3 site + content."""
        return states + self._offsets

    def spins(self, states: Tensor) -> Tensor:
        """-1 or 1 where set: [..., side * side] float64."""
        return 2.0 * states.double() - 3

    def log_reward(self, states: Tensor) -> Tensor:
        """coupling * sum of products over bonds + field * sum of spins in float64, -inf for unfinished lattices: [...]."""
        spins = self.spins(states)
        products = spins[..., self.bonds[0]] * spins[..., self.bonds[1]]
        log_reward = self.coupling * products.sum(-1) + self.field * spins.sum(-1)
        return log_reward.masked_fill((states == 0).any(-1), -torch.inf)

    # -- facts --------------------------------------------------------------------------------------------------------

    @cached_property
    def log_Z(self) -> float | None:
        """log sum of rewards by the transfer matrix; None for lattices wider than WIDEST."""
        if self.side > WIDEST[self.boundary]:
            return None
        coupling, field = (torch.tensor(x, dtype=torch.float64) for x in (self.coupling, self.field))
        return float(log_partition(self.side, coupling, field, self.boundary == "periodic"))

    @property
    def n_modes(self) -> int | None:
        """Number of lattices of top reward where symmetry tells or all can be listed, else None."""
        return super().n_modes if self._ground_states is None else len(self._ground_states)

    def mode_index(self, states: Tensor) -> Tensor:
        """Which lattice of top reward each state is, -1 for none: [...] long. Needs n_modes."""
        if self._ground_states is None:
            return super().mode_index(states)
        matches = (states[..., None, :] == self._ground_states.to(states.device)).all(-1)
        return torch.where(matches.any(-1), matches.long().argmax(-1), -1)

    @cached_property
    def _ground_states(self) -> Tensor | None:
        """The states of top reward [n, side * side]: aligned, or alternating without a field; None for other cases."""
        site = torch.arange(self.n_sites)
        alternating = (site // self.side + site % self.side) % 2
        if self.coupling >= 0 and self.field != 0:
            return torch.full((1, self.n_sites), 2 if self.field > 0 else 1)
        if self.coupling > 0:
            return torch.stack([torch.ones_like(site), torch.full_like(site, 2)])
        bipartite = self.boundary == "free" or self.side % 2 == 0
        if self.coupling < 0 and self.field == 0 and bipartite:
            return torch.stack([1 + alternating, 2 - alternating])
        return None

    @property
    def n_states(self) -> int:
        """Number of states: 3^sites in any order, 1 + 2 + ... + 2^sites row by row."""
        return int(3**self.n_sites) if self.any_order else int(2 ** (self.n_sites + 1)) - 1

    @property
    def enumerable(self) -> bool:
        """Whether there are at most max_enumerated_states states; known without listing them."""
        return self.n_states <= self.max_enumerated_states

    def state_graph(self) -> StateGraph:
        """All states; refused before any is listed where they are too many."""
        found = f"there are {self.n_states} states, more than that; raise it if memory allows"
        require(self.enumerable, "target.max_enumerated_states", self.max_enumerated_states, found)
        return super().state_graph()


def log_partition(side: int, coupling: Tensor, field: Tensor, periodic: bool) -> Tensor:
    """log Z of the lattice: scalar float64, differentiable in the coupling and the field (scalars, float64).

    Its derivatives are the mean sum over bonds and the mean magnetization. Time and memory grow as 2^side, periodic as 4^side.
    """
    n_rows = 2**side
    spins = 2.0 * (torch.arange(n_rows)[:, None] >> torch.arange(side - 1, -1, -1) & 1).double() - 1  # [2^side, side]
    beside = (spins * spins.roll(-1, 1)).sum(1) if periodic else (spins[:, :-1] * spins[:, 1:]).sum(1)
    log_row = coupling * beside + field * spins.sum(1)
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    column = (coupling * sign - coupling.abs()).exp()  # largest entry 1: nothing overflows
    row = (log_row - log_row.max()).exp()[:, None]
    log_scale = torch.zeros((), dtype=torch.float64)
    # [last row, first row]: diagonal if the first row is carried along, else a single column
    above = torch.diag(row[:, 0]) if periodic else row
    n_links = side if periodic else side - 1
    for link in range(n_links):
        for k in range(side):  # bit k of the last row becomes that of the row below
            above = torch.einsum("ab,xbyc->xayc", column, above.view(2**k, 2, 2 ** (side - 1 - k), -1)).reshape(n_rows, -1)
        if link < side - 1:  # the last link of a periodic lattice leads back to the first row, which has its weight
            above = above * row
        top = above.max()
        above, log_scale = above / top, log_scale + top.log()
    total = above.diagonal().sum() if periodic else above.sum()
    return total.log() + log_scale + side * log_row.max() + n_links * side * coupling.abs()
