"""Rows of a published Bayesian network over categories, drawn from its conditional probability tables.

pgmpy ships networks of the bnlearn repository (Scutari): asia, sachs, alarm, ... Nothing is downloaded. Rows are drawn node
by node, parents first, all rows at once; the states of a node are numbered 0, 1, ... in the order of the network's file.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, listed, require
from gfn_vi.targets.dags.data import Table, check_sizes, generator

SUFFIX = ".bif.gz"
MOST_NAMED = 5
# The networks of a size for this package, with their numbers of nodes; pgmpy's larger ones are accepted, too.
KNOWN = (
    "cancer (5 nodes), earthquake (5), survey (6), asia (8), sachs (11), child (20), insurance (27), water (32), alarm (37), "
    "hailfinder (56), hepar2 (70), win95pts (76)"
)


@dataclass(frozen=True)
class Node:
    """A node of the network, with what its rows are drawn from.

    place: its column; parents: their columns; cumulative: P(state <= s | parents' states), [*parents' states, states] float64.
    """

    place: int
    parents: list[int]
    cumulative: Tensor


class PgmpyNetwork:
    """Rows drawn from the published network of that name."""

    def __init__(self, name: str, n_samples: int, n_held_out: int, seed: int) -> None:
        """n_samples: N, rows that the score sees; n_held_out: N', further ones; seed: of the rows."""
        check_sizes(n_samples, n_held_out, seed)
        self.name, self.n_samples, self.n_held_out, self.seed = name, n_samples, n_held_out, seed

    def table(self) -> Table:
        """Return the rows, whole numbers in float64, with the network's graph. Raises ConfigError."""
        names, nodes = self.network()
        graph = torch.zeros(len(names), len(names), dtype=torch.uint8)
        for node in nodes:
            graph[node.parents, node.place] = 1
        values, held_out = self._rows(nodes, self.n_samples, "rows"), self._rows(nodes, self.n_held_out, "held-out rows")
        for name, column in zip(names, values.T, strict=True):
            expected = f"column {name} of {self.name} is constant in so few rows: raise it, or try another target.data.seed"
            require(not bool((column == column[0]).all()), "target.data.n_samples", self.n_samples, expected)
        return Table(names, values, held_out, graph, kind="categories", doubts=self._unseen(names, nodes, values))

    def _unseen(self, names: tuple[str, ...], nodes: list[Node], values: Tensor) -> tuple[str, ...]:
        """Return a sentence on the nodes some of whose states are in no row of values [N, d]; none where there are none."""
        n_states = {node.place: node.cumulative.shape[-1] for node in nodes}
        n_seen = {place: len(values[:, place].unique()) for place in n_states}
        lacking = [f"{n_seen[j]} of {n_states[j]} of {name}" for j, name in enumerate(names) if n_seen[j] < n_states[j]]
        if not lacking:
            return ()
        advice = "the score has no category for the others; raise it where they should count"
        return (f"target.data.n_samples={self.n_samples}: states in the rows are {listed(lacking, MOST_NAMED)}: {advice}",)

    def network(self) -> tuple[tuple[str, ...], list[Node]]:
        """Return the names in the order of the file, and the nodes in a topological order. Raises ConfigError."""
        import networkx

        model = self._model()
        names = tuple(map(str, model.nodes()))
        place = {name: j for j, name in enumerate(names)}
        nodes = []
        for name in networkx.topological_sort(model):
            table = model.get_cpds(name)  # probabilities [states, *parents' states], rounded in the file
            probabilities = torch.as_tensor(table.values, dtype=torch.float64).movedim(0, -1)
            cumulative = probabilities.cumsum(-1)
            nodes.append(Node(place[name], [place[p] for p in table.variables[1:]], cumulative / cumulative[..., -1:]))
        return names, nodes

    def _model(self) -> Any:
        try:
            import pgmpy
        except ModuleNotFoundError as error:
            if error.name != "pgmpy":
                raise
            expected = "its package is not installed: pip install 'gfn_vi[networks]'"
            raise ConfigError("target.data", "pgmpy_network", expected) from None
        from pgmpy.readwrite import BIFReader

        folder = files(pgmpy) / "utils" / "example_models"
        shipped = {file.name.removesuffix(SUFFIX): file for file in folder.iterdir() if file.name.endswith(SUFFIX)}
        require(self.name in shipped, "target.data.name", self.name, f"no such network; known are {KNOWN}")
        return BIFReader(string=gzip.decompress(shipped[self.name].read_bytes()).decode()).get_model()

    def _rows(self, nodes: list[Node], n_rows: int, stream: str) -> Tensor:
        """Return the states whose stretch of [0, 1) a uniform number falls in: [n_rows, d] float64."""
        uniform = torch.rand(n_rows, len(nodes), dtype=torch.float64, generator=generator(self.seed, stream))
        rows = torch.zeros(n_rows, len(nodes), dtype=torch.long)
        for node in nodes:
            cumulative = node.cumulative[tuple(rows[:, node.parents].T)]  # [n_rows, states], or [states] without parents
            rows[:, node.place] = (uniform[:, node.place, None] >= cumulative).sum(-1)
        return rows.double()
