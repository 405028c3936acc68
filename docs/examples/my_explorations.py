"""Trajectories that seldom stop early: no step of the behavior stops with more than a given probability."""

import math

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.log_probability import masked_log_softmax
from gfn_vi.core.protocols import DiscreteTilt
from gfn_vi.exploration.tilted import OnPolicy


class CappedStop(OnPolicy):
    """P_F with min(P_F(stop | s), cap) for the stop action; the other actions share the rest as P_F would have it."""

    is_on_policy, tilts = False, frozenset({"discrete"})

    def __init__(self, cap: float) -> None:
        require(0 < cap < 1, "exploration.cap", cap, "expected a probability between 0 and 1")
        self.log_cap = math.log(cap)

    def tilt(self, n_trajectories: int) -> DiscreteTilt:
        def capped(log_probs: Tensor, mask: Tensor) -> Tensor:
            stop = log_probs[..., -1:].clamp(max=self.log_cap)
            moves = masked_log_softmax(log_probs[..., :-1], mask[..., :-1]) + torch.log1p(-stop.exp())
            can_move = mask[..., :-1].any(-1, keepdim=True)
            return torch.where(can_move, torch.cat([moves, stop], -1), log_probs)

        return capped
