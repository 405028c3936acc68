"""Structure priors: log p(G) = sum over nodes of log prior(k), k the number of the node's parents; up to a constant.

    uniform: 0      edge: k log beta      fair: - log binomial(d - 1, k), so that all numbers of parents are equally likely
    Erdos-Renyi: k log p + (d - 1 - k) log(1 - p), p = edges_per_node d / (d (d - 1) / 2)

`fair` is of Eggeling et al. (2019), "On structure priors for learning Bayesian networks"; Erdos-Renyi as in Deleu et al. (2022).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from gfn_vi.core.errors import require


class GraphPrior(Protocol):
    """A prior over graphs by numbers of parents: what a choice of configs/graph_prior builds."""

    def __call__(self, n_parents: Tensor, n_nodes: int) -> Tensor:
        """Return the log-prior of a node with n_parents parents: [...] long -> [...] float64. Raises ConfigError."""
        ...


class Uniform:
    """The prior under which all graphs are equally likely."""

    def __call__(self, n_parents: Tensor, n_nodes: int) -> Tensor:
        """Return zeros: [...] long -> [...] float64."""
        return torch.zeros_like(n_parents, dtype=torch.float64)


class ErdosRenyiPrior:
    """The prior under which each of the d - 1 other nodes is a parent with the same probability."""

    def __init__(self, edges_per_node: float) -> None:
        """edges_per_node: expected number of edges / n_nodes, if every pair of nodes had one on its own."""
        require(edges_per_node > 0, "target.prior.edges_per_node", edges_per_node, "expected a number > 0")
        self.edges_per_node = edges_per_node

    def __call__(self, n_parents: Tensor, n_nodes: int) -> Tensor:
        """Return k log p + (d - 1 - k) log(1 - p), k = n_parents: [...] long -> [...] float64. Raises ConfigError for p >= 1."""
        limit = (n_nodes - 1) / 2
        # A probability of 1 would exclude the empty graph, and any cap below it would decide the posterior
        expected = f"expected less than {limit}: as many edges as {n_nodes} nodes have pairs"
        require(self.edges_per_node < limit, "target.prior.edges_per_node", self.edges_per_node, expected)
        probability = self.edges_per_node / limit
        k = n_parents.double()
        return k * math.log(probability) + (n_nodes - 1 - k) * math.log1p(-probability)


class Edge:
    """The prior under which every edge multiplies the probability of a graph by beta."""

    def __init__(self, beta: float) -> None:
        """beta: a factor > 0, below 1 for sparse graphs."""
        require(beta > 0, "target.prior.beta", beta, "expected a number > 0; 1 is the uniform prior")
        self.beta = beta

    def __call__(self, n_parents: Tensor, n_nodes: int) -> Tensor:
        """Return k log beta, k = n_parents: [...] long -> [...] float64."""
        return n_parents.double() * math.log(self.beta)


class Fair:
    """The prior under which all numbers of parents are equally likely, and so are all sets of a size."""

    def __call__(self, n_parents: Tensor, n_nodes: int) -> Tensor:
        """Return - log binomial(d - 1, k), k = n_parents: [...] long -> [...] float64."""
        k = n_parents.double()
        return torch.lgamma(k + 1) + torch.lgamma(n_nodes - k) - math.lgamma(n_nodes)
