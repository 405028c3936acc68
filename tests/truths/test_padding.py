"""Replicas that visit different numbers of states: products of each replica alone give the numbers of one padded product."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from building import bumpy, generators, make_sampler
from torch import Tensor

from gfn_vi.core.types import Need, Role
from gfn_vi.samplers.discrete import networks
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.visited import visited_states
from gfn_vi.targets.grids.hypergrid import Hypergrid

ROLES = [Role.FORWARD, Role.BACKWARD, Role.FLOW]


def spread() -> MlpSampler:
    """A sampler of two replicas on 40 x 40, of which the second walks far more slowly to the stop action."""
    target = Hypergrid(2, 40, r0=0.1, reward=bumpy, max_enumerated_states=2000)
    sampler = make_sampler(target, "mlp", n_replicas=2, flow=True)
    assert isinstance(sampler, MlpSampler)
    with torch.no_grad():
        sampler.forward_net.layers[-1].bias[1, :, -1] -= 3.0
    return sampler


def gradients(sampler: MlpSampler, out: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(out, list(sampler.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(sampler.parameters(), found, strict=True)]


@pytest.mark.parametrize("needs", [frozenset({Need.FLOW}), frozenset({Need.SCORE_NORMS})])
def test_evaluations_and_gradients_do_not_depend_on_padding(needs: frozenset[Need], monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = spread()
    trajectories = sampler.rollout(40, generators(3, 2))
    counts = visited_states(trajectories, sampler.enumerable).counts
    assert counts is not None
    monkeypatch.setattr(networks, "MANY_WEIGHTS", 1)
    assert counts[1] > networks.MANY_ROWS > counts[0]
    alone = sampler.evaluate(trajectories, needs)
    monkeypatch.setattr(networks, "MANY_ROWS", 10_000)
    padded = sampler.evaluate(trajectories, needs)
    for field in fields(alone):
        ours, theirs = getattr(alone, field.name), getattr(padded, field.name)
        if isinstance(ours, Tensor) and ours.is_floating_point():
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    losses = [(e.log_pf.sum(2) - e.log_pb.sum(2)).square().sum() for e in (alone, padded)]
    for ours, theirs in zip(*(gradients(sampler, loss) for loss in losses), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hidden", [[], [7], [5, 40]])
@pytest.mark.parametrize("dense", [True, False])
def test_a_network_is_the_same_replica_by_replica(hidden: list[int], dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features as indices or as numbers, with and without hidden layers, few outputs and many."""
    net = networks.Mlp(generators(0, 3), 9, hidden, 3).double()
    rows = torch.Generator().manual_seed(1)
    features = torch.randint(4, (3, 300, 2), generator=rows) + torch.tensor([0, 5])
    if dense:
        features = torch.rand(3, 300, 9, generator=rows, dtype=torch.float64)
    counts = [300, 0, 17]
    monkeypatch.setattr(networks, "MANY_WEIGHTS", 1)
    ours = net(features, counts)
    monkeypatch.setattr(networks, "MANY_ROWS", 10_000)
    theirs = net(features)
    for r, n in enumerate(counts):
        torch.testing.assert_close(ours[r, :n], theirs[r, :n], rtol=1e-12, atol=1e-12)
        assert not ours[r, n:].any()
