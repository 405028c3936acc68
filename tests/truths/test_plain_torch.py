"""Our updates are those of plain torch: nn.Linear, one torch.optim.Adam per role, losses written out, one network call a step.

On the trajectories that our sampler drew, so that parameters can be compared after many updates. Everything that makes ours fast
(replica axis, distinct states, K-hot layer, fused Adam, surrogate losses) is absent on the other side.
"""

from __future__ import annotations

import pytest
import torch
from building import make_trainer
from torch import Tensor, nn

SIDE, DIMS, UPDATES = 4, 3, 40


def network(n_out: int, source: nn.Module) -> nn.Sequential:
    """The same weights as replica 0 of one of our networks."""
    plain = nn.Sequential(nn.Linear(SIDE * DIMS, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, n_out)).double()
    with torch.no_grad():
        for mine, theirs in zip(source.layers, (plain[0], plain[2], plain[4]), strict=True):
            theirs.weight.copy_(mine.weight[0].T)
            theirs.bias.copy_(mine.bias[0, 0])
    return plain


def log_ratio(forward: nn.Module, backward: nn.Module, states: Tensor, actions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """log P_F(tau), log P_B(tau | x) of one replica: states [B, T+1, D], actions and mask [B, T]."""

    def hot(x: Tensor) -> Tensor:
        return nn.functional.one_hot(x, SIDE).flatten(-2).double()

    here, there = states[:, :-1], states[:, 1:]
    legal = torch.cat([here < SIDE - 1, torch.ones(*here.shape[:2], 1, dtype=torch.bool)], -1)
    log_pf = forward(hot(here)).masked_fill(~legal, -torch.inf).log_softmax(-1).gather(2, actions[..., None])[..., 0]
    move = mask & (actions < DIMS)
    legal = (there > 0) | ~move[..., None]
    log_pb = backward(hot(there)).masked_fill(~legal, -torch.inf).log_softmax(-1)
    log_pb = log_pb.gather(2, actions.clamp(max=DIMS - 1)[..., None])[..., 0]
    return log_pf.where(mask, 0.0).sum(1), log_pb.where(move, 0.0).sum(1)


@pytest.mark.parametrize("arm", ["trajectory_balance", "reverse_kl", "forward_kl", "wake_sleep", "reverse_wake_sleep"])
def test_the_same_parameters_after_many_updates(arm: str) -> None:
    """To 1e-10: two orders of summation in float64, amplified a little by Adam's division by small second moments."""
    trainer = make_trainer(
        f"arm=paper/{arm}", "target.side=4", "target.n_dims=3", "sampler.hidden=[16,16]", "trainer.batch_size=16", replicas=2
    )
    sampler = trainer.parts.sampler
    forward, backward = network(DIMS + 1, sampler.forward_net), network(DIMS, sampler.backward_net)
    log_Z = nn.Parameter(torch.zeros((), dtype=torch.float64))
    rates = {role.value: float(rate[0]) for role, rate in trainer.parts.optimizer.rates.items()}
    optimizers = [
        torch.optim.Adam(forward.parameters(), rates["forward"]),
        torch.optim.Adam(backward.parameters(), rates["backward"]),
        torch.optim.Adam([log_Z], rates["log_Z"]),
    ]
    for _ in range(UPDATES):
        _, drawn, _ = trainer.update()
        log_pf, log_pb = log_ratio(forward, backward, drawn.states[0], drawn.actions[0], drawn.mask[0])
        ratio = log_pf - log_pb - drawn.log_reward[0]
        u = (ratio + log_Z).detach()
        w = (-u).softmax(0)
        forward_kl, reverse_kl = -(w * log_pf).sum(), (u * log_pf).mean()
        loss = {
            "trajectory_balance": (ratio + log_Z).square().mean(),
            "reverse_kl": reverse_kl - log_pb.mean(),
            "forward_kl": forward_kl - (w * u * log_pb).sum(),
            "wake_sleep": forward_kl - log_pb.mean(),
            "reverse_wake_sleep": reverse_kl - (w * u * log_pb).sum(),
        }[arm]
        if arm != "trajectory_balance":
            loss = loss + (log_Z + ratio.detach()).square().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert abs((log_Z - sampler.log_Z[0]).item()) < 1e-10
    for mine, theirs in ((sampler.forward_net, forward), (sampler.backward_net, backward)):
        for layer, plain in zip(mine.layers, (theirs[0], theirs[2], theirs[4]), strict=True):
            torch.testing.assert_close(layer.weight[0], plain.weight.T, rtol=0, atol=1e-10)
            torch.testing.assert_close(layer.bias[0, 0], plain.bias, rtol=0, atol=1e-10)
