"""Estimates and their standard errors from given trajectories; modes counted by hand."""

from __future__ import annotations

import pytest
import torch
from building import generators, make_sampler, make_target
from measuring import measured
from torch import Tensor

from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.exact.metrics import ExactMetrics
from gfn_vi.evaluation.sampled.metrics import SampledMetrics
from gfn_vi.evaluation.sampled.modes_visited import ModesVisited
from gfn_vi.samplers.discrete.sampler import DiscreteSampler
from gfn_vi.targets.tiny_dag import TinyDag

N = 6


def test_sampled_metrics_are_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """On six trajectories that were drawn before: means, and deviations over root n (self-normalized ones by their influence)."""
    space = make_target("grid3x3")
    sampler = make_sampler(space, n_replicas=2)
    drawn = sampler.rollout(N, generators(1, 2))
    monkeypatch.setattr(DiscreteSampler, "rollout", lambda self, batch, rng, tilt=None: drawn)
    found = measured(SampledMetrics(N), sampler, space, generators(0, 2))
    log_w = -sampler.evaluate(drawn).log_ratio().detach()
    w, length = log_w.exp(), drawn.mask.sum(-1).double()
    share = w / w.sum(1, keepdim=True)
    eubo = (share * log_w).sum(1)

    def error(x: Tensor) -> Tensor:
        return ((x - x.mean(1, keepdim=True)).square().sum(1) / (N - 1) / N).sqrt()

    relative = w / w.mean(1, keepdim=True)
    by_hand = {
        "log_Z": sampler.log_Z.detach(),
        "sampled_elbo": log_w.mean(1),
        "sampled_elbo_se": error(log_w),
        "sampled_eubo": eubo,
        "sampled_eubo_se": (share * (log_w - eubo[:, None])).square().sum(1).sqrt(),
        "sampled_log_Z": w.mean(1).log(),
        "sampled_log_Z_se": ((relative - 1).square().mean(1) / N).sqrt(),
        "sampled_ess": 1 / relative.square().mean(1),
        "sampled_log_reward": drawn.log_reward.mean(1),
        "sampled_log_reward_se": error(drawn.log_reward),
        "sampled_length": length.mean(1),
        "sampled_length_se": error(length),
    }
    torch.testing.assert_close(found["sampled_n_effective"], N * by_hand["sampled_ess"], rtol=1e-11, atol=0)
    assert found.keys() == by_hand.keys() | {"sampled_ess_se", "sampled_n_effective", "sampled_pareto_k"}
    for name, value in by_hand.items():
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-13, msg=lambda m, name=name: f"{name}: {m}")


def star() -> TinyDag:
    """Three objects, two of them modes of a share of 0.4 each."""
    return TinyDag([[0, 1], [0, 2], [0, 3]], {1: 2.0, 2: 1.0, 3: 2.0})


@pytest.mark.parametrize(("shares", "covered"), [([0.19, 0.6, 0.21], 1), ([0.2001, 0.5998, 0.2], 2), ([0.15, 0.7, 0.15], 0)])
def test_a_mode_is_covered_by_half_of_its_mass(shares: list[float], covered: int) -> None:
    space = star()
    sampler = make_sampler(space)
    with torch.no_grad():
        sampler.forward_table[0, 0, :3] = torch.tensor(shares).double().log() + 1e-12
    assert measured(ExactMetrics(), sampler, space, generators(0, 1))["modes_covered"].tolist() == [covered]


class StarOfOtherModes(TinyDag):
    """Nodes 1 and 2 are one mode, node 3 is none, and of a second mode there is no state; or nobody knows its modes."""

    n_modes: int | None = 2

    def mode_index(self, states: Tensor) -> Tensor:
        return torch.tensor([-1, 0, 0, -1])[states[..., 0]]


@pytest.mark.parametrize(("n_modes", "covered"), [(2, 1), (None, 0)])
def test_modes_are_what_the_target_says(n_modes: int | None, covered: int) -> None:
    """P_T has more than half of 0.6 on nodes 1 and 2, less than half of 0.4 on each of 1 and 3, regions of top reward."""
    space = StarOfOtherModes([[0, 1], [0, 2], [0, 3]], {1: 2.0, 2: 1.0, 3: 2.0})
    space.n_modes = n_modes
    sampler = make_sampler(space)
    with torch.no_grad():
        sampler.forward_table[0, 0, :3] = torch.tensor([0.19, 0.63, 0.18]).double().log()
    assert measured(ExactMetrics(), sampler, space, generators(0, 1))["modes_covered"].tolist() == [covered]


def test_modes_visited_are_those_that_were_met_and_no_others() -> None:
    """Node 2 is in no mode; what was met stays met."""
    visited = ModesVisited(star(), 2, torch.device("cpu"))
    counts = []
    for ends in ([[2, 2], [1, 3]], [[1, 1], [2, 3]], [[3, 2], [2, 2]]):
        ended = torch.tensor(ends)[:, :, None]
        states = torch.stack([torch.zeros_like(ended), ended, ended], 2)
        mask = torch.ones(2, 2, 2, dtype=torch.bool)
        visited.observe(Trajectories(states, torch.zeros(2, 2, 2, dtype=torch.long), mask, torch.zeros(2, 2), None))
        counts.append(visited.statistics()["modes_visited"].tolist())
    assert counts == [[0, 2], [1, 2], [2, 2]]
