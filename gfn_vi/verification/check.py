"""One line of the table of theorems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What theorems 1 to 3 say of gradients, for every log Z (paper, eqs. 7 to 9).
CLAIMS = {
    1: "E_PF d_theta u^2 = 2 d_theta KL(P_F, P_B)",
    2: "E_PB d_phi u^2 = 2 d_phi KL(P_B, P_F)",
    3: "E_PF d_phi u^2 = d_phi of eq. 9's surrogate",
}
# A control is wrong by more than this, far above what rounding does to any theorem in float64.
SMALLEST_FAILURE = 1e-3
Sides = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Check:
    """left, right [R]: sizes of both sides; error [R]: their distance relative to the right side.

    theorem: number in the paper's list, 0 for a control; must_fail: wrong on purpose.
    """

    theorem: int
    claim: str
    method: str
    left: Tensor
    right: Tensor
    error: Tensor
    must_fail: bool = False

    def holds(self, tolerance: float) -> bool:
        """Both sides agree in every replica; what must fail is wrong in every replica. NaN is neither."""
        return bool(((self.error > SMALLEST_FAILURE) if self.must_fail else (self.error <= tolerance)).all())


def compare(left: Tensor, right: Tensor) -> Sides:
    """Vectors [R, P] -> (|left|, |right|, |left - right| / |right|), each [R]; two vectors of zeros agree."""
    distance, size = (left - right).norm(dim=1).double(), right.norm(dim=1).double()
    return left.norm(dim=1).double(), size, distance / size.where(size > 0, 1.0)


def worst(found: Sequence[Sides]) -> Sides:
    """Of several comparisons the one of largest error, replica by replica; NaN is the largest."""
    left, right, error = (torch.stack(part) for part in zip(*found, strict=True))
    index = error.argmax(0, keepdim=True)
    return left.gather(0, index)[0], right.gather(0, index)[0], error.gather(0, index)[0]


def combined(found: Sequence[Sides]) -> Sides:
    """Of several comparisons one, as if their vectors were one long vector each."""
    left, right, error = (torch.stack(part) for part in zip(*found, strict=True))
    distance = (error * right.where(right > 0, 1.0)).norm(dim=0)
    size = right.norm(dim=0)
    return left.norm(dim=0), size, distance / size.where(size > 0, 1.0)
