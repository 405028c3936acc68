"""What makes an update on a density fast changes no number, and nothing in it waits for an accelerator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from building import generators, make_trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gfn_vi.samplers import networks
from gfn_vi.samplers.networks import ActivatedAffine, ReplicaLinear, activated

R, EXACT = 2, {"rtol": 1e-12, "atol": 1e-12}
RUN = (
    *("target=gmm25", "sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8,8]", "sampler.n_frequencies=4"),
    *("trainer.batch_size=8", "trainer.n_trajectories=64", "evaluation.n_samples=500", "replicas=2"),
)
ALONG_NOISE = ("objective=reverse_kl", "baseline@objective.baseline=none")
UPDATES = {
    "trajectory_balance": ("objective=trajectory_balance",),
    "subtrajectory_balance": ("objective=subtrajectory_balance", "sampler.langevin=scalar", "sampler.backward=learned"),
    "widened": ("objective=log_variance", "exploration=widened_steps"),
    "pathwise": (*ALONG_NOISE, "estimator@objective.estimator=pathwise", "sampler.learn_noise=true"),
    "sticking_the_landing": (*ALONG_NOISE, "estimator@objective.estimator=sticking_the_landing", "sampler.langevin=scalar"),
}
# On an accelerator these wait until all that was asked for before is done.
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "unique", "_unique2", "_to_copy")


def layer_and_rows(n_out: int, n_rows: int = 5) -> tuple[ReplicaLinear, Tensor]:
    rng = generators(0, R)
    return ReplicaLinear(rng, 3, n_out), rng.normal(n_rows, 3).requires_grad_()


@pytest.mark.parametrize("n_out", [1, 2, networks.NARROW])
def test_an_activated_layer_is_gelu_and_a_layer(n_out: int) -> None:
    """Value; first and second derivatives; gradients of many cotangents at once, by which score norms are computed."""
    layer, x = layer_and_rows(n_out)
    factors = (x, layer.weight, layer.bias)
    plain, own = layer(nn.functional.gelu(x)), ActivatedAffine.apply(*factors)
    torch.testing.assert_close(own, plain, **EXACT)
    assert torch.autograd.gradcheck(ActivatedAffine.apply, factors, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(ActivatedAffine.apply, factors)
    with torch.no_grad():
        torch.testing.assert_close(activated(layer, x), plain, **EXACT)


def test_the_way_of_many_rows_is_that_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for many in (1, 100):
        monkeypatch.setattr(networks, "MANY_ROWS", many)
        layer, x = layer_and_rows(2)
        out = activated(layer, x)
        assert (out.grad_fn.name() == "ActivatedAffineBackward") == (many == 1)
        found.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


class Waits(TorchDispatchMode):
    """Names the operations for which a program would wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        moved = name != "_to_copy" or (kwargs or {}).get("device") is not None
        masked = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if (name in WAITING and moved) or masked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", UPDATES)
def test_no_update_waits_for_the_accelerator(objective: str) -> None:
    trainer = make_trainer(*RUN, *UPDATES[objective])
    trainer.update()
    with Waits() as waits:
        trainer.update()
    assert waits.found == []
