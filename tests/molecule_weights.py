"""Random weights in place of the pretrained sEH network, which is no part of the repository."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfn_vi.targets.molecules.proxies.seh_network import ENTRIES

# Deleted when the tests end.
FOLDER = tempfile.TemporaryDirectory()


def random_weights(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A tensor for each array of the network, of a size that keeps its values apart."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1).to(dtype) * 1.5 / shape[-1] ** 0.5
        for name, shape in ENTRIES.items()
    }


@cache
def weights_file() -> str:
    """The path of such weights, in float32."""
    path = Path(FOLDER.name, "weights.npz")
    np.savez(path, **{name: weight.numpy() for name, weight in random_weights(torch.float32).items()})
    return str(path)
