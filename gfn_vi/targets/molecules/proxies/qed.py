"""Drug-likeness as RDKit computes it: no file is needed."""

from __future__ import annotations

from gfn_vi.targets.molecules.proxies.cached import CachedProxy, read


class QED(CachedProxy):
    """Quantitative estimate of drug-likeness, in [0, 1]: a weighted geometric mean of eight desirabilities.

    Bickerton et al., Quantifying the chemical beauty of drugs, Nature Chemistry 4 (2012); rdkit.Chem.QED.
    """

    def _fresh(self, smiles: list[str]) -> list[float]:
        from rdkit.Chem.QED import qed

        return [qed(read(text)) for text in smiles]
