"""What all proxies share: how values become rewards, and which values are refused."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import RunError, require
from gfn_vi.targets.molecules.installed import require_rdkit

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class BaseProxy(ABC):
    """A value of molecules, and the reward R = (clamp(value, floor, ceiling) / scale)^beta that is made of it.

    sees_stems: whether the value depends on the free attachment points too, not on the SMILES alone.
    """

    sees_stems: bool = False
    remarks: tuple[str, ...] = ()  # what looks wrong about the values, told before the run starts
    device: torch.device = torch.device("cpu")

    def __init__(self, floor: float, ceiling: float | None, scale: float) -> None:
        """floor: least value, above 0; ceiling: largest value, None for none; scale: the value whose reward is 1."""
        require(0 < floor < math.inf, "target.proxy.floor", floor, "expected a finite number > 0: the reward has a logarithm")
        above = ceiling is None or floor < ceiling < math.inf
        require(above, "target.proxy.ceiling", ceiling, f"expected a finite number above the floor, {floor:g}, or null")
        require(0 < scale < math.inf, "target.proxy.scale", scale, "expected a finite number > 0")
        require_rdkit()
        self.floor, self.ceiling, self.scale = floor, ceiling, scale

    def __call__(self, molecules: Sequence[Mol]) -> Tensor:
        """Return the value of each of M sanitized molecules, in units of the proxy: [M] float64.

        Raises RunError for a value that is not finite, with the SMILES of its molecule.
        """
        if len(molecules) == 0:
            return torch.zeros(0, dtype=torch.float64, device=self.device)
        values = self._values(molecules).to(self.device, torch.float64)
        wrong = (~values.isfinite()).nonzero()[:, 0].tolist()
        if wrong:
            from rdkit.Chem import MolToSmiles

            first = wrong[0]
            found = f"{type(self).__name__} is {float(values[first])} for {MolToSmiles(molecules[first])}"
            others = f"not finite: {len(wrong)} of {len(molecules)}"
            raise RunError(f"target.proxy: {found} ({others}): expected finite values")
        return values

    @abstractmethod
    def _values(self, molecules: Sequence[Mol]) -> Tensor:
        """Return the values of at least one molecule, finite or not: [M], on any device."""

    def log_reward(self, values: Tensor, beta: float) -> Tensor:
        """Return log R = beta (log clamp(value, floor, ceiling) - log scale) of values: [...] -> [...]."""
        return beta * (values.clamp(self.floor, self.ceiling).log() - math.log(self.scale))

    def to(self, device: Any) -> Self:
        """Return a copy whose values, and whose network if it has one, are on `device`; what is cached is shared."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved
