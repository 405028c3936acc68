"""Layers with a leading replica axis: one batched matrix product serves all seeds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators


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


class ReplicaNorm(nn.Module):
    """Layer normalization with a scale and a shift per replica: [R, N, width] -> the same."""

    def __init__(self, n_replicas: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_replicas, 1, width))
        self.shift = nn.Parameter(torch.zeros(n_replicas, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """[R, N, width] -> [R, N, width]."""
        return torch.addcmul(self.shift, nn.functional.layer_norm(x, x.shape[-1:]), self.scale)
