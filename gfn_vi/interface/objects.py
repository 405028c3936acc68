"""Objects of a target as people write them: columns of a table, and arrays for programs.

Graphs: edges by names, adjacency, CPDAG and dot. Molecules: SMILES. Densities: a column per coordinate, by its name. Other
targets say it with `texts(states)` where they have it, and elsewhere a state is its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from gfn_vi.core.families import is_density
from gfn_vi.core.protocols import GraphTarget

Columns = dict[str, Any]
# Columns that every sample has: an object's own column of such a name gets a prefix.
OF_EVERY_SAMPLE = ("replica", "log_reward", "log_pf", "log_pb", "log_pt", "log_weight", "weight", "length")
PREFIX = "object."


def columns_of(target: Any, states: Tensor) -> Columns:
    """Return name -> a value for each of the objects [N, *state]: texts or numbers."""
    if _has_graphs(target):
        return _graph_columns(target, states)
    if _has_molecules(target):
        return {"smiles": target.smiles(states), "value": target.values(states).cpu().numpy()}
    if hasattr(target, "texts"):
        return {"object": target.texts(states)}
    flat = states.flatten(1).cpu().numpy()
    return {_free(name): flat[:, i] for i, name in enumerate(_names(target, states))}


def arrays_of(target: Any, states: Tensor) -> dict[str, np.ndarray]:
    """Return the same for an npz file: states [N, *state], and what the family adds to them."""
    found = {"states": states.cpu().numpy()}
    if _has_graphs(target):
        from gfn_vi.evaluation.dags.equivalence import cpdag

        adjacency = target.adjacency(states)
        matrices = {"adjacency": adjacency.cpu().numpy(), "cpdag": cpdag(adjacency).cpu().numpy()}
        return found | matrices | {"names": np.array(target.node_names)}
    if _has_molecules(target) or hasattr(target, "texts"):
        return found | {name: np.array(values) for name, values in columns_of(target, states).items()}
    return found | {"names": np.array(_names(target, states))}


def _has_graphs(target: Any) -> bool:
    return hasattr(target, "node_names") and hasattr(target, "adjacency")


def _has_molecules(target: Any) -> bool:
    return hasattr(target, "smiles") and hasattr(target, "values")


def _names(target: Any, states: Tensor) -> list[str]:
    """Return what the numbers of a state are called: coordinates by their names, else x0, x1, ..., of a matrix x0_0, x0_1, ..."""
    own = getattr(target, "coordinate_names", None)
    shape = states.shape[1:]
    if own is not None and is_density(target):
        return list(own)
    return [f"x{'_'.join(map(str, place))}" for place in np.ndindex(*shape)]


def _free(name: str) -> str:
    return f"{PREFIX}{name}" if name in OF_EVERY_SAMPLE else name


def _graph_columns(target: GraphTarget, states: Tensor) -> Columns:
    from gfn_vi.evaluation.dags.equivalence import cpdag

    adjacency = target.adjacency(states)
    graphs, classes = adjacency.cpu().numpy(), cpdag(adjacency).cpu().numpy()
    names = target.node_names
    return {
        "edges": [_edges(names, graph) for graph in graphs],
        "adjacency": ["/".join("".join(map(str, row)) for row in graph.astype(int)) for graph in graphs],
        "cpdag": [_edges(names, graph) for graph in classes],
        "dot": [_dot(names, graph) for graph in graphs],
    }


def _edges(names: Sequence[str], graph: np.ndarray) -> str:
    """Return the edges in words: "a -> b; b -- c", a line where an edge goes both ways."""
    told = []
    for i, j in np.argwhere(graph):
        if not graph[j, i]:
            told.append(f"{names[i]} -> {names[j]}")
        elif i < j:
            told.append(f"{names[i]} -- {names[j]}")
    return "; ".join(told)


def _dot(names: Sequence[str], graph: np.ndarray) -> str:
    """Return the graph in the language of Graphviz, on one line."""
    quoted = ['"' + " ".join(name.replace("\\", "\\\\").replace('"', '\\"').split()) + '"' for name in names]
    edges = [f"{quoted[i]} -> {quoted[j]};" for i, j in np.argwhere(graph)]
    return " ".join(["digraph {", *(f"{name};" for name in quoted), *edges, "}"])
