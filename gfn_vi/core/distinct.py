"""Which of many numbers are the same."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each different key comes first, [U] long ascending, and of every key [N] its place in that list, [N] long."""
    values, inverse = torch.unique(keys, return_inverse=True)
    place = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(place[: len(values)], len(keys)).scatter_reduce_(0, inverse, place, "amin")
    order = first.argsort()
    number = torch.empty_like(order)
    number[order] = place[: len(order)]
    return first[order], number[inverse]
