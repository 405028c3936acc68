"""The median: torch's own is the lower of the middle two where their number is even."""

from __future__ import annotations

import torch
from torch import Tensor


def median(values: Tensor, dim: int) -> Tensor:
    """Return the median along `dim`, of an even number the mean of the middle two: [..., n, ...] -> [...].

    NaN where a value is NaN, and of no values at all.
    """
    if values.shape[dim] == 0:
        return values.new_full((*values.shape[:dim], *values.shape[dim:][1:]), torch.nan)
    lower, upper = values.median(dim).values, -(-values).median(dim).values
    return (lower + upper) / 2
