"""Tables to learn a graph from, and random linear-Gaussian networks that draw them (arXiv 2210.00580, section 4.3).

    x_j = sum_{i -> j} W_ij x_i + noise_scale e_j,    W_ij ~ N(0, weight_scale^2),    e_j ~ N(0, 1)

so that rows are N(0, noise_scale^2 (I - W)^-T (I - W)^-1). Graph, weights, training rows and held-out rows are drawn from
generators of their own: more rows, or other ones, leave the network as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import derived_seed
from gfn_vi.core.seeds import is_whole


@dataclass(frozen=True)
class Table:
    """Rows of d variables: `values` is what the score of training sees, `held_out` what it never sees."""

    names: tuple[str, ...]  # d
    values: Tensor  # [N, d] float64
    held_out: Tensor  # [N', d] float64, N' may be 0
    graph: Tensor | None  # [d, d] uint8, 1 at [i, j] for i -> j in truth; None where nobody knows
    kind: Literal["numbers", "categories"] | None = None  # None where nobody knows
    few_values: Mapping[str, int] = field(default_factory=dict)  # columns of few whole numbers before scaling, and how many
    doubts: tuple[str, ...] = ()  # what looks wrong about the columns, a sentence each


class Data(Protocol):
    """A source of tables: each choice of configs/data builds one."""

    def table(self) -> Table:
        """Return the same table at every call. Raises ConfigError."""
        ...


def generator(seed: int, stream: str) -> torch.Generator:
    """Return the generator of a stream, which shares nothing with the other streams of the same seed."""
    return torch.Generator().manual_seed(derived_seed(seed, f"data/{stream}"))


def check_sizes(n_samples: int, n_held_out: int, seed: int) -> None:
    """Check the sizes and the seed of simulated tables. Raises ConfigError."""
    require(n_samples >= 1, "target.data.n_samples", n_samples, "expected a whole number >= 1")
    require(n_held_out >= 0, "target.data.n_held_out", n_held_out, "expected a whole number >= 0")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Check that the seed of a table is a whole number >= 0. Raises ConfigError."""
    require(is_whole(seed) and seed >= 0, "target.data.seed", seed, "expected a whole number >= 0")


class LinearGaussianNetwork(ABC):
    """The base of random linear-Gaussian networks: it draws weights, noise and rows. The shape of the graph is the subclass's."""

    def __init__(
        self,
        n_nodes: int,
        edges_per_node: float,
        weight_scale: float,
        noise_scale: float,
        n_samples: int,
        n_held_out: int,
        seed: int,
    ) -> None:
        """edges_per_node: the subclass says of which nodes; weight_scale, noise_scale: standard deviations.

        n_samples: N, rows that the score sees; n_held_out: N', further ones; seed: of the network and its rows.
        """
        require(n_nodes >= 2, "target.data.n_nodes", n_nodes, "expected a whole number >= 2: a graph needs two nodes")
        require(weight_scale >= 0, "target.data.weight_scale", weight_scale, "expected a standard deviation >= 0")
        require(noise_scale > 0, "target.data.noise_scale", noise_scale, "expected a standard deviation > 0")
        check_sizes(n_samples, n_held_out, seed)
        self.n_nodes, self.edges_per_node = n_nodes, edges_per_node
        self.weight_scale, self.noise_scale = weight_scale, noise_scale
        self.n_samples, self.n_held_out, self.seed = n_samples, n_held_out, seed
        self.check_edges()

    @abstractmethod
    def check_edges(self) -> None:
        """Check edges_per_node against n_nodes. Raises ConfigError."""

    @abstractmethod
    def skeleton(self, rng: torch.Generator) -> Tensor:
        """Draw the edges between the places of an order: [d, d] bool, above the diagonal only."""

    def graph(self) -> tuple[Tensor, Tensor]:
        """Return the edges [d, d] uint8 and the nodes in a topological order [d] long."""
        rng = generator(self.seed, "graph")
        order = torch.randperm(self.n_nodes, generator=rng)
        place = order.argsort()
        return self.skeleton(rng)[place][:, place].to(torch.uint8), order

    def weights(self) -> Tensor:
        """Return W_ij of the edge i -> j, 0 where there is none: [d, d] float64."""
        shape = (self.n_nodes, self.n_nodes)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator(self.seed, "weights"))
        return self.weight_scale * normal * self.graph()[0]

    def table(self) -> Table:
        """Return names, graph and rows, which are drawn node by node, parents first."""
        names = tuple(f"X{j + 1}" for j in range(self.n_nodes))
        values, held_out = self._rows(self.n_samples, "rows"), self._rows(self.n_held_out, "held-out rows")
        return Table(names, values, held_out, self.graph()[0], kind="numbers")

    def _rows(self, n_rows: int, stream: str) -> Tensor:
        weights, shape = self.weights(), (n_rows, self.n_nodes)
        rows = self.noise_scale * torch.randn(shape, dtype=torch.float64, generator=generator(self.seed, stream))
        for node in self.graph()[1].tolist():
            rows[:, node] += rows @ weights[:, node]
        return rows


class ErdosRenyiData(LinearGaussianNetwork):
    """Every pair of nodes has an edge with the same probability, along a random order.

    The expected number of edges is edges_per_node * n_nodes, or that of all pairs where it is less.
    """

    def check_edges(self) -> None:
        """Check that edges_per_node is no negative number. Raises ConfigError."""
        require(self.edges_per_node >= 0, "target.data.edges_per_node", self.edges_per_node, "expected a number >= 0")

    def skeleton(self, rng: torch.Generator) -> Tensor:
        """Draw each pair on its own: [d, d] bool."""
        probability = min(1.0, 2 * self.edges_per_node / (self.n_nodes - 1))
        uniform = torch.rand(self.n_nodes, self.n_nodes, dtype=torch.float64, generator=rng)
        return (uniform < probability).triu(1)


class ScaleFree(LinearGaussianNetwork):
    """Barabasi & Albert (1999): every node chooses edges_per_node earlier ones in proportion to their number of edges.

    Edges lead from the new node to the old ones, as in Zheng et al. (2018): the hubs are effects of many causes. The first
    edges_per_node nodes choose none, so there are edges_per_node * (n_nodes - edges_per_node) edges.
    """

    def check_edges(self) -> None:
        """Check that so many other nodes can be chosen. Raises ConfigError."""
        most, found = self.n_nodes - 1, self.edges_per_node
        expected = f"expected a whole number from 1 to {most} (number of nodes - 1): a node chooses that many others"
        require(is_whole(found) and 1 <= found <= most, "target.data.edges_per_node", found, expected)

    def skeleton(self, rng: torch.Generator) -> Tensor:
        """Draw the graph of Barabasi & Albert, the newest node first in the order: [d, d] bool."""
        import networkx

        seed = int(torch.randint(2**31, (), generator=rng))
        undirected = networkx.barabasi_albert_graph(self.n_nodes, int(self.edges_per_node), seed=seed)
        edges = torch.zeros(self.n_nodes, self.n_nodes, dtype=torch.bool)
        for pair in undirected.edges:  # nodes are numbered by age
            edges[self.n_nodes - 1 - max(pair), self.n_nodes - 1 - min(pair)] = True
        return edges
