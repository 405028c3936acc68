"""A function of the user's own module as the value of molecules, given by name.

It is tried on a few molecules when the target is built: what it cannot answer, or answers with no number, is refused then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.targets.checks import check_whole
from gfn_vi.targets.molecules.proxies.cached import CachedProxy
from gfn_vi.targets.molecules.proxies.calls import KEY, MOLECULES, SMILES, Call, CallError
from gfn_vi.targets.molecules.proxies.workers import Workers

# An acid, an amine, a fused heterocycle, a chain with halogens, a sulfonamide: canonical SMILES.
TRIALS = ("O=C(O)c1ccccc1", "CN1CCNCC1", "c1ccc2[nH]ccc2c1", "FC(F)CCCl", "CS(N)(=O)=O")


def aromatic_carbons(smiles: Sequence[str]) -> list[float]:
    """Return one more than the number of aromatic carbons of each molecule, the function that is shipped as an example."""
    return [1.0 + text.count("c") for text in smiles]


class UserFunction(CachedProxy):
    """The numbers that a function returns for a list of molecules; it has to give the same ones when it is asked again."""

    def __init__(
        self,
        function: str,
        takes: str,
        workers: int,
        floor: float,
        ceiling: float | None,
        scale: float,
        cache_size: int,
    ) -> None:
        """function: my_module.my_function; takes: what it gets a list of, "smiles" (canonical) or "molecules" (of RDKit).

        workers: processes among which a batch is split, 0 for none.
        """
        super().__init__(floor, ceiling, scale, cache_size)
        require(takes in (SMILES, MOLECULES), "target.proxy.takes", takes, f"expected {SMILES} or {MOLECULES}")
        check_whole(workers, 0, "target.proxy.workers")
        self.function = function
        call = Call(function, takes)
        self.remarks = self._doubts(self._try(call))
        self.workers = Workers(workers, call) if workers > 0 else None
        self._call = call if self.workers is None else self.workers

    def _fresh(self, smiles: list[str]) -> list[float]:
        try:
            return self._call(smiles)
        except CallError as error:
            raise RunError(f"{KEY}={self.function}: {error}") from error

    def _doubts(self, values: Sequence[float]) -> tuple[str, ...]:
        """Return a sentence where the values of all molecules are cut off at the same end, so that their rewards are one."""
        for key, end, is_cut in (
            ("floor", self.floor, max(values) <= self.floor),
            ("ceiling", self.ceiling, self.ceiling is not None and min(values) >= self.ceiling),
        ):
            if is_cut:
                found = f"is from {min(values):g} to {max(values):g} for the {len(values)} molecules it was tried on"
                advice = f"which all count as target.proxy.{key}={end:g}: if others are like these, all have one reward"
                turn = " (where lower is better, return minus it)" if key == "floor" else ""
                return (f"{KEY}={self.function} {found}, {advice}{turn}",)
        return ()

    def _try(self, call: Call) -> list[float]:
        """Return the values of TRIALS.

        Raises ConfigError for a function that does not answer, or answers a molecule otherwise alone or when asked again.
        """
        try:
            values = call(TRIALS)
            alone = call(TRIALS[:1])
        except CallError as error:
            raise ConfigError(KEY, self.function, str(error)) from error
        same = math.isclose(values[0], alone[0], rel_tol=1e-6, abs_tol=1e-9)
        found = f"gives {TRIALS[0]} the value {alone[0]:g} alone and {values[0]:g} in a list of {len(TRIALS)}"
        require(same, KEY, self.function, f"{found}: expected each molecule's value by itself, without randomness")
        return list(values)
