"""Networks with a leading replica axis: one batched matrix product serves all seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators

# A K-hot input is a sum of K rows of the first weight. Below this many features the dense product is still faster,
# because its gradient needs no scattered addition.
DENSE_FEATURES = 64


class ReplicaLinear(nn.Module):
    """R affine maps side by side, initialized as torch.nn.Linear is, replica by replica."""

    def __init__(self, rng: ReplicaGenerators, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter((2 * rng.uniform(n_in, n_out) - 1) * bound)
        self.bias = nn.Parameter((2 * rng.uniform(1, n_out) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return each replica's affine map of its inputs: [R, N, in] -> [R, N, out]."""
        return torch.baddbmm(self.bias, x, self.weight)


class FeatureLinear(ReplicaLinear):
    """The first layer of a network on features: integer ones are K-hot indices, floating ones are dense."""

    def forward(self, x: Tensor) -> Tensor:
        """Return each replica's affine map of its features: [R, N, K] long or [R, N, in] float -> [R, N, out]."""
        if x.is_floating_point():
            return super().forward(x.to(self.weight.dtype))
        n_replicas, n_in, n_out = self.weight.shape
        if n_in <= DENSE_FEATURES:
            hot = torch.zeros(*x.shape[:2], n_in, dtype=self.weight.dtype, device=x.device)
            return super().forward(hot.scatter_(2, x, 1.0))
        offset = (torch.arange(n_replicas, device=x.device) * n_in)[:, None, None]
        # a K-th of the bias goes into every row: cheaper than a pass over the result
        rows = (self.weight + self.bias / x.shape[2]).view(-1, n_out)
        flat = nn.functional.embedding_bag((x + offset).flatten(0, 1), rows, mode="sum")
        return flat.view(*x.shape[:2], n_out)


class ReplicaNorm(nn.Module):
    """Layer normalization over the last axis with a scale and a shift per replica."""

    def __init__(self, n_replicas: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_replicas, 1, width))
        self.shift = nn.Parameter(torch.zeros(n_replicas, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized, scaled and shifted values: [R, N, width] -> [R, N, width]."""
        return torch.addcmul(self.shift, nn.functional.layer_norm(x, x.shape[-1:]), self.scale)


class Mlp(nn.Module):
    """A multilayer perceptron on features: hidden ReLU layers, then n_out numbers per state."""

    def __init__(self, rng: ReplicaGenerators, n_features: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        widths = [n_features, *hidden, n_out]
        self.layers = nn.ModuleList(
            (FeatureLinear if i == 0 else ReplicaLinear)(rng, widths[i], widths[i + 1]) for i in range(len(widths) - 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the n_out numbers of each state: features [R, N, K] long or [R, N, in] float -> [R, N, n_out]."""
        x = features
        for layer in self.layers[:-1]:
            x = layer(x).relu_()
        return self.layers[-1](x)
