"""A state as a person reads it: in the words of its target where it has some, else as its numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

MOST = 16  # numbers, or edges of a graph, that are shown


def state_in_words(target: Any, state: Tensor) -> str:
    """Return one line about a state [*state]: a graph's edges by names, a molecule's SMILES, named coordinates, or numbers."""
    if hasattr(target, "node_names") and hasattr(target, "adjacency"):
        names = target.node_names
        edges = [f"{names[i]} -> {names[j]}" for i, j in target.adjacency(state).nonzero().tolist()]
        return f"the graph {_few(edges)}" if edges else "the graph without edges"
    if hasattr(target, "smiles"):
        return f"the molecule {target.smiles(state[None])[0] or 'without blocks'}"
    numbers = [f"{value:.6g}" if state.is_floating_point() else str(value) for value in state.flatten().tolist()]
    names = getattr(target, "coordinate_names", None)
    if names is not None and len(names) == len(numbers):
        numbers = [f"{name} = {number}" for name, number in zip(names, numbers, strict=True)]
    shape = f" of shape {list(state.shape)}" if state.dim() > 1 else ""
    return f"the state ({_few(numbers)}){shape}"


def _few(words: list[str]) -> str:
    more = f", ... ({len(words)} in all)" if len(words) > MOST else ""
    return ", ".join(words[:MOST]) + more
