"""The layers between which theorem 5 (arXiv 2210.00580, Proposition 2) is checked."""

from __future__ import annotations

import random

from gfn_vi.core.errors import ConfigError


def junction_choices(n_layers: int, given: list[int] | None, seed: int) -> dict[str, list[int]]:
    """Return name -> increasing layers from 0 to n_layers: `given`, or both ends, half of them at random, and all of them.

    Where there is no layer between both ends they are all.

    Raises ConfigError for layers that do not increase from 0 to n_layers.
    """
    if given is not None:
        ends = f"expected increasing layers from 0 to {n_layers}, as in [0, {max(1, n_layers // 2)}, {n_layers}]"
        whole = all(isinstance(layer, int) for layer in given)
        if not whole or sorted(set(given)) != given or len(given) < 2 or (given[0], given[-1]) != (0, n_layers):
            raise ConfigError("junctions", given, ends)
        return {f"junctions {given}": given}
    inner = range(1, n_layers)
    if not inner:
        return {"no inner junction": [0, n_layers]}
    half = sorted(random.Random(seed).sample(inner, len(inner) // 2))
    return {
        "no inner junction": [0, n_layers],
        f"{len(half)} of {len(inner)} layers": [0, *half, n_layers],
        "all layers (detailed balance)": list(range(n_layers + 1)),
    }
