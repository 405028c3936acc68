"""Binding to soluble epoxide hydrolase (sEH), as predicted by the pretrained network of arXiv 2106.04399."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.targets.molecules.proxies.atom_graphs import atom_graphs
from gfn_vi.targets.molecules.proxies.base import BaseProxy
from gfn_vi.targets.molecules.proxies.seh_network import ENTRIES, SEHNetwork
from gfn_vi.targets.molecules.proxies.weights import read_weights

if TYPE_CHECKING:
    from rdkit.Chem import Mol

KEY = "target.proxy.weights"
EXPECTED = (
    "expected the file of the pretrained network: best_params.pkl.gz of the code published with arXiv 2106.04399, "
    "22 arrays, or the same arrays in an .npz file"
)


class SEHProxy(BaseProxy):
    """The network's output, minus the predicted binding energy on a scale where 8 is very good; in float32, as published.

    Free attachment points are marked in its input: molecules of one SMILES that differ in them have different values.
    """

    sees_stems = True

    def __init__(self, floor: float, ceiling: float | None, scale: float, weights: str | None, digest: str | None) -> None:
        """weights: path of the file; digest: of its content when the run was named, or None for any."""
        super().__init__(floor, ceiling, scale)
        require(weights is not None, KEY, weights, EXPECTED)
        assert weights is not None
        self.network = SEHNetwork(read_weights(weights, digest, ENTRIES, KEY))

    def _values(self, molecules: Sequence[Mol]) -> Tensor:
        with torch.no_grad():
            return self.network(atom_graphs(molecules).to(self.device))

    def to(self, device: Any) -> Self:
        """Return a copy whose network is on the device."""
        moved = super().to(device)
        moved.network = copy.deepcopy(self.network).to(device)
        return moved
