"""Networks on the features of discrete states, with a leading replica axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.samplers.networks import ReplicaLinear, columns

# A K-hot input is a sum of K rows of the first weight. Below this many features the dense product is still faster,
# because its gradient needs no scattered addition.
DENSE_FEATURES = 64
# Rows of a replica, and weights of a layer, from which on, on a CPU, a product per replica costs less than one of all, padded.
MANY_ROWS, MANY_WEIGHTS = 256, 64 * 64


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


class Mlp(nn.Module):
    """A multilayer perceptron on features: hidden ReLU layers, then n_out numbers per state."""

    def __init__(self, rng: ReplicaGenerators, n_features: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        widths = [n_features, *hidden, n_out]
        self.layers = nn.ModuleList(
            (FeatureLinear if i == 0 else ReplicaLinear)(rng, widths[i], widths[i + 1]) for i in range(len(widths) - 1)
        )
        self.largest_layer = max(n_in * n_out for n_in, n_out in pairwise(widths))

    def forward(self, features: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Return the n_out numbers of each state: features [R, N, K] long or [R, N, in] float -> [R, N, n_out].

        counts: how many states of each replica are asked for, the first ones; None: all.
        """
        n_rows = features.shape[1]
        if features.device.type == "cpu" and n_rows >= MANY_ROWS and self.largest_layer >= MANY_WEIGHTS:
            return self._replica_by_replica(features, [n_rows] * len(features) if counts is None else counts)
        x = features
        for layer in self.layers[:-1]:
            x = layer(x).relu_()
        return self.layers[-1](x)

    def _replica_by_replica(self, features: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the same by products of two matrices, which leave out what is not asked for; 0 there."""
        layers = [layer for layer in self.layers if isinstance(layer, ReplicaLinear)]
        maps = zip(*(layer.of_each_replica() for layer in layers), strict=True)
        out = []
        for of_replica, (first, *others), n in zip(features, maps, counts, strict=True):
            x = affine_features(of_replica[:n], *first)
            for weight, bias in others:
                x = torch.addmm(bias, x.relu_(), columns(weight))
            out.append(nn.functional.pad(x, (0, 0, 0, features.shape[1] - n)))
        return torch.stack(out)


def affine_features(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return one replica's affine map of its features: [N, K] long or [N, in] float -> [N, out]."""
    if x.is_floating_point():
        return torch.addmm(bias, x.to(weight.dtype), columns(weight))
    return nn.functional.embedding_bag(x, weight + bias / x.shape[1], mode="sum")
