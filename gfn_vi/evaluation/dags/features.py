"""Features of directed acyclic graphs, their probabilities under a distribution over graphs, and how two of these compare.

A feature is a matrix of booleans per graph: edges i -> j, paths i ~> j, and Markov blankets, whether j is a parent, a child or
another parent of a child of i (Friedman & Koller 2003). A marginal is its probability, sum over graphs G of P(G) feature_ij(G).
Matrices [d, d] have the tail as row and the head as column; S counts graphs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Probabilities this close are the same: the rounding of a float32 policy must neither break a tie nor make a correlation.
SAME = 1e-6


def markov_blankets(adjacency: Tensor) -> Tensor:
    """Return whether j is in the Markov blanket of i: edges [..., d, d] bool -> [..., d, d] bool, symmetric."""
    children = adjacency.float()
    spouses = children @ children.transpose(-1, -2) > 0  # a child in common
    return (adjacency | adjacency.transpose(-1, -2) | spouses) & ordered_pairs(adjacency)


def ordered_pairs(matrices: Tensor) -> Tensor:
    """Return which entries [i, j] of matrices [..., d, d] have i != j: [d, d] bool."""
    return ~torch.eye(matrices.shape[-1], dtype=torch.bool, device=matrices.device)


def marginals(features: Tensor, probability: Tensor) -> Tensor:
    """Return the probability of each feature: features [S, d, d] bool, probability [S, R] float64 -> [R, d, d] float64."""
    return (probability.T @ features.flatten(1).double()).unflatten(1, features.shape[1:])


def root_mean_square(errors: Tensor) -> Tensor:
    """Return the root of the mean square over the last axis: [..., P] -> [...]."""
    return errors.square().mean(-1).sqrt()


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of probabilities a, b [..., P] -> [...], also where one of them is constant (up to SAME).

    There it is 1 if they are the same and else 0: a constant says nothing of the order of the others.
    """
    a_deviation, b_deviation = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    a_spread, b_spread = root_mean_square(a_deviation), root_mean_square(b_deviation)
    constant = (a_spread <= SAME) | (b_spread <= SAME)
    product = (a_deviation * b_deviation).mean(-1) / (a_spread * b_spread).masked_fill(constant, 1.0)
    same = root_mean_square(a - b) <= SAME
    return torch.where(constant, same.to(product.dtype), product)


def structural_hamming_distance(adjacency: Tensor, true_graph: Tensor) -> Tensor:
    """Return how many pairs of nodes have a missing, an extra or a reversed edge: [..., d, d], [d, d] bool -> [...] float64."""
    wrong = adjacency != true_graph
    return (wrong | wrong.transpose(-1, -2)).triu(1).sum((-2, -1)).double()


def area_under_roc(edges: Tensor, true_graph: Tensor) -> Tensor:
    """Return the probability that a true edge has a larger marginal than a pair i != j that is none; ties count 1/2: [...].

    edges [..., d, d] float64, true_graph [d, d] bool with an edge or more. This is Mann and Whitney's statistic, by comparing all
    pairs; NaN where a marginal is.
    """
    present, absent = edges[..., true_graph], edges[..., ordered_pairs(edges) & ~true_graph]
    ahead = present[..., :, None] - absent[..., None, :]
    wins = (ahead > SAME).double() + (ahead >= -SAME).double()
    return (wins.mean((-2, -1)) / 2).masked_fill(edges.isnan().any(-1).any(-1), math.nan)
