"""What is remembered is what would be computed: full table, cache and no memory against a loop over nodes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from gfn_vi.targets.dags import local_scores
from gfn_vi.targets.dags.local_scores import LocalScores
from gfn_vi.targets.dags.priors import Edge

BETA = 0.4


class Bumpy:
    """A local score that differs from set to set and from node to node; counts what it is asked."""

    def __init__(self) -> None:
        self.n_asked = 0

    def __call__(self, nodes: Tensor, parents: Tensor) -> Tensor:
        self.n_asked += len(nodes)
        places = torch.arange(1, parents.shape[1] + 1).double()
        return 10 * ((parents * places.sqrt()).sum(-1) + 2.3 * nodes.double()).sin()

    def to(self, device: object) -> Bumpy:
        return copy.copy(self)


def random_graphs(n_graphs: int, d: int, density: float, seed: int = 0) -> Tensor:
    """Acyclic along a random order: [n, d, d] uint8."""
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(n_graphs, d, d, generator=generator) < density).triu(1).to(torch.uint8)
    order = torch.randperm(d, generator=generator)
    return edges[:, order][:, :, order]


def looped(graph: Tensor) -> tuple[float, float]:
    """(log R, log-likelihood) of one graph."""
    d, columns = len(graph), graph.T.tolist()
    total = likelihood = 0.0
    for j in range(d):
        parents = [i for i in range(d) if columns[j][i]]
        local = 10 * math.sin(sum(math.sqrt(i + 1) for i in parents) + 2.3 * j)
        likelihood += local
        total += local + len(parents) * math.log(BETA) - 10 * math.sin(2.3 * j)
    return total, likelihood


def assert_right(scores: LocalScores, graphs: Tensor) -> None:
    wanted = torch.tensor([looped(graph) for graph in graphs.reshape(-1, *graphs.shape[-2:])], dtype=torch.float64)
    for found, expected in ((scores.total(graphs), wanted[:, 0]), (scores.log_likelihood(graphs), wanted[:, 1])):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found.flatten(), expected, rtol=1e-12, atol=1e-11)


def make(monkeypatch: pytest.MonkeyPatch, kind: str, d: int, max_parents: int | None = None) -> tuple[LocalScores, Bumpy]:
    """A table, a cache, a cache so small that it forgets, or no memory."""
    if kind != "table":
        monkeypatch.setattr(local_scores, "MOST_NODES_OF_A_FULL_TABLE", 0)
    if kind == "small cache":
        monkeypatch.setattr(local_scores, "FIRST_SLOTS", 4)
        monkeypatch.setattr(local_scores, "MOST_SLOTS", 16)
    if kind == "growing cache":
        monkeypatch.setattr(local_scores, "FIRST_SLOTS", 4)
    if kind == "no memory":
        monkeypatch.setattr(local_scores, "MOST_NODES_OF_A_KEY", 0)
    local = Bumpy()
    return LocalScores(local, Edge(BETA), d, d - 1 if max_parents is None else max_parents), local


KINDS = ("table", "cache", "growing cache", "small cache", "no memory")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_over_nodes_whatever_is_remembered(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call after call, with graphs seen before and new ones, of any leading shape and any type."""
    scores, _ = make(monkeypatch, kind, 6)
    for call in range(6):
        graphs = random_graphs(24, 6, 0.5, call // 2)
        assert_right(scores, graphs)
        assert_right(scores, graphs.view(2, 3, 4, 6, 6).bool())
    assert_right(scores, graphs[0])
    empty = torch.zeros(6, 6, dtype=torch.uint8)
    assert float(scores.total(empty)) == 0.0


@pytest.mark.parametrize("d", [2, 12, 24, 25, 57, 58, 70])
def test_few_nodes_and_many(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to make masks, at the sizes where it begins and ends; sparse graphs and the full one."""
    scores, _ = make(monkeypatch, "as it comes" if d > 11 else "table", d)
    graphs = torch.cat([random_graphs(6, d, 0.1), torch.ones(1, d, d, dtype=torch.uint8).triu(1)])
    assert_right(scores, graphs)
    assert_right(scores, graphs.transpose(-1, -2))


@pytest.mark.parametrize("kind", ["cache", "growing cache"])
def test_a_cache_asks_once_for_each_set(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once but for the sets that another one has driven from its slot: few, as at most a quarter of the slots are full."""
    scores, local = make(monkeypatch, kind, 9)
    graphs = random_graphs(60, 9, 0.5)
    different = {(j, tuple(graph[:, j].tolist())) for graph in graphs for j in range(9)}
    scores.total(graphs)
    assert local.n_asked == 9 + len(different)
    local.n_asked = 0
    scores.total(graphs.flip(0))
    assert local.n_asked < 0.2 * len(different)


def test_a_cache_takes_what_it_knows_along_when_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 4 slots upwards, a few graphs at a time: what was asked early is not asked again."""
    scores, local = make(monkeypatch, "growing cache", 9)
    graphs = random_graphs(60, 9, 0.5)
    sizes = {len(scores._keys)}
    for few in graphs.split(5):
        scores.total(few)
        sizes.add(len(scores._keys))
    assert len(sizes) > 2
    scores.total(graphs)
    different = {(j, tuple(graph[:, j].tolist())) for graph in graphs for j in range(9)}
    assert len(different) <= local.n_asked - 9 < 1.15 * len(different)


def test_a_table_asks_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, local = make(monkeypatch, "table", 6)
    assert local.n_asked == 6 + 6 * 2**5
    scores.total(random_graphs(10, 6, 0.5))
    assert local.n_asked == 6 + 6 * 2**5


def test_a_cache_never_has_more_slots_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, _ = make(monkeypatch, "small cache", 8)
    scores.total(random_graphs(60, 8, 0.5))
    assert len(scores._keys) == 16


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_of_too_many_parents_has_no_reward(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, _ = make(monkeypatch, kind, 6, max_parents=2)
    graphs = random_graphs(40, 6, 0.5)
    fits = (graphs.sum(1) <= 2).all(1)
    assert 0 < int(fits.sum()) < 40
    assert_right(scores, graphs[fits])
    assert bool((scores.total(graphs[~fits]) == -torch.inf).all())


@pytest.mark.parametrize("kind", ["table", "cache"])
def test_copies_share_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, _ = make(monkeypatch, kind, 6)
    graphs = random_graphs(20, 6, 0.5)
    assert_right(scores, graphs[:10])
    for other in (scores.to("cpu"), copy.deepcopy(scores)):
        assert other._values.data_ptr() != scores._values.data_ptr()
        assert_right(other, graphs)
    assert_right(scores, graphs)
