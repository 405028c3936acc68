"""Tables to learn a graph from, and random linear-Gaussian networks that draw them (paper, section 4.3).

    x_j = sum_{i -> j} W_ij x_i + noise_scale e_j,    W_ij ~ N(0, weight_scale^2),    e_j ~ N(0, 1)

so that rows are N(0, noise_scale^2 (I - W)^-T (I - W)^-1). Graph, weights, training rows and held-out rows are drawn from
generators of their own: more rows, or other ones, leave the network as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import derived_seed
from gfn_vi.core.seeds import is_whole


@dataclass(frozen=True)
class Table:
    """Rows of d variables. `values` is what the score of training sees, `held_out` what it never sees."""

    names: tuple[str, ...]  # d
    values: Tensor  # [N, d] float64
    held_out: Tensor  # [N', d] float64, N' may be 0
    graph: Tensor | None  # [d, d] uint8, 1 at [i, j] for i -> j in truth; None where nobody knows


class Data(Protocol):
    """A choice of configs/data."""

    def table(self) -> Table:
        """The same table at every call. Raises ConfigError."""
        ...


def generator(seed: int, stream: str) -> torch.Generator:
    """Return the generator of one purpose; streams of the same seed share nothing."""
    return torch.Generator().manual_seed(derived_seed(seed, f"data/{stream}"))


def check_sizes(n_samples: int, n_held_out: int, seed: int) -> None:
    """Check the sizes and the seed of simulated tables. Raises ConfigError."""
    require(n_samples >= 1, "target.data.n_samples", n_samples, "expected a whole number >= 1")
    require(n_held_out >= 0, "target.data.n_held_out", n_held_out, "expected a whole number >= 0")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raises ConfigError for what is no seed of a table."""
    require(is_whole(seed) and seed >= 0, "target.data.seed", seed, "expected a whole number >= 0")


class LinearGaussian(ABC):
    """The base of the random networks below: it draws weights, noise and rows. The shape of the graph is theirs."""

    def __init__(self, n_nodes: int, weight_scale: float, noise_scale: float, n_samples: int, n_held_out: int, seed: int) -> None:
        """weight_scale, noise_scale: standard deviations; n_samples: N; n_held_out: N'."""
        require(n_nodes >= 2, "target.data.n_nodes", n_nodes, "expected a whole number >= 2: a graph needs two nodes")
        require(weight_scale >= 0, "target.data.weight_scale", weight_scale, "expected a standard deviation >= 0")
        require(noise_scale > 0, "target.data.noise_scale", noise_scale, "expected a standard deviation > 0")
        check_sizes(n_samples, n_held_out, seed)
        self.n_nodes, self.weight_scale, self.noise_scale = n_nodes, weight_scale, noise_scale
        self.n_samples, self.n_held_out, self.seed = n_samples, n_held_out, seed

    @abstractmethod
    def skeleton(self, rng: torch.Generator) -> Tensor:
        """Edges between places of an order, [d, d] bool, above the diagonal only."""

    def graph(self) -> tuple[Tensor, Tensor]:
        """(edges [d, d] uint8, the nodes in topological order [d] long)."""
        rng = generator(self.seed, "graph")
        order = torch.randperm(self.n_nodes, generator=rng)
        place = order.argsort()
        return self.skeleton(rng)[place][:, place].to(torch.uint8), order

    def weights(self) -> Tensor:
        """W_ij of the edge i -> j, 0 where there is none: [d, d] float64."""
        shape = (self.n_nodes, self.n_nodes)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator(self.seed, "weights"))
        return self.weight_scale * normal * self.graph()[0]

    def table(self) -> Table:
        """Rows drawn node by node, parents first."""
        names = tuple(f"X{j + 1}" for j in range(self.n_nodes))
        values, held_out = self._rows(self.n_samples, "rows"), self._rows(self.n_held_out, "held-out rows")
        return Table(names, values, held_out, self.graph()[0])

    def _rows(self, n_rows: int, stream: str) -> Tensor:
        weights, shape = self.weights(), (n_rows, self.n_nodes)
        rows = self.noise_scale * torch.randn(shape, dtype=torch.float64, generator=generator(self.seed, stream))
        for node in self.graph()[1].tolist():
            rows[:, node] += rows @ weights[:, node]
        return rows


class ErdosRenyiData(LinearGaussian):
    """Every pair of nodes has an edge with the same probability, along a random order."""

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
        """edges_per_node: expected number of edges / n_nodes; all pairs have one where that is more than there are."""
        super().__init__(n_nodes, weight_scale, noise_scale, n_samples, n_held_out, seed)
        require(edges_per_node >= 0, "target.data.edges_per_node", edges_per_node, "expected a number >= 0")
        self.probability = min(1.0, 2 * edges_per_node / (n_nodes - 1))

    def skeleton(self, rng: torch.Generator) -> Tensor:
        """Each pair on its own."""
        uniform = torch.rand(self.n_nodes, self.n_nodes, dtype=torch.float64, generator=rng)
        return (uniform < self.probability).triu(1)


class ScaleFree(LinearGaussian):
    """Barabasi & Albert (1999): every node chooses earlier ones in proportion to their number of edges.

    Edges lead from the new node to the old ones, as in Zheng et al. (2018): the hubs are effects of many causes.
    """

    def __init__(
        self,
        n_nodes: int,
        edges_per_node: int,
        weight_scale: float,
        noise_scale: float,
        n_samples: int,
        n_held_out: int,
        seed: int,
    ) -> None:
        """edges_per_node: of every node but the first ones; edges_per_node * (n_nodes - edges_per_node) in all."""
        super().__init__(n_nodes, weight_scale, noise_scale, n_samples, n_held_out, seed)
        expected = f"expected a whole number from 1 to {n_nodes - 1} (number of nodes - 1): a node chooses that many others"
        require(1 <= edges_per_node < n_nodes, "target.data.edges_per_node", edges_per_node, expected)
        self.edges_per_node = edges_per_node

    def skeleton(self, rng: torch.Generator) -> Tensor:
        """The newest node is first in the order."""
        import networkx

        seed = int(torch.randint(2**31, (), generator=rng))
        undirected = networkx.barabasi_albert_graph(self.n_nodes, self.edges_per_node, seed=seed)
        edges = torch.zeros(self.n_nodes, self.n_nodes, dtype=torch.bool)
        for pair in undirected.edges:  # nodes are numbered by age
            edges[self.n_nodes - 1 - max(pair), self.n_nodes - 1 - min(pair)] = True
        return edges
