"""The Ising model on a square lattice, built spin by spin.

    log R(s) = coupling * sum over bonds (i, j) of s_i s_j + field * sum over sites of s_i,     s_i = -1 or 1

Bonds join neighbors in rows and columns; with periodic boundaries also the last site with the first. There is one cell per site,
row by row (see cells.py), with two symbols: down and up. `order` says which spin is set next: raster (row by row; a tree) or any
(each spin that is not set).

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
from gfn_vi.targets.cells import CellsTarget

# Wider lattices take the transfer matrix more than a few seconds.
WIDEST = {"free": 16, "periodic": 10}


class Ising(CellsTarget):
    """Lattices of side x side spins, with log R = coupling * (sum over bonds) + field * (sum over sites)."""

    def __init__(self, side: int, coupling: float, field: float, boundary: str, order: str, max_enumerated_states: int) -> None:
        """coupling: J over temperature, negative for an antiferromagnet; field: over temperature; boundary: free or periodic.

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
        super().__init__(side * side, 2, order == "any", max_enumerated_states)
        site = torch.arange(self.n_cells).view(side, side)
        right, below = (site[:, :-1], site[:, 1:]), (site[:-1], site[1:])
        if boundary == "periodic":
            right, below = (site, site.roll(-1, 1)), (site, site.roll(-1, 0))
        self.bonds = torch.stack([torch.cat([a.flatten(), b.flatten()]) for a, b in zip(right, below, strict=True)])  # [2, E]

    def spins(self, states: Tensor) -> Tensor:
        """Return the spins, -1 or 1 where they are set: [..., side * side] long -> [..., side * side] float64."""
        return 2.0 * states.double() - 3

    def log_reward(self, states: Tensor) -> Tensor:
        """Return the log-reward of each lattice, -inf for unfinished ones: [..., side * side] -> [...] float64."""
        spins = self.spins(states)
        products = spins[..., self.bonds[0]] * spins[..., self.bonds[1]]
        log_reward = self.coupling * products.sum(-1) + self.field * spins.sum(-1)
        return log_reward.masked_fill(self.is_unfinished(states), -torch.inf)

    def texts(self, states: Tensor) -> list[str]:
        """Return each of the lattices [M, side * side] row by row, as "+-/--": up, down, and _ for a spin that is not set."""
        rows = states.view(len(states), self.side, self.side).tolist()
        return ["/".join("".join("_-+"[content] for content in row) for row in lattice) for lattice in rows]

    # -- facts --------------------------------------------------------------------------------------------------------

    @cached_property
    def log_Z(self) -> float | None:
        """The log of the sum of all rewards by the transfer matrix; None for lattices wider than WIDEST."""
        if self.side > WIDEST[self.boundary]:
            return None
        coupling, field = (torch.tensor(x, dtype=torch.float64) for x in (self.coupling, self.field))
        return float(log_partition(self.side, coupling, field, self.boundary == "periodic"))

    @property
    def n_modes(self) -> int | None:
        """Number of lattices of top reward where symmetry tells or all can be listed, else None."""
        return super().n_modes if self._ground_states is None else len(self._ground_states)

    def mode_index(self, states: Tensor) -> Tensor:
        """Return which lattice of top reward each state is, -1 for none: [..., side * side] -> [...] long. Needs n_modes."""
        if self._ground_states is None:
            return super().mode_index(states)
        matches = (states[..., None, :] == self._ground_states.to(states.device)).all(-1)
        return torch.where(matches.any(-1), matches.long().argmax(-1), -1)

    @cached_property
    def _ground_states(self) -> Tensor | None:
        """The states of top reward [n, side * side]: aligned, or alternating without a field; None for other cases."""
        site = torch.arange(self.n_cells)
        alternating = (site // self.side + site % self.side) % 2
        if self.coupling >= 0 and self.field != 0:
            return torch.full((1, self.n_cells), 2 if self.field > 0 else 1)
        if self.coupling > 0:
            return torch.stack([torch.ones_like(site), torch.full_like(site, 2)])
        bipartite = self.boundary == "free" or self.side % 2 == 0
        if self.coupling < 0 and self.field == 0 and bipartite:
            return torch.stack([1 + alternating, 2 - alternating])
        return None


def log_partition(side: int, coupling: Tensor, field: Tensor, periodic: bool) -> Tensor:
    """Return log Z of the lattice, a scalar in float64, differentiable in the coupling and the field (scalars, float64).

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
