"""Proxies whose values follow from the SMILES alone: a molecule that comes again costs nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gfn_vi.core.errors import RunError
from gfn_vi.targets.checks import check_whole
from gfn_vi.targets.molecules.proxies.base import BaseProxy

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class CachedProxy(BaseProxy):
    """Keeps the last values by canonical SMILES, in this process.

    Sums over atoms depend on the order of atoms in their last digits. So values are taken of the molecule that is read from the
    canonical SMILES: they do not depend on what was in the cache, and a resumed run sees the same ones.
    """

    def __init__(self, floor: float, ceiling: float | None, scale: float, cache_size: int) -> None:
        """cache_size: most values that are kept, the oldest are forgotten first; 0: none."""
        super().__init__(floor, ceiling, scale)
        check_whole(cache_size, 0, "target.proxy.cache_size")
        self.cache_size = cache_size
        self._known: dict[str, float] = {}

    @abstractmethod
    def _fresh(self, smiles: list[str]) -> list[float]:
        """Return the values of at least one molecule, by canonical SMILES, all of them different."""

    def _values(self, molecules: Sequence[Mol]) -> Tensor:
        from rdkit.Chem import MolToSmiles

        return self.of_smiles([MolToSmiles(molecule) for molecule in molecules])

    def of_smiles(self, smiles: Sequence[str]) -> Tensor:
        """Return the value of each canonical SMILES, from the cache where it is there: [M] float64."""
        fresh = [text for text in dict.fromkeys(smiles) if text not in self._known]
        values = {text: self._known[text] for text in smiles if text in self._known}
        if fresh:
            found = dict(zip(fresh, self._fresh(fresh), strict=True))
            values |= found
            self._known |= found
            while len(self._known) > self.cache_size:
                del self._known[next(iter(self._known))]
        return torch.tensor([values[text] for text in smiles], dtype=torch.float64)


def read(smiles: str) -> Mol:
    """Return the sanitized molecule of a SMILES that RDKit wrote. Raises RunError where it cannot read it."""
    from rdkit.Chem import MolFromSmiles

    molecule = MolFromSmiles(smiles)
    if molecule is None:
        raise RunError(f"target.proxy: RDKit wrote the SMILES {smiles} and cannot read it: the molecule is not valid")
    return molecule
