"""Penalized logP: how much a molecule prefers octanol to water, less what makes it hard to build."""

from __future__ import annotations

import math

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.targets.molecules.proxies.cached import CachedProxy, read

LARGEST_FREE_RING = 6


class PenalizedLogP(CachedProxy):
    """shift + logP - SA - ring penalty, as in arXiv 1610.02415 (section on optimization), without normalizing each term.

    logP: Crippen's estimate, rdkit.Chem.Crippen; SA: synthetic accessibility, 1 (easy) to 10, RDKit's Contrib/SA_Score; ring
    penalty: number of atoms of the largest ring above six, or 0.
    """

    def __init__(self, floor: float, ceiling: float | None, scale: float, shift: float, cache_size: int) -> None:
        """shift: added to all values, since a reward is a power of a positive number; floor and scale are in units with it."""
        super().__init__(floor, ceiling, scale, cache_size)
        require(math.isfinite(shift), "target.proxy.shift", shift, "expected a finite number")
        self.shift = shift
        try:
            from rdkit.Contrib.SA_Score import sascorer
        except ModuleNotFoundError as error:
            expected = "this RDKit comes without Contrib/SA_Score: pip install 'gfn_vi[molecules]', or use proxy@target.proxy=qed"
            raise ConfigError("target.proxy", "PenalizedLogP", expected) from error
        self._accessibility = sascorer.calculateScore

    def _fresh(self, smiles: list[str]) -> list[float]:
        from rdkit.Chem.rdMolDescriptors import CalcCrippenDescriptors

        values = []
        for molecule in map(read, smiles):
            largest_ring = max(map(len, molecule.GetRingInfo().AtomRings()), default=0)
            penalty = self._accessibility(molecule) + max(largest_ring - LARGEST_FREE_RING, 0)
            values.append(self.shift + CalcCrippenDescriptors(molecule)[0] - penalty)
        return values
