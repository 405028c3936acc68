"""Structure priors against what they say of all graphs or of all sets of parents."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import choices, composed
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.dags.priors import Edge, ErdosRenyiPrior, Fair, GraphPrior, Uniform

EXACT = {"rtol": 1e-13, "atol": 1e-13}
PRIORS: dict[str, GraphPrior] = {"uniform": Uniform(), "erdos_renyi": ErdosRenyiPrior(0.8), "edge": Edge(0.3), "fair": Fair()}


def bits(d: int) -> Tensor:
    """All sets of parents of one node: [2^(d-1), d-1] long."""
    return torch.arange(2 ** (d - 1))[:, None] >> torch.arange(d - 1) & 1


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_every_choice_is_tested_here() -> None:
    assert choices("graph_prior") == sorted(PRIORS)


@pytest.mark.parametrize("d", [3, 6])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_any_shape_in_float64(prior: GraphPrior, d: int) -> None:
    n_parents = bits(d).sum(-1)
    found = prior(n_parents, d)
    assert found.dtype == torch.float64
    assert torch.equal(prior(n_parents.view(2, 2, -1), d).flatten(), found)


@pytest.mark.parametrize("d", [3, 6])
def test_uniform_says_nothing(d: int) -> None:
    assert not bool(Uniform()(bits(d).sum(-1), d).any())


@pytest.mark.parametrize("d", [3, 6])
def test_erdos_renyi_is_a_coin_for_every_other_node(d: int) -> None:
    """Sets have probabilities that sum to 1, with 2 edges_per_node parents in expectation: two orders of each pair."""
    sets = bits(d)
    p = number(0.8 * d / math.comb(d, 2))
    found = ErdosRenyiPrior(0.8)(sets.sum(-1), d)
    torch.testing.assert_close(found, p.where(sets == 1, 1 - p).log().sum(-1), **EXACT)
    probabilities = found.exp()
    torch.testing.assert_close(probabilities.sum(), number(1.0), **EXACT)
    torch.testing.assert_close((probabilities * sets.sum(-1)).sum(), number(1.6), **EXACT)


@pytest.mark.parametrize("d", [3, 6])
def test_edge_multiplies_by_beta(d: int) -> None:
    product = number(0.3).where(bits(d) == 1, 1.0).prod(-1)
    torch.testing.assert_close(Edge(0.3)(bits(d).sum(-1), d).exp(), product, **EXACT)


@pytest.mark.parametrize("d", [3, 6])
def test_fair_makes_every_number_of_parents_equally_likely(d: int) -> None:
    n_parents = bits(d).sum(-1)
    mass = torch.zeros(d, dtype=torch.float64).index_add_(0, n_parents, Fair()(n_parents, d).exp())
    torch.testing.assert_close(mass, torch.ones(d, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize(("prior", "message"), [
    (lambda: ErdosRenyiPrior(0.0), r"^target\.prior\.edges_per_node=0\.0: expected a number > 0"),
    (lambda: ErdosRenyiPrior(1.0)(torch.tensor([0]), 3),
     r"^target\.prior\.edges_per_node=1\.0: expected less than 1\.0: .* 3 nodes"),
    (lambda: Edge(-1.0), r"^target\.prior\.beta=-1\.0: expected a number > 0"),
])  # fmt: skip
def test_what_is_no_prior_is_refused(prior: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prior()


def test_configs_make_them() -> None:
    targets = {composed("target=dag", f"graph_prior@target.prior={name}").target.prior["_target_"] for name in PRIORS}
    assert targets == {f"gfn_vi.targets.dags.priors.{type(prior).__name__}" for prior in PRIORS.values()}
