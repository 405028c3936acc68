"""Completed partially directed graphs against the definition: an arrow where all graphs of the class have it."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from gfn_vi.analysis.pictures.graph_pictures import equivalence_classes
from gfn_vi.evaluation.dags.equivalence import cpdag


def all_dags(d: int) -> Tensor:
    """Every labeled directed acyclic graph of d nodes: [N, d, d] bool."""
    pairs = list(itertools.permutations(range(d), 2))
    graphs = torch.zeros(2 ** len(pairs), d, d, dtype=torch.bool)
    for k, (i, j) in enumerate(pairs):
        graphs[:, i, j] = torch.arange(len(graphs)) >> k & 1 == 1
    walks = graphs.float()
    for _ in range(d):
        walks = (walks @ graphs.float() + graphs.float()).clamp(max=1)
    return graphs[(walks.diagonal(dim1=1, dim2=2) == 0).all(1)]


def test_every_graph_of_four_nodes() -> None:
    """All 543 graphs, 185 classes (Gillispie & Perlman 2001): the union of a class's edges, and no other edge goes both ways."""
    graphs = all_dags(4)
    classes = torch.tensor(equivalence_classes(graphs.numpy()))
    assert (len(graphs), len(classes.unique())) == (543, 185)
    union = torch.stack([graphs[classes == one].any(0) for one in range(185)])
    assert torch.equal(cpdag(graphs), union[classes])


def test_meeks_third_rule() -> None:
    """a - b, a - c, a - d and c -> b <- d, c and d apart: a -> b, which rules 1 and 2 do not find."""
    graph = torch.zeros(1, 4, 4, dtype=torch.bool)
    a, b, c, d = range(4)
    for i, j in ((a, b), (a, c), (a, d), (c, b), (d, b)):
        graph[0, i, j] = True
    found = cpdag(graph)[0]
    assert (bool(found[a, b]), bool(found[b, a])) == (True, False)
    assert bool(found[a, c] & found[c, a] & found[a, d] & found[d, a])
    assert torch.equal(cpdag(graph[:0]), graph[:0])
