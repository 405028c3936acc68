"""Layers with a leading replica axis: one batched matrix product serves all seeds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators

NARROW = 32  # columns
MANY_ROWS = 2_000  # of all replicas: from there on the call of a function of our own takes little of the time


class ReplicaLinear(nn.Module):
    """R affine maps: [R, N, in] -> [R, N, out]; initialized as torch.nn.Linear is, replica by replica."""

    def __init__(self, rng: ReplicaGenerators, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter((2 * rng.uniform(n_in, n_out) - 1) * bound)
        self.bias = nn.Parameter((2 * rng.uniform(1, n_out) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """[R, N, in] -> [R, N, out]."""
        return torch.baddbmm(self.bias, x, self.weight)

    def of_each_replica(self) -> list[tuple[Tensor, Tensor]]:
        """Return the weight [in, out] and the bias [out] of each replica."""
        return list(zip(self.weight.unbind(0), self.bias.squeeze(1).unbind(0), strict=True))


class ActivatedAffine(torch.autograd.Function):
    """The rows bias + gelu(x) weight: values and gradients are those of the plain operations.

    gelu(x) is computed again for the gradient, which costs less than to keep it, and halves what is kept.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[R, N, in], [R, in, out], [R, 1, out] -> [R, N, out]."""
        return torch.baddbmm(bias, nn.functional.gelu(x), columns(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keep x and the weight."""
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of x, weight and bias; that of the weight as a transpose, for the reason of columns."""
        x, weight = ctx.saved_tensors
        inner = torch.ops.aten.gelu_backward(torch.bmm(grad, weight.mT), x)
        return inner, torch.bmm(grad.mT, nn.functional.gelu(x)).mT, grad.sum(1, keepdim=True)


def columns(weight: Tensor) -> Tensor:
    """Return the same [..., in, out], where it has few columns as the transpose of a contiguous matrix.

    Matrix libraries are slow where the last axis of a factor is short: with 2 outputs this is 2 to 4 times as fast on a CPU.
    """
    return weight.mT.contiguous().mT if weight.shape[-1] < NARROW else weight


def activated(layer: ReplicaLinear, x: Tensor) -> Tensor:
    """layer(gelu(x)) [R, N, out], in the way that is fastest for so many rows."""
    if not torch.is_grad_enabled():
        return torch.baddbmm(layer.bias, nn.functional.gelu(x), columns(layer.weight))
    if x.shape[0] * x.shape[1] < MANY_ROWS:
        affine: Tensor = layer(nn.functional.gelu(x))
    else:
        affine = ActivatedAffine.apply(x, layer.weight, layer.bias)
    return affine


class ReplicaNorm(nn.Module):
    """Layer normalization with a scale and a shift per replica: [R, N, width] -> the same."""

    def __init__(self, n_replicas: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_replicas, 1, width))
        self.shift = nn.Parameter(torch.zeros(n_replicas, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """[R, N, width] -> [R, N, width]."""
        return torch.addcmul(self.shift, nn.functional.layer_norm(x, x.shape[-1:]), self.scale)
