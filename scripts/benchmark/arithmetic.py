"""The arithmetic that an update cannot do without, and how fast the machine does such arithmetic: together a bound of its time.

What is counted: P_F and P_B on the distinct visited states, once, with their gradients, and P_F once more to sample. What is not:
activations, normalizations, rewards, the optimizer, and padding, which no update needs. An update whose loss shares P_F with
sampling does without the last of these evaluations, which is counted all the same: bounds stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch

from benchmark.timing import times_ms
from gfn_vi.samplers.discrete.mlp import MlpSampler
from gfn_vi.samplers.discrete.networks import Mlp

ROWS = 1024  # of each replica, in the product whose rate is measured
BLOCKS, PRODUCTS = 10, 10  # the fastest block counts


def affine_shapes(network: Mlp) -> list[tuple[int, int]]:
    """Return (in, out) of each affine layer."""
    return [layer.weight.shape[1:] for layer in cast(Iterable[Any], network.layers)]


def operations_of_layers(network: Mlp, n_hot: int | None) -> list[int]:
    """Return additions and multiplications of each affine layer for one state: 2 in out.

    n_hot: the first layer adds so many rows of its weight (K-hot features); None: its input is dense.
    """
    (n_in, n_out), *others = affine_shapes(network)
    return [2 * n_in * n_out if n_hot is None else n_hot * n_out, *(2 * n_in * n_out for n_in, n_out in others)]


def operations_per_state(sampler: Any, n_hot: int | None) -> int | None:
    """Return additions and multiplications of one update for one visited state; None for networks that are not counted here.

    A gradient costs twice the evaluation, for the weights and for the input; the first layer has none for its input.
    """
    if not isinstance(sampler, MlpSampler):
        return None
    forward, backward = cast(tuple[Mlp, Mlp | None], (sampler.forward_net, sampler.backward_net))
    total = sum(operations_of_layers(forward, n_hot))  # to sample
    for network in filter(None, (forward, backward)):
        first, *others = operations_of_layers(network, n_hot)
        total += 2 * first + 3 * sum(others)
    return total


def product_rate(weight: torch.Tensor) -> dict[str, Any]:
    """Return how fast ROWS rows of each replica are multiplied by weight [R, in, out]: 1e9 operations per second."""
    n_replicas, n_in, n_out = weight.shape
    rows = torch.rand(n_replicas, ROWS, n_in, dtype=weight.dtype, device=weight.device)
    ms = min(times_ms(lambda: torch.bmm(rows, weight), [PRODUCTS] * BLOCKS))
    where = f"threads={torch.get_num_threads()}" if weight.device.type == "cpu" else str(weight.device)
    words = f"{ROWS} x {n_in} x {n_out}, {str(weight.dtype).removeprefix('torch.')}, {where}"
    return {"gflop_per_second": n_replicas * 2 * ROWS * n_in * n_out / ms / 1e6, "product": words}


def arithmetic(sampler: Any, features: torch.Tensor, distinct_states: float) -> dict[str, Any]:
    """Return gflop_per_update for so many distinct states of all replicas, and the machine's rate; nothing where not known.

    The rate is that of the layer with the most arithmetic. features: of any states; integers are K-hot.
    """
    n_hot = None if features.is_floating_point() else features.shape[-1]
    operations = operations_per_state(sampler, n_hot)
    if operations is None:
        return {}
    of_layers = operations_of_layers(sampler.forward_net, n_hot)
    largest = sampler.forward_net.layers[of_layers.index(max(of_layers))].weight.detach()
    return {"gflop_per_update": operations * distinct_states / 1e9} | product_rate(largest)
