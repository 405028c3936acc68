"""Molecules of at most N blocks, built block by block, and their reward (Bengio et al. 2021; arXiv 2210.00580, section 4.2).

A state is an integer tensor [N, 2 + 2 S] in canonical form: equal molecules are equal tensors. A row is a block; its columns are

    0            kind + 1, and 0 in empty rows, which come last
    1            hash of the whole molecule as seen from this block; that of row 0 is the molecule's code
    2 .. S+1     links: 0 where slot s is free or absent, else 1 + (j S + t) where it is bonded to slot t of row j
    S+2 .. 2S+1  hash of the molecule as seen through slot s: equal for stems that a symmetry exchanges

Action (i S + s) B + b attaches block b to stem (i, s); to nothing, action b is the first block; the last action stops. Several
such pairs can lead to one child: the first of them is legal (moves.py). Backward action i removes the block in row i; of rows
with the same parent the first is legal, so that P_B is uniform over distinct parents. A molecule with fewer than `min_blocks`
blocks cannot stop, and one with N blocks or without a free stem must.

    log R(x) = beta log(clamp(value(x), floor, ceiling) / scale)          value, floor, ceiling, scale: of the proxy
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gfn_vi.core.distinct import distinct
from gfn_vi.core.errors import require
from gfn_vi.targets.base import BaseTarget
from gfn_vi.targets.molecules.assembly import Assembly
from gfn_vi.targets.molecules.block_set import read_block_set
from gfn_vi.targets.molecules.held_out import read_objects
from gfn_vi.targets.molecules.moves import Moves
from gfn_vi.targets.molecules.proxies.base import BaseProxy


class Molecules(BaseTarget):
    """Molecules assembled from a set of blocks, with a reward from a proxy. States are [..., N, 2 + 2 S] long, canonical."""

    every_state_stops = False
    largest_front: ClassVar[int] = 2**17

    def __init__(
        self,
        blocks: str | None,
        digest: str | None,
        min_blocks: int,
        max_blocks: int,
        proxy: BaseProxy,
        beta: float,
        max_enumerated_states: int,
    ) -> None:
        """blocks: a JSON file of blocks, None for the project's own; digest: of that file when the run was named, or None.

        min_blocks, max_blocks: fewest and most blocks of a finished molecule. beta: exponent of the reward.
        max_enumerated_states: exact metrics are available while there are no more states.
        """
        require(max_blocks >= 2, "target.max_blocks", max_blocks, "expected a whole number >= 2: molecules are put together")
        limit = f"expected 1 to target.max_blocks={max_blocks}"
        require(1 <= min_blocks <= max_blocks, "target.min_blocks", min_blocks, limit)
        require(0 <= beta < math.inf, "target.beta", beta, "expected a finite number >= 0")
        self.blocks = read_block_set(blocks, digest)
        branching = self.blocks.n_slots >= 2 or max_blocks == 2
        require(branching, "target.max_blocks", max_blocks, "expected 2: every block has one attachment, more fit nowhere")
        self.remarks = proxy.remarks
        self.min_blocks, self.max_blocks, self.proxy, self.beta = min_blocks, max_blocks, proxy, beta
        self.max_enumerated_states = max_enumerated_states
        self.n_slots, self.n_kinds, self.n_block_choices = self.blocks.n_slots, self.blocks.n_kinds, self.blocks.n_blocks
        self.slot_class = self.blocks.slot_class
        rows, slots = max_blocks, self.n_slots
        self.n_actions, self.n_backward_actions = (rows - 1) * slots * self.n_block_choices + 1, rows
        self.horizon = rows + 1
        self.state_shape = (rows, 2 + 2 * slots)
        n_links = rows * slots + 1
        self.n_features = rows * (self.n_kinds + 1) + rows * slots * n_links
        self._offset = torch.cat(
            [
                torch.arange(rows) * (self.n_kinds + 1),
                rows * (self.n_kinds + 1) + torch.arange(rows * slots) * n_links,
            ]
        )
        self._slots_of_blocks = self.blocks.n_slots_of[self.blocks.kind]
        self._moves = Moves(self.blocks, rows)
        self._assembly = Assembly(self.blocks)

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors, and the proxy's, on `device`."""
        moved = super().to(device)
        moved._moves = self._moves.to(device)
        moved.proxy = self.proxy.to(device)
        return moved

    # -- what a state says --------------------------------------------------------------------------------------------

    def kinds(self, states: Tensor) -> Tensor:
        """Return the kind of each block, -1 in empty rows: [..., N, 2 + 2 S] -> [..., N] long."""
        return states[..., 0] - 1

    def links(self, states: Tensor) -> Tensor:
        """Return j S + t for slots that are bonded to slot t of row j, -1 for others: [..., N, 2 + 2 S] -> [..., N, S] long."""
        return states[..., 2 : 2 + self.n_slots] - 1

    def free_stems(self, states: Tensor) -> Tensor:
        """Return which slots are there and not bonded: [..., N, 2 + 2 S] -> [..., N, S] bool."""
        return (self._moves.slot_class[states[..., 0]] >= 0) & (states[..., 2 : 2 + self.n_slots] == 0)

    def n_blocks(self, states: Tensor) -> Tensor:
        """Return the number of blocks: [..., N, 2 + 2 S] -> [...] long."""
        return (states[..., 0] > 0).sum(-1)

    def code(self, states: Tensor) -> Tensor:
        """Return a number that is equal exactly for equal molecules: [..., N, 2 + 2 S] -> [...] int64."""
        return states[..., 0, 1]

    def features(self, states: Tensor) -> Tensor:
        """Return the K-hot features: one index for the kind of each row, one for the link of each slot: [..., N + N S] long."""
        return torch.cat([states[..., 0], states[..., 2 : 2 + self.n_slots].flatten(-2)], -1) + self._offset

    # -- moves --------------------------------------------------------------------------------------------------------

    def forward_mask(self, states: Tensor) -> Tensor:
        """Return the legal actions, one for each child, and whether stopping is legal: [..., A] bool."""
        flat = self._flat(states)
        n, attach = self.n_blocks(flat), self._moves.attachable(flat)
        if self.min_blocks > 2:
            # a molecule that is too small to stop needs a free stem to grow at
            left = self.free_stems(flat).sum((1, 2))[:, None] - 2 + self._slots_of_blocks
            stuck = ((n + 1 < self.min_blocks) & (n > 0))[:, None] & (left == 0)
            attach &= ~stuck[:, None, :]
        mask = torch.cat([attach.flatten(1), (n >= self.min_blocks)[:, None]], 1)
        return mask.view(*states.shape[:-2], self.n_actions)

    def backward_mask(self, states: Tensor) -> Tensor:
        """Return which rows can be removed, one for each parent: [..., N] bool."""
        first = self._moves.first_removals(self._flat(states))
        return (first == torch.arange(self.max_blocks, device=first.device)).view(*states.shape[:-1])

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the molecules [..., N, 2 + 2 S] with the chosen blocks attached; the stop action leaves them as they are."""
        return self._grown(states, actions)[0]

    def backstep(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the molecules [..., N, 2 + 2 S] without the chosen rows."""
        return self._shrunk(states, backward_actions)[0].view(states.shape)

    def backward_action(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the row [...] whose removal undoes `actions`; 0 for the stop action."""
        children, row = self._grown(states, actions)
        first = self._moves.first_removals(self._flat(children))
        return first.gather(1, row.view(-1, 1)).view(actions.shape).clamp(min=0)

    def forward_action(self, states: Tensor, backward_actions: Tensor) -> Tensor:
        """Return the legal action [...] that leads from backstep(states, backward_actions) to `states`."""
        parents, stem, block = self._shrunk(states, backward_actions)
        first_stem, first_block = self._moves.first_attachment(parents, stem, block)
        is_first = self.n_blocks(parents) == 0
        single = self._moves.first_block[self._flat(states)[:, 0, 0]]
        return torch.where(is_first, single, first_stem * self.n_block_choices + first_block).view(backward_actions.shape)

    def _grown(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the children [..., N, 2 + 2 S] and the new block's row [...] in them; of the stop action the state and 0."""
        flat, action = self._flat(states), actions.reshape(-1)
        children, row = flat, torch.zeros_like(action)
        moves = (action != self.n_actions - 1).nonzero()[:, 0]  # only these are worked on
        if len(moves) > 0:
            stem, block = action[moves] // self.n_block_choices, action[moves] % self.n_block_choices
            kinds, links, _ = self._moves.split(flat[moves])
            kinds, links, new = self._moves.attached(kinds, links, stem, block)
            grown, rows, _ = self._moves.trees.canonical(kinds, links)
            children = flat.index_copy(0, moves, grown)
            row.index_copy_(0, moves, rows.gather(1, new[:, None])[:, 0])
        return children.view(states.shape), row.view(actions.shape)

    def _shrunk(self, states: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parents [M, N, 2 + 2 S], and the stem in them [M] at which block [M] was attached in the chosen rows."""
        flat, row = self._flat(states), rows.reshape(-1)
        kinds, links, _ = self._moves.split(flat)
        at = torch.arange(len(flat), device=flat.device)
        way = self._moves.slot_class[kinds[at, row], (links[at, row] > 0).byte().argmax(1)]
        block = self._moves.class_block[way].clamp(min=0)
        kinds, links, partner = self._moves.detached(kinds, links, row)
        parents, new_row, new_slot = self._moves.trees.canonical(kinds, links)
        stem = new_row.gather(1, (partner // self.n_slots)[:, None])[:, 0] * self.n_slots
        stem = stem + new_slot.flatten(1).gather(1, partner[:, None])[:, 0]
        return parents, stem.clamp(max=(self.max_blocks - 1) * self.n_slots - 1), block

    def _flat(self, states: Tensor) -> Tensor:
        return states.reshape(-1, *self.state_shape)

    def _keys(self, states: Tensor) -> Tensor:
        """Return the codes, which tell states apart: [S, *state] -> [S]."""
        return self.code(states).contiguous()

    def _numbered(self, states: Tensor) -> Tensor:
        """Return numbers from 0 that are equal exactly for equal states: [S, *state] -> [S] long. One code is soon compared."""
        return torch.unique(self.code(states), return_inverse=True)[1]

    @property
    def fewest_states(self) -> float:
        """A lower bound of the number of states.

        A molecule with a free stem has at least as many children as there are kinds that can be attached, and at most as many
        parents as it has blocks.
        """
        can_be_attached = self.blocks.class_kind[self.blocks.class_block >= 0].unique()
        grows = int((self.blocks.n_slots_of[can_be_attached] >= 2).sum())
        total, growing = 1.0 + self.n_kinds, float((self.blocks.n_slots_of >= 2).sum())
        for n in range(2, self.max_blocks + 1):
            total += growing * len(can_be_attached) / n
            growing *= grows / n
        return total

    @cached_property
    def _found(self) -> Tensor | None:
        """All states; None at once where a bound says that there are too many."""
        return None if self.fewest_states > self.max_enumerated_states else super()._found

    # -- reward -------------------------------------------------------------------------------------------------------

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R, -inf for molecules that are too small to stop: [..., N, 2 + 2 S] -> [...] float64."""
        flat = self._flat(states)
        ends = self.n_blocks(flat) >= self.min_blocks
        out = torch.full((len(flat),), -torch.inf, dtype=torch.float64, device=flat.device)
        out[ends] = self.proxy.log_reward(self.values(flat[ends]), self.beta)
        return out.view(states.shape[:-2])

    def values(self, states: Tensor) -> Tensor:
        """Return the proxy's values, in its own units: [..., N, 2 + 2 S] -> [...] float64; equal molecules are asked for once."""
        flat = self._flat(states)
        first, number = distinct(self.code(flat))
        found = self.proxy(self._assembly.molecules(flat[first])).to(flat.device)
        return found[number].view(states.shape[:-2])

    # -- chemistry ----------------------------------------------------------------------------------------------------

    def molecules(self, states: Tensor) -> list[Any]:
        """Return RDKit's molecules of states [M, N, 2 + 2 S]."""
        return self._assembly.molecules(states)

    def smiles(self, states: Tensor) -> list[str]:
        """Return the canonical SMILES of states [M, N, 2 + 2 S]."""
        return self._assembly.smiles(states)

    def read_objects(self, path: str) -> Tensor:
        """Return the molecules of a file, canonical: [M, N, 2 + 2 S]. Raises ConfigError with the line for what is none."""
        kinds, links = read_objects(path, self.blocks, self.max_blocks, self.min_blocks)
        return self._moves.trees.canonical(kinds.to(self.device) + 1, links.to(self.device) + 1)[0]
