"""Sums over a line of nodes against the same sums path by path, with log-densities from `evaluate`, which knows no nodes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from building import make_objective
from densities import CASES, VARIANTS, Bumps, make, spread
from torch import Tensor

from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.exact.dynamic_programming import (
    elbo,
    eubo,
    terminating_probability,
    visit_probability,
)
from gfn_vi.evaluation.exact.line_graph import LineGraph
from gfn_vi.evaluation.exact.line_moments import line_sample_fraction
from gfn_vi.evaluation.exact.quadrature import Line, Quadrature
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.exploration.widened import WidenedSteps
from gfn_vi.samplers.continuous.sampler import ContinuousSampler
from gfn_vi.verification.batches import take_batches

STEPS = {
    **dict.fromkeys(("diffusion", "variance_preserving", "linear_chain"), "n_steps=2"),
    "gaussian_chain": "n_layers=2",
}
SHORT = ("one_step", "one_layer")
TARGET = Bumps(1)


def sampler_of(name: str, variant: str) -> ContinuousSampler:
    """Two steps, or one, a little away from where every network is zero."""
    overrides = [override for override in VARIANTS[name][variant] if not override.startswith("grid")]
    overrides += [STEPS[name]] if name in STEPS and variant not in SHORT else []
    return spread(make(name, *overrides, target=TARGET, n_replicas=1), size=0.1)


def line_of(sampler: ContinuousSampler) -> Line:
    line = Quadrature(None, None, None).find(sampler, TARGET)
    assert line.problem is None
    return line


class Paths:
    """All paths of the sampler through the nodes [n]."""

    def __init__(self, sampler: ContinuousSampler, graph: LineGraph) -> None:
        steps, nodes = sampler.n_steps, graph.nodes[:, 0]
        ways = torch.tensor(list(itertools.product(range(len(nodes)), repeat=steps)))
        states = torch.nn.functional.pad(nodes[ways], (1, 0))[None, ..., None]
        mask = torch.ones(1, len(ways), steps, dtype=torch.bool)
        actions = torch.zeros(1, len(ways), steps, 0, dtype=torch.float64)
        log_reward = TARGET.log_reward(states[:, :, -1])
        self.sampler, self.trajectories = sampler, Trajectories(states, actions, mask, log_reward, None)
        self.log_cell, self.ends = steps * math.log(float(nodes[1] - nodes[0])), ways[:, -1]

    def evaluation(self, *needs: Need) -> Evaluation:
        return self.sampler.evaluate(self.trajectories, frozenset(needs))

    def probabilities(self, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """P_F and R P_B of every path, whose integral is Z = 1: [1, n]."""
        forward = (evaluation.log_pf.sum(-1) + self.log_cell).exp()
        backward = (evaluation.log_pb.sum(-1) + evaluation.log_reward + self.log_cell).exp()
        return forward, backward


# couplings need two coordinates
@pytest.mark.parametrize(("name", "variant"), [(name, variant) for name, variant in CASES if name != "flow"])
def test_bounds_and_ends_are_those_of_all_paths(name: str, variant: str) -> None:
    sampler = sampler_of(name, variant)
    policies = line_of(sampler).policies
    paths = Paths(sampler, policies.graph)
    with torch.no_grad():
        evaluation = paths.evaluation()
        forward, backward = paths.probabilities(evaluation)
        log_w, m = -evaluation.log_ratio(), policies.graph.n_nodes
        ends = forward.new_zeros(1, m).index_add(1, paths.ends, forward)
        pairs = {
            "elbo": (elbo(policies, visit_probability(policies)), (forward * log_w).sum(1)),
            "eubo": (eubo(policies), (backward * log_w).sum(1)),
            "ends": (terminating_probability(policies)[-m:].T, ends),
            "ess": (
                line_sample_fraction(policies),
                1 / (evaluation.log_pf.sum(-1) + paths.log_cell + 2 * log_w).exp().sum(1),
            ),
        }
    for what, (found, expected) in pairs.items():
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=what)


@pytest.mark.parametrize("widened", [False, True])
@pytest.mark.parametrize("name", ["trajectory_balance", "detailed_balance", "subtrajectory_balance"])
@pytest.mark.parametrize("variant", ["learned", "forward_looking", "one_step"])
def test_expected_gradients_are_sums_over_all_paths(name: str, variant: str, widened: bool) -> None:
    """The gradient of the loss of every path, weighted with the probability that P_F, or wider steps, draw it."""
    sampler = sampler_of("diffusion", variant)
    graph, objective, tilt = line_of(sampler).graph, make_objective(name), WidenedSteps(0.1).tilt(0)
    paths = Paths(sampler, graph)
    exact = ExactGradients(sampler, graph)
    found = exact(objective.descends(exact.under(tilt if widened else "P_F")))
    evaluation = paths.evaluation(*objective.needs)
    log_behavior = sampler.log_density(paths.trajectories, tilt if widened else None)
    weights = (log_behavior + paths.log_cell).exp()
    alone = take_batches(evaluation, torch.arange(weights.shape[1])[:, None])  # every path is a batch of its own
    loss = (weights[0] * objective(alone)).sum()
    for role, parameters in sampler.parameter_groups().items():
        wanted = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        flat = torch.cat([g.reshape(1, -1) for g in wanted], 1)
        assert role is not Role.FORWARD or bool((flat != 0).any())
        torch.testing.assert_close(found[role], flat, rtol=1e-8, atol=1e-10 * float(flat.abs().max()), msg=str(role))
