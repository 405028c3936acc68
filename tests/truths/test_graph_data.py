"""Simulated tables are what they say: graphs, weights, covariances, streams of random numbers, conditional probabilities."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import math
import re
import sys
from importlib.resources import files
from typing import Any

import networkx
import pytest
import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.dags.data import ErdosRenyiData, LinearGaussianNetwork, ScaleFree
from gfn_vi.targets.dags.pgmpy_network import KNOWN, PgmpyNetwork

KINDS = {"erdos_renyi": ErdosRenyiData, "scale_free": ScaleFree}
SEEDS = range(300)
needs_pgmpy = pytest.mark.skipif(
    importlib.util.find_spec("pgmpy") is None, reason="NOT TESTED: pgmpy is not installed: pip install 'gfn_vi[networks]'"
)


def made(kind: str, **changed: Any) -> LinearGaussianNetwork:
    sizes = {"n_nodes": 6, "edges_per_node": 2, "weight_scale": 0.7, "noise_scale": 0.5, "n_samples": 20, "n_held_out": 10}
    return KINDS[kind](**{**sizes, "seed": 0, **changed})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_covariance_of_the_rows(kind: str, seed: int) -> None:
    """Of N rows with mean 0: s^2 (I - W)^-T (I - W)^-1, each entry within 5 standard errors, on both sides of the split."""
    n = 200_000
    data = made(kind, n_samples=n, n_held_out=n, seed=seed)
    inverse = torch.linalg.inv(torch.eye(6, dtype=torch.float64) - data.weights())
    expected = 0.25 * inverse.T @ inverse
    error = ((expected.diagonal()[:, None] * expected.diagonal() + expected**2) / n).sqrt()
    table = data.table()
    assert not torch.equal(table.values, table.held_out)
    for rows in (table.values, table.held_out):
        assert ((rows.T @ rows / n - expected).abs() < 5 * error).all()
    assert not torch.allclose(inverse, inverse.T)  # so that W and its transpose can be told apart


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_are_acyclic_and_their_order_is_topological(kind: str) -> None:
    for seed in SEEDS:
        graph, order = made(kind, seed=seed).graph()
        assert networkx.is_directed_acyclic_graph(networkx.from_numpy_array(graph.numpy(), create_using=networkx.DiGraph))
        assert (graph[order][:, order].tril() == 0).all()
        assert order.sort().values.tolist() == list(range(6))


@pytest.mark.parametrize(("n_nodes", "edges_per_node"), [(8, 1.0), (20, 2.5)])
def test_expected_number_of_edges(n_nodes: int, edges_per_node: float) -> None:
    """Binomial, in either direction between two nodes."""
    graphs = torch.stack(
        [made("erdos_renyi", n_nodes=n_nodes, edges_per_node=edges_per_node, seed=seed).graph()[0] for seed in SEEDS]
    )
    n_pairs = n_nodes * (n_nodes - 1) / 2
    p = edges_per_node * n_nodes / n_pairs
    error = math.sqrt(n_pairs * p * (1 - p) / len(SEEDS))
    assert abs(graphs.double().sum((1, 2)).mean().item() - n_nodes * edges_per_node) < 5 * error
    error = math.sqrt(p / 2 * (1 - p / 2) / len(SEEDS))
    for forward_or_back in (graphs[:, 0, 1], graphs[:, 1, 0]):
        assert abs(forward_or_back.double().mean().item() - p / 2) < 5 * error


@pytest.mark.parametrize("n_nodes", [2, 3])
def test_more_edges_than_there_are_pairs(n_nodes: int) -> None:
    for seed in range(20):
        graph = made("erdos_renyi", n_nodes=n_nodes, edges_per_node=1.0, seed=seed).graph()[0]
        assert graph.sum() == n_nodes * (n_nodes - 1) / 2


def test_labels_are_a_random_permutation_of_the_order() -> None:
    """Complete graphs of 3 nodes: each of the 6 orders equally often."""
    orders = [tuple(made("erdos_renyi", n_nodes=3, seed=seed).graph()[0].sum(0).tolist()) for seed in SEEDS]
    error = math.sqrt(1 / 6 * 5 / 6 / len(SEEDS))
    for order in itertools.permutations(range(3)):
        assert abs(orders.count(order) / len(SEEDS) - 1 / 6) < 5 * error


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_normal(kind: str) -> None:
    """Mean 0 and variance weight_scale^2 over the edges; 0 where there is none."""
    weights = []
    for seed in SEEDS:
        data = made(kind, seed=seed)
        graph = data.graph()[0].bool()
        assert torch.equal(data.weights() != 0, graph)
        weights.append(data.weights()[graph])
    values = torch.cat(weights) / 0.7
    assert abs(values.mean().item()) < 5 / math.sqrt(len(values))
    assert abs(values.square().mean().item() - 1) < 5 * math.sqrt(2 / len(values))


@pytest.mark.parametrize("kind", KINDS)
def test_without_weights_columns_are_noise_and_the_graph_stays(kind: str) -> None:
    data = made(kind, weight_scale=0.0, n_samples=100_000)
    table = data.table()
    expected = 0.25 * torch.eye(6, dtype=torch.float64)
    assert ((table.values.T @ table.values / 100_000 - expected).abs() < 5 * 0.25 * math.sqrt(2 / 100_000)).all()
    assert table.graph is not None
    assert torch.equal(table.graph, made(kind).graph()[0])
    assert table.graph.sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_those_of_their_seed(kind: str) -> None:
    table, again, other = made(kind).table(), made(kind).table(), made(kind, seed=1).table()
    assert table.names == ("X1", "X2", "X3", "X4", "X5", "X6")
    for name in ("values", "held_out", "graph"):
        assert torch.equal(getattr(table, name), getattr(again, name))
        assert not torch.equal(getattr(table, name), getattr(other, name))
    assert table.values.shape == (20, 6)
    assert table.held_out.shape == (10, 6)
    assert table.values.dtype == table.held_out.dtype == torch.float64
    assert table.graph is not None
    assert table.graph.dtype == torch.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_leave_the_rest_as_it_is(kind: str) -> None:
    data, longer, alone = made(kind), made(kind, n_samples=50), made(kind, n_held_out=0)
    for changed in (longer, alone):
        assert torch.equal(changed.weights(), data.weights())
        assert torch.equal(changed.graph()[0], data.graph()[0])
    assert torch.equal(longer.table().held_out, data.table().held_out)
    assert torch.equal(alone.table().values, data.table().values)
    assert alone.table().held_out.shape == (0, 6)


@pytest.mark.parametrize("m", [1, 3])
def test_scale_free_graphs_have_hubs_with_many_parents(m: int) -> None:
    """m edges leave every node but the first ones, and the largest in-degree is far from that of Erdos-Renyi graphs."""
    n = 60

    def largest(data: LinearGaussianNetwork) -> float:
        return float(data.graph()[0].sum(0).max())

    for seed in range(10):
        graph = made("scale_free", n_nodes=n, edges_per_node=m, seed=seed).graph()[0]
        assert graph.sum() == m * (n - m)
        assert sorted(graph.sum(1).tolist()) == [0] + [1] * m + [m] * (n - m - 1)
    scale_free = [largest(made("scale_free", n_nodes=n, edges_per_node=m, seed=seed)) for seed in range(30)]
    erdos_renyi = [largest(made("erdos_renyi", n_nodes=n, edges_per_node=m, seed=seed)) for seed in range(30)]
    assert sum(scale_free) > 1.5 * sum(erdos_renyi)


@pytest.mark.parametrize(
    ("kind", "changed", "expected"),
    [
        ("erdos_renyi", {"n_nodes": 1}, "target.data.n_nodes=1: expected a whole number >= 2"),
        ("erdos_renyi", {"edges_per_node": -1.0}, "target.data.edges_per_node=-1.0: expected a number >= 0"),
        ("scale_free", {"edges_per_node": 0}, r"target.data.edges_per_node=0: expected a whole number from 1 to 5"),
        ("scale_free", {"edges_per_node": 1.5}, r"target.data.edges_per_node=1.5: expected a whole number from 1 to 5"),
        ("scale_free", {"edges_per_node": 6}, r"target.data.edges_per_node=6: expected a whole number from 1 to 5"),
        ("scale_free", {"weight_scale": -1.0}, "target.data.weight_scale=-1.0: expected a standard deviation >= 0"),
        ("scale_free", {"noise_scale": 0.0}, "target.data.noise_scale=0.0: expected a standard deviation > 0"),
        ("erdos_renyi", {"n_samples": 0}, "target.data.n_samples=0: expected a whole number >= 1"),
        ("erdos_renyi", {"n_held_out": -1}, "target.data.n_held_out=-1: expected a whole number >= 0"),
        ("erdos_renyi", {"seed": -1}, "target.data.seed=-1: expected a whole number >= 0"),
    ],
)
def test_what_cannot_be_simulated(kind: str, changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        made(kind, **changed)


# Lauritzen & Spiegelhalter (1988); state 0 is yes.
ASIA = {
    *(("asia", "tub"), ("smoke", "lung"), ("smoke", "bronc"), ("tub", "either"), ("lung", "either")),
    *(("either", "xray"), ("either", "dysp"), ("bronc", "dysp")),
}


@needs_pgmpy
def test_asia_is_the_network_of_its_authors() -> None:
    """The edges, and published probabilities of yes within 5 standard errors."""
    table = PgmpyNetwork("asia", n_samples=200_000, n_held_out=7, seed=0).table()
    assert table.graph is not None
    assert {(table.names[i], table.names[j]) for i, j in table.graph.nonzero().tolist()} == ASIA
    assert table.held_out.shape == (7, 8)
    assert table.kind == "categories"
    yes = {name: column == 0 for name, column in zip(table.names, table.values.T, strict=True)}
    everyone = torch.ones(200_000, dtype=torch.bool)
    assert_frequency(yes["asia"], everyone, 0.01)
    assert_frequency(yes["smoke"], everyone, 0.5)
    assert_frequency(yes["tub"], yes["asia"], 0.05)
    assert_frequency(yes["lung"], yes["smoke"], 0.1)
    assert_frequency(yes["bronc"], ~yes["smoke"], 0.3)
    assert torch.equal(yes["either"], yes["tub"] | yes["lung"])
    assert_frequency(yes["xray"], yes["either"], 0.98)
    for bronc, either, probability in ((True, True, 0.9), (True, False, 0.8), (False, True, 0.7), (False, False, 0.1)):
        assert_frequency(yes["dysp"], (yes["bronc"] == bronc) & (yes["either"] == either), probability)


def assert_frequency(event: Tensor, given: Tensor, probability: float) -> None:
    n = int(given.sum())
    assert abs(event[given].double().mean().item() - probability) < 5 * math.sqrt(probability * (1 - probability) / n)


@needs_pgmpy
def test_every_conditional_frequency_of_sachs() -> None:
    """By pgmpy's own lookup of each conditional probability, for every state of the parents."""
    from pgmpy.readwrite import BIFReader

    model = BIFReader(string=shipped("sachs")).get_model()
    table = PgmpyNetwork("sachs", n_samples=100_000, n_held_out=0, seed=3).table()
    column = {name: table.values[:, j].long() for j, name in enumerate(table.names)}
    n_compared = 0
    for cpd in model.get_cpds():
        node, *parents = cpd.variables
        states = cpd.state_names
        for chosen in itertools.product(*(range(len(states[p])) for p in parents)):
            given = torch.ones(100_000, dtype=torch.bool)
            for parent, state in zip(parents, chosen, strict=True):
                given &= column[parent] == state
            for state in range(len(states[node])):
                assignment = {p: states[p][s] for p, s in zip(parents, chosen, strict=True)} | {node: states[node][state]}
                probability, n = float(cpd.get_value(**assignment)), int(given.sum())
                if n * probability * (1 - probability) > 10:
                    assert_frequency(column[node] == state, given, probability)
                    n_compared += 1
    assert n_compared > 100


