"""The norm that is recorded and clipped: that of the gradient, and a small one is left as it is."""

from __future__ import annotations

import torch
from building import make_trainer
from torch import nn

from gfn_vi.core.types import Role
from gfn_vi.training.optimizers import Sgd
from gfn_vi.training.rate_schedules import Constant


def test_clipping_makes_no_gradient_longer() -> None:
    """Norms 5 and 0.05 with a limit of 1: the first step has length 1, the second 0.05."""
    p = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    sgd = Sgd({Role.FORWARD: [p]}, 2, 1.0, 0.0, 0.0, 0.0, 1.0, Constant(), 0.0)
    sgd.step((p * torch.tensor([[3.0, 4.0], [0.03, 0.04]], dtype=torch.float64)).sum(1), 0)
    expected = torch.tensor([[-0.6, -0.8], [-0.03, -0.04]], dtype=torch.float64)
    torch.testing.assert_close(p.detach(), expected, rtol=1e-14, atol=0)


def test_a_large_gradient_is_finite_although_its_square_is_not() -> None:
    """In float32, of one replica: it is clipped as the other is."""
    p = nn.Parameter(torch.zeros(2, 2))
    sgd = Sgd({Role.FORWARD: [p]}, 2, 1.0, 0.0, 0.0, 0.0, 1.0, Constant(), 0.0)
    sgd.step((p * torch.tensor([[3e25, 4e25], [3.0, 4.0]])).sum(1), 0)
    torch.testing.assert_close(sgd.grad_norm, torch.tensor([5e25, 5.0], dtype=torch.float64), rtol=1e-6, atol=0)
    assert not bool(sgd.frozen.any())
    torch.testing.assert_close(p.detach(), torch.tensor([[-0.6, -0.8]] * 2))


def test_the_recorded_norm_is_that_of_the_optimizer() -> None:
    trainer = make_trainer("target.side=3", "sampler=tabular", "trainer.batch_size=8", replicas=2)
    found = trainer.training_statistics(*trainer.update())["grad_norm"]
    assert torch.equal(found, trainer.parts.optimizer.grad_norm)
    assert bool((found != found.square()).all())
