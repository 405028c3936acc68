"""Morgan fingerprints of molecules and their Tanimoto similarities: diversity, and modes that differ from one another.

A fingerprint is a bit vector of the neighborhoods of atoms up to RADIUS bonds; the similarity of two is the number of bits that
both have, divided by the number of bits that either has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RADIUS, BITS = 2, 2048


def fingerprints(molecules: Sequence[Any]) -> list[Any]:
    """Return a bit vector of RDKit for each RDKit molecule."""
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    return [generator.GetFingerprint(molecule) for molecule in molecules]


def mean_distance(prints: Sequence[Any]) -> float:
    """Return the mean of 1 - similarity over all pairs of fingerprints; 0 of fewer than two."""
    from rdkit.DataStructs import BulkTanimotoSimilarity

    n = len(prints)
    if n < 2:
        return 0.0
    together = sum(sum(BulkTanimotoSimilarity(prints[i], prints[:i])) for i in range(1, n))
    return 1 - together / (n * (n - 1) / 2)


def add_modes(modes: list[Any], prints: Sequence[Any], similarity: float) -> None:
    """Append to the fingerprints of modes those, one after the other, that are less similar than that to all modes before."""
    from rdkit.DataStructs import BulkTanimotoSimilarity

    for one in prints:
        if max(BulkTanimotoSimilarity(one, modes), default=0.0) < similarity:
            modes.append(one)
