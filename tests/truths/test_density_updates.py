"""What makes an update on a density fast changes no number."""

from __future__ import annotations

import pytest
import torch
from building import generators
from torch import Tensor, nn

from gfn_vi.samplers import networks
from gfn_vi.samplers.networks import ActivatedAffine, ReplicaLinear, activated

R, EXACT = 2, {"rtol": 1e-12, "atol": 1e-12}


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
