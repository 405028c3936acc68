"""Importance weights against their formulas, with loops and powers instead of log-weights."""

from __future__ import annotations

import pytest
import torch
from building import generators, make_exploration, make_objective, make_sampler, make_target
from torch import Tensor

from gfn_vi.core.log_probability import effective_sample_size
from gfn_vi.objectives.weightings import Plain, SelfNormalized, Truncated, Unweighted

BATCH = 8
# A handful of float64 operations.
EXACT = {"rtol": 1e-13, "atol": 1e-15}


def log_weights() -> Tensor:
    """Two replicas with weights over several orders of magnitude."""
    return 2 * generators(0, 2).normal(BATCH)


def test_plain_is_the_weight_over_the_batch_size() -> None:
    w = log_weights().exp()
    torch.testing.assert_close(Plain(30.0)(log_weights()), w / BATCH, **EXACT)
    torch.testing.assert_close(Plain(1.0)(log_weights()), w.clamp(max=torch.e) / BATCH, **EXACT)


def test_self_normalized_weights_sum_to_one_whatever_their_scale() -> None:
    w = log_weights().exp()
    for shift in (0.0, 1e4, -1e4):
        found = SelfNormalized()(log_weights() + shift)
        # a shift of 1e4 costs four digits of the log-weights
        torch.testing.assert_close(found, w / w.sum(1, keepdim=True), rtol=1e-11 if shift else 1e-13, atol=0)


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5, 1.0])
def test_truncated_weights_are_cut_at_a_power_of_the_batch_size(exponent: float) -> None:
    """Relative to mean 1: min(w, B^exponent), normalized again (Ionides 2008). 1 cuts nothing, as no weight exceeds B."""
    w = log_weights().exp()
    cut = (w / w.mean(1, keepdim=True)).clamp(max=BATCH**exponent)
    found = Truncated(exponent)(log_weights())
    torch.testing.assert_close(found, cut / cut.sum(1, keepdim=True), **EXACT)
    uncut = (found - SelfNormalized()(log_weights())).abs().max() < 1e-15  # one more division: the last bit
    assert bool(uncut) == (exponent == 1.0)


def test_unweighted_is_one_over_the_batch_size() -> None:
    assert torch.equal(Unweighted()(log_weights()), torch.full((2, BATCH), 1 / BATCH).double())
    assert not Unweighted.needs_density


def test_effective_sample_size_is_kishs() -> None:
    """(sum w)^2 / (B sum w^2): 1 for equal weights, 1 / B for a single one, at any scale."""
    w = log_weights().exp()
    expected = w.sum(1).square() / w.square().sum(1) / BATCH
    torch.testing.assert_close(effective_sample_size(log_weights()), expected, **EXACT)
    torch.testing.assert_close(effective_sample_size(log_weights() + 1e3), expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(effective_sample_size(torch.zeros(2, BATCH)), torch.ones(2))
    single = torch.full((1, BATCH), -torch.inf).index_fill(1, torch.tensor([3]), 0.0)
    torch.testing.assert_close(effective_sample_size(single), torch.tensor([1 / BATCH]))


@pytest.mark.parametrize("weighting", ["plain", "self_normalized", "truncated"])
def test_recorded_sample_sizes_are_those_of_the_weights_in_use(weighting: str) -> None:
    """P_F / pi for terms averaged under P_F, R P_B / pi for those under P_B; on-policy the first is 1."""
    sampler = make_sampler(make_target("grid3x3"), n_replicas=2)
    objective = make_objective("reverse_wake_sleep", weighting=weighting)
    drawn = make_exploration("epsilon_uniform").collect(sampler, BATCH, generators(1, 2), 0)
    found = objective.statistics(evaluation := sampler.evaluate(drawn))
    log_w = {
        "batch_ess_forward": evaluation.trajectory_log_pf - drawn.log_behavior,
        "batch_ess_backward": evaluation.log_reward + evaluation.trajectory_log_pb - drawn.log_behavior,
    }
    assert found.keys() == log_w.keys()
    for key, value in log_w.items():
        w = value.detach().exp()
        if weighting == "truncated":
            w = torch.minimum(w, w.mean(1, keepdim=True) * BATCH**0.5)
        torch.testing.assert_close(found[key], w.sum(1).square() / w.square().sum(1) / BATCH, rtol=1e-12, atol=0)
    on_policy = sampler.evaluate(sampler.rollout(BATCH, generators(1, 2)))
    torch.testing.assert_close(objective.statistics(on_policy)["batch_ess_forward"], torch.ones(2).double(), **EXACT)
    assert make_objective("reverse_kl", weighting=weighting).statistics(evaluation).keys() == {"batch_ess_forward"}
