"""Exact metrics of float32 policies stay in their ranges: what the networks say is normalized in float64 before it is summed."""

from __future__ import annotations

import math

import pytest
import torch
from building import generators, make_target
from measuring import measured

from gfn_vi.core.protocols import EnumerableTarget
from gfn_vi.evaluation.exact.ancestors import ancestor_graph, log_terminating_probability
from gfn_vi.evaluation.exact.dynamic_programming import EdgePolicies, backward_pass, terminating_probability
from gfn_vi.evaluation.exact.enumeration import enumerate_policies
from gfn_vi.evaluation.exact.metrics import RANGES, ExactMetrics, without_rounding
from gfn_vi.evaluation.exact.tables import policies_on_graph, tilted_on_graph
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.exploration.tilted import EpsilonUniform, StopBias, Tempered
from gfn_vi.samplers.discrete.tabular import TabularSampler
from gfn_vi.verification.check import Check
from gfn_vi.verification.theorems import Theorems

R = 16


def well_trained(target: EnumerableTarget, dtype: torch.dtype = torch.float32, noise: float = 1e-6) -> TabularSampler:
    """A sampler with a random P_B and logits of P_F that are its flow, rounded to the type, but for some noise in nats."""
    graph = target.state_graph()
    rng = generators(0, R, "initialization", dtype=dtype)
    sampler = TabularSampler(target, rng, scale=1.0, backward="learned", flow=False, log_Z=0.0)
    with torch.no_grad():
        log_pb = policies_on_graph(sampler, graph).log_pb
        reward = graph.log_reward.exp()[:, None].expand(-1, R)
        flow = backward_pass(graph, log_pb.exp(), reward)
        edge = (log_pb + flow[graph.target].log()).to(dtype)
        sampler.forward_table[:, graph.source, graph.forward_action] = edge.T
        sampler.forward_table[:, :, -1] = graph.log_reward.to(dtype)
        sampler.forward_table += noise * rng.normal(*sampler.forward_table.shape[1:])
    return sampler


@pytest.fixture(params=["grid3x3", "tiny_dag", "dag"])
def target(request: pytest.FixtureRequest) -> EnumerableTarget:
    return make_target(request.param)


@pytest.mark.parametrize(("dtype", "noise"), [(torch.float32, 1e-6), (torch.float64, 0.0)])
def test_no_metric_of_a_well_trained_sampler_leaves_its_range(target: EnumerableTarget, dtype: torch.dtype, noise: float) -> None:
    """Neither by the rounding of float32, which is no distribution, nor by that of float64, where the sampler is exact."""
    found = measured(ExactMetrics(), well_trained(target, dtype, noise), target, generators(0, R))
    log_Z = target.state_graph().log_partition
    assert bool((found["elbo"] <= log_Z).all())
    assert bool((found["eubo"] >= log_Z).all())
    for name, (low, high) in RANGES.items():
        if name in found:
            assert bool(((found[name] >= low) & (found[name] <= high)).all()), name
    # all squares of noise of 1e-6, far below what float32 tells from 0
    assert float(found["kl_forward"].max()) < 1e-9
    assert float(found["ess"].min()) > 1 - 1e-9


def test_only_rounding_is_cut_off_and_a_mistake_is_shown() -> None:
    """1e-10 outside is an end; 1e-6 outside, NaN and infinity are recorded as they are."""
    found = torch.tensor([-1e-10, -1e-6, 0.25, 1 + 1e-10, 1.5, torch.nan, torch.inf], dtype=torch.float64)
    expected = torch.tensor([0.0, -1e-6, 0.25, 1.0, 1.5, torch.nan, torch.inf], dtype=torch.float64)
    torch.testing.assert_close(without_rounding(found, 0.0, 1.0), expected, rtol=0, atol=0, equal_nan=True)


@torch.no_grad()
def test_every_way_to_exact_probabilities_sums_to_one(target: EnumerableTarget) -> None:
    """Tables of all states, tilted ones, the ancestors of chosen objects, and all trajectories one by one."""
    graph, sampler = target.state_graph(), well_trained(target)
    policies = policies_on_graph(sampler, graph)
    for exploration in (EpsilonUniform(0.1), Tempered(2.0), StopBias(1.0)):
        tilt = exploration.tilt(0)
        assert tilt is not None
        assert_distribution(tilted_on_graph(sampler, policies, tilt))
    assert_distribution(policies)
    ends = graph.states[graph.log_reward > -math.inf]
    log_p = log_terminating_probability(sampler, ancestor_graph(target, ends, 10**6, "most"))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(R).double(), rtol=1e-13, atol=0)
    listed = enumerate_policies(sampler, target)
    for log_probability in (listed.log_pf, listed.log_target):
        torch.testing.assert_close(log_probability.exp().sum(1), torch.ones(R).double(), rtol=1e-13, atol=0)


def assert_distribution(policies: EdgePolicies) -> None:
    torch.testing.assert_close(terminating_probability(policies).sum(0), torch.ones(R).double(), rtol=1e-13, atol=0)


def test_theorem_six_holds_in_float32(target: EnumerableTarget) -> None:
    """Both sides are about 1e-12 here: an excess of 1e-7, what float32 leaves, would be seen relative to 1e-5."""
    exact = ExactGradients(well_trained(target), target.state_graph())
    checks: list[Check] = Theorems(exact).data_processing()
    assert all(check.holds(1e-8) for check in checks), [float(check.error.max()) for check in checks]
