"""Theorems 1 to 6 on densities of one dimension, by sums on a line; and the same with a mistake, which must not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from building import generators
from densities import Bumps, make, spread

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies
from gfn_vi.evaluation.exact.line_graph import line_graph
from gfn_vi.evaluation.exact.quadrature import Quadrature
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.samplers.continuous.sampler import ContinuousSampler
from gfn_vi.verification.junctions import junction_choices
from gfn_vi.verification.table import by_quadrature, line_through
from gfn_vi.verification.theorems import Theorems
from gfn_vi.verification.windows import NodeFlows, node_flows, windows

TOLERANCE = 1e-9
TARGET = Bumps(1)
SMALL = ("hidden=[6]", "n_frequencies=3")
SAMPLERS = {
    "bridge": ("diffusion", *SMALL, "n_steps=5"),
    "learned": ("diffusion", *SMALL, "n_steps=4", "backward=learned", "learn_noise=true", "log_variance_range=1.0"),
    "langevin": ("diffusion", *SMALL, "n_steps=3", "langevin=scalar", "noise=geometric", "sigma_end=0.5"),
    "variance_preserving": ("variance_preserving", *SMALL, "n_steps=4", "start_std=1.5", "backward=learned"),
    "chain": ("gaussian_chain", "hidden=[6]", "n_layers=3"),
    "mean_field": ("mean_field",),
    "mixture": ("gaussian_mixture_family", "n_components=3"),
}


def sampler_of(name: str) -> ContinuousSampler:
    return spread(make(*SAMPLERS[name], target=TARGET, n_replicas=2), size=0.03 if name == "chain" else 0.1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_theorems_hold_and_controls_fail(name: str) -> None:
    sampler = sampler_of(name)
    graph = line_through(sampler, TARGET, Quadrature(None, None, None))
    junctions = junction_choices(sampler.n_steps, None, 0)
    checks = list(by_quadrature(sampler, graph, generators(0, 2), 20, junctions, controls=True))
    for check in checks:
        assert check.holds(TOLERANCE), (check.claim, check.left, check.right, check.error)
    backward = name in ("learned", "variance_preserving", "chain")
    assert [check.theorem for check in checks if check.theorem] == [1, 2, 3, 4, *[5] * len(junctions), 6, 6, 6, 6]
    assert len(junctions) == (1 if sampler.n_steps == 1 else 3)
    assert [check.theorem for check in checks if check.is_empty] == ([] if backward else [2, 3])
    assert sum(check.must_fail for check in checks) == (4 if backward else 2)
    assert all(float(check.right.abs().min()) > 1e-4 for check in checks if not check.is_empty)


def test_theorems_of_gradients_need_a_line_that_holds_the_mass() -> None:
    """Where the line is cut short the scores have no mean of zero: theorem 1 is off, as the quadrature that refuses it says."""
    sampler = sampler_of("bridge")
    whole = line_through(sampler, TARGET, Quadrature(None, None, None))
    with pytest.raises(ConfigError, match=r"evaluation\.quadrature\.high=2\.0: the line from there misses a probability of"):
        line_through(sampler, TARGET, Quadrature(None, 2.0, None))
    nodes = whole.nodes[:, 0]
    inside = nodes[nodes < 2.0]
    short = line_graph(inside, sampler.n_steps, TARGET.log_reward(inside[:, None]))
    first = next(iter(by_quadrature(sampler, short, generators(0, 2), 1, {}, controls=False)))
    assert float(first.error.min()) > 1e-3


@pytest.mark.parametrize("name", ["learned", "bridge"])
def test_theorem_5_needs_flows_that_end_before_the_line_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With flows of order one at all nodes windows begin at the ends of the line, and what leaves it from there is missed."""
    sampler = sampler_of(name)
    theorems = Theorems(ExactGradients(sampler, line_through(sampler, TARGET, Quadrature(None, None, None))))
    layers = junction_choices(sampler.n_steps, None, 0)["all layers (detailed balance)"]
    assert theorems.proposition_2(layers, "").holds(TOLERANCE)

    def everywhere(policies: EdgePolicies) -> NodeFlows:
        here = node_flows(policies)
        return replace(here, states=torch.linspace(0, 9, len(here.states), dtype=torch.float64).sin())

    monkeypatch.setattr("gfn_vi.verification.theorems.node_flows", everywhere)
    assert float(theorems.proposition_2(layers, "").error.min()) > 1e-4


def test_the_last_window_ends_where_the_reward_is_paid() -> None:
    """Without a junction inside it is all trajectories: its divergences are those of P_F and P_B, whatever the flows."""
    sampler = sampler_of("learned")
    exact = ExactGradients(sampler, line_through(sampler, TARGET, Quadrature(None, None, None)))
    graph = exact.graph
    (window,) = windows(exact.policies, [0, sampler.n_steps], node_flows(exact.policies))
    assert window.policies.graph.n_states == graph.n_states
    for role, measure in ((Role.FORWARD, "P_F"), (Role.BACKWARD, "P_B")):
        expectations = exact.under(measure)
        kl = expectations.kl_forward_backward() if role is Role.FORWARD else expectations.kl_backward_forward()
        torch.testing.assert_close(window.divergence(role), kl, rtol=1e-9, atol=1e-11)


def test_the_sampler_is_left_as_it_was() -> None:
    sampler = sampler_of("learned")
    before = {name: value.clone() for name, value in sampler.state_dict().items()}
    graph = line_through(sampler, TARGET, Quadrature(None, None, None))
    list(by_quadrature(sampler, graph, generators(0, 2), 2, junction_choices(sampler.n_steps, None, 0), controls=True))
    for name, value in sampler.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)