@needs_pgmpy
def test_networks_are_those_of_their_seed() -> None:
    tables = [PgmpyNetwork("cancer", 200, n, seed).table() for n, seed in ((50, 0), (0, 0), (50, 1))]
    assert torch.equal(tables[0].values, tables[1].values)
    assert not torch.equal(tables[0].values, tables[2].values)
    assert not torch.equal(tables[0].values[:50], tables[0].held_out)


def shipped(name: str) -> str:
    return gzip.decompress((files("pgmpy") / "utils" / "example_models" / f"{name}.bif.gz").read_bytes()).decode()


@needs_pgmpy
def test_the_networks_that_are_named_are_there() -> None:
    known = re.findall(r"(\w+) \((\d+)", KNOWN)
    assert len(known) == KNOWN.count("(")
    for name, size in known:
        assert len(re.findall(r"^variable", shipped(name), re.MULTILINE)) == int(size), name


@needs_pgmpy
def test_a_network_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"target.data.name=sach: no such network; known are cancer \(5 nodes\), .*sachs"):
        PgmpyNetwork("sach", 10, 0, 0).table()


@needs_pgmpy
def test_so_few_rows_that_a_column_is_constant() -> None:
    with pytest.raises(ConfigError, match=r"target.data.n_samples=3: column \w+ of asia is constant in so few rows: raise it"):
        PgmpyNetwork("asia", 3, 0, 0).table()


@needs_pgmpy
def test_states_that_no_row_has_are_told() -> None:
    """BDe counts the categories that it sees: with a state more, the prior of each is another."""
    assert PgmpyNetwork("sachs", 3000, 0, 0).table().doubts == ()
    found = PgmpyNetwork("sachs", 12, 0, 0).table()
    (said,) = found.doubts
    seen = {name: len(column.unique()) for name, column in zip(found.names, found.values.T, strict=True)}
    lacking = [f"{n} of 3 of {name}" for name, n in seen.items() if n < 3]
    assert lacking
    assert said.startswith(f"target.data.n_samples=12: states in the rows are {', '.join(lacking[:5])}")
    assert "raise it where they should count" in said


def test_without_pgmpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgmpy", None)
    said = r"target.data=pgmpy_network: its package is not installed: pip install 'gfn_vi\[networks\]'"
    with pytest.raises(ConfigError, match=said):
        PgmpyNetwork("asia", 10, 0, 0).table()
