"""Networks on a state and its time. Their last layer is zero at initialization, so that a sampler starts as its reference.

States are [R, N, K, d], K consecutive steps of N trajectories: what depends on time alone is computed once per step and shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gfn_vi.core.errors import require
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import is_whole
from gfn_vi.samplers.networks import ReplicaLinear, activated

# Angular frequencies of the features of time, as Sendera et al. (2024) have them.
LOWEST_FREQUENCY, HIGHEST_FREQUENCY = 0.1, 100.0


def check_widths(hidden: Sequence[int], n_frequencies: int) -> None:
    """Raise ConfigError unless there is a hidden layer and a frequency."""
    whole = len(hidden) > 0 and all(is_whole(width) and width > 0 for width in hidden)
    require(whole, "sampler.hidden", list(hidden), "expected the positive widths of one hidden layer or more")
    found = n_frequencies
    require(is_whole(found) and found > 0, "sampler.n_frequencies", found, "expected a whole number >= 1")


def zero_linear(rng: ReplicaGenerators, n_in: int, n_out: int) -> ReplicaLinear:
    """Return a layer of zeros."""
    layer = ReplicaLinear(rng, n_in, n_out)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TimeNetwork(nn.Module):
    """Times in [0, 1] -> n_out numbers each: sines and cosines with learned phases, and one hidden layer."""

    frequencies: Tensor

    def __init__(self, rng: ReplicaGenerators, n_frequencies: int, width: int, n_out: int) -> None:
        super().__init__()
        frequencies = torch.linspace(LOWEST_FREQUENCY, HIGHEST_FREQUENCY, n_frequencies, dtype=rng.dtype)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.phase = nn.Parameter(rng.normal(1, n_frequencies))
        self.hidden = ReplicaLinear(rng, 2 * n_frequencies, width)
        self.out = ReplicaLinear(rng, width, n_out)

    def forward(self, times: Tensor) -> Tensor:
        """Return what the network says of each time: [T] -> [R, T, n_out]."""
        angle = times[:, None] * self.frequencies + self.phase
        return self.out(nn.functional.gelu(self.hidden(torch.cat([angle.sin(), angle.cos()], -1))))


class StepNetwork(nn.Module):
    """State and time -> n_out numbers: the two embedded and added, then hidden GELU layers, then a layer of zeros."""

    def __init__(self, rng: ReplicaGenerators, dim: int, n_frequencies: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        self.time = TimeNetwork(rng, n_frequencies, hidden[0], hidden[0])
        self.state = ReplicaLinear(rng, dim, hidden[0])
        self.layers = nn.ModuleList(ReplicaLinear(rng, n_in, n_out) for n_in, n_out in pairwise(hidden))
        self.out = zero_linear(rng, hidden[-1], n_out)

    def embed(self, times: Tensor) -> Tensor:
        """Embed times [T]: [R, 1, T, width], the bias of the state's embedding included."""
        return (self.time(times) + self.state.bias)[:, None]

    def forward(self, states: Tensor, embedded: Tensor) -> Tensor:
        """States [R, N, K, d], embedded times of their steps [R, 1, K, width] -> [R, N, K, n_out]."""
        if states.shape[2] == 1:
            x = torch.baddbmm(embedded[:, 0], states[:, :, 0], self.state.weight)
        else:
            flat = torch.bmm(states.flatten(1, 2), self.state.weight)
            x = (flat.view(*states.shape[:-1], -1) + embedded).flatten(1, 2)
        for layer in self.layers:
            assert isinstance(layer, ReplicaLinear)
            x = activated(layer, x)
        return activated(self.out, x).view(*states.shape[:-1], -1)


class LayerNetworks(nn.Module):
    """One network of its own for each of several steps: GELU layers, then a layer of zeros."""

    def __init__(self, rng: ReplicaGenerators, n_layers: int, dim: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        widths = [dim, *hidden]

        def network() -> nn.Sequential:
            inner = [part for n_in, n_out in pairwise(widths) for part in (ReplicaLinear(rng, n_in, n_out), nn.GELU())]
            return nn.Sequential(*inner, zero_linear(rng, widths[-1], n_out))

        self.networks = nn.ModuleList(network() for _ in range(n_layers))

    def forward(self, states: Tensor, layers: range) -> Tensor:
        """States [R, N, K, d] and the K layers that they go through -> [R, N, K, n_out]."""
        outputs = []
        for position, number in enumerate(layers):
            outputs.append(self.networks[number](states[:, :, position]))
        return torch.stack(outputs, 2)


def log_normal(states: Tensor, variance: Tensor) -> Tensor:
    """log N(states; 0, variance I): [..., K, d], variance [K] -> [..., K]."""
    dim = states.shape[-1]
    return -0.5 * states.square().sum(-1) / variance - dim / 2 * (2 * math.pi * variance).log()
