"""A user's function of molecules, asked for a batch; its own process may be another one, so this imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from gfn_vi.core import user_files

KEY = "target.proxy.function"
SMILES, MOLECULES = "smiles", "molecules"


class CallError(Exception):
    """Raised for a wrong answer of a user's function, in one line without its name."""


@dataclass(frozen=True)
class Call:
    """The function my_module.my_function, which takes a list of canonical SMILES or of RDKit molecules."""

    function: str
    takes: str

    def __call__(self, smiles: Sequence[str]) -> list[float]:
        """Return a finite number for each SMILES. Raises CallError, which names the first molecule that has none."""
        function = user_files.located(self.function, KEY)
        try:
            returned = function(self._batch(smiles))
        except Exception as error:
            if len(smiles) > 1:
                for one in smiles:
                    self([one])
            raise CallError(f"raises on {_named(smiles)}: {user_files.failure(error)}") from error
        values = _numbers(returned, smiles)
        for value, text in zip(values, smiles, strict=True):
            if not math.isfinite(value):
                raise CallError(f"is {value} for {text}: expected finite values")
        return values

    def _batch(self, smiles: Sequence[str]) -> list[Any]:
        if self.takes == SMILES:
            return list(smiles)
        from rdkit.Chem import MolFromSmiles

        return [MolFromSmiles(text) for text in smiles]


def _numbers(returned: Any, smiles: Sequence[str]) -> list[float]:
    """Return what a function returned as floats: a list, or an array or a tensor of one axis. Raises CallError."""
    plain = returned.tolist() if hasattr(returned, "tolist") else returned
    if not isinstance(plain, (list, tuple)):
        found = type(returned).__name__ if plain is returned else f"a {type(returned).__name__} without axes"
        raise CallError(f"returned {found} for a list of {len(smiles)}: expected a list of as many numbers")
    if len(plain) != len(smiles):
        raise CallError(f"returned {len(plain)} values for a list of {len(smiles)}: expected one for each")
    for value, text in zip(plain, smiles, strict=True):
        if not isinstance(value, Real):
            raise CallError(f"returned {type(value).__name__} for {text}: expected a number")
    return [float(value) for value in plain]


def _named(smiles: Sequence[str]) -> str:
    return smiles[0] if len(smiles) == 1 else f"a list of {len(smiles)}, though on none of them alone; the first is {smiles[0]}"
