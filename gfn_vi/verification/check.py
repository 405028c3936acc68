"""One line of the table of theorems of arXiv 2210.00580; their list is in gfn_vi/verification/__init__.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What theorems 1 to 3 say of gradients, for every log Z (arXiv 2210.00580, eqs. 7 to 9).
CLAIMS = {
    1: "E_PF d_theta u^2 = 2 d_theta KL(P_F, P_B)",
    2: "E_PB d_phi u^2 = 2 d_phi KL(P_B, P_F)",
    3: "E_PF d_phi u^2 = d_phi of eq. 9's surrogate",
}
# A control is wrong by more than this, far above what rounding does to any theorem in float64.
SMALLEST_FAILURE = 1e-3
# Sides smaller than this are compared on this scale.
SMALLEST_SCALE = 1e-5
Sides = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Check:
    """The result of one comparison: left, right [R]: sizes of both sides; error [R]: their distance relative to the right side.

    theorem: its number in the list, 0 for a control; must_fail: wrong on purpose.
    """

    theorem: int
    claim: str
    method: str
    left: Tensor
    right: Tensor
    error: Tensor
    must_fail: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was compared: both sides are exactly 0, as without parameters of P_B."""
        return not self.must_fail and bool(((self.left == 0) & (self.right == 0)).all())

    def holds(self, tolerance: float) -> bool:
        """Return whether both sides agree in every replica; what must fail has to be wrong in every replica. NaN is neither."""
        return bool(((self.error > SMALLEST_FAILURE) if self.must_fail else (self.error <= tolerance)).all())


def compare(left: Tensor, right: Tensor) -> Sides:
    """Return |left|, |right| and |left - right| / |right|, each [R], of vectors left, right [R, P]; vectors of zeros agree."""
    return _sides((left - right).norm(dim=1).double(), left.norm(dim=1).double(), right.norm(dim=1).double())


def _sides(distance: Tensor, left: Tensor, right: Tensor) -> Sides:
    # Both sides are sums of terms of order one. At the optimum they cancel to 0, and rounding of the terms is all that is left:
    # below SMALLEST_SCALE it is not measured relative to the sum.
    return left, right, distance / right.clamp(min=SMALLEST_SCALE)


def worst(found: Sequence[Sides]) -> Sides:
    """Return the comparison with the largest error, replica by replica; NaN is the largest."""
    left, right, error = (torch.stack(part) for part in zip(*found, strict=True))
    index = error.argmax(0, keepdim=True)
    return left.gather(0, index)[0], right.gather(0, index)[0], error.gather(0, index)[0]


def combined(found: Sequence[Sides]) -> Sides:
    """Return several comparisons as one, as if their vectors were one long vector each."""
    left, right, error = (torch.stack(part) for part in zip(*found, strict=True))
    distance = (error * right.clamp(min=SMALLEST_SCALE)).norm(dim=0)
    return _sides(distance, left.norm(dim=0), right.norm(dim=0))


def excess(left: Tensor, right: Tensor) -> Tensor:
    """Return how much left <= right is violated, relative to right: [R] -> [R], 0 where it holds; nothing exceeds infinity."""
    found = ((left - right) / right.clamp(min=SMALLEST_SCALE)).clamp(min=0)
    return found.masked_fill((right == torch.inf) & ~left.isnan(), 0.0)
