"""arrays.npz of a finished run: what pictures need of the distribution that it learned. Names and shapes: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gfn_vi.runs.files import ARRAYS


def save_arrays(directory: Path, arrays: Mapping[str, Tensor | Sequence[str]]) -> None:
    """Write arrays.npz into a run's directory: tensors, and lists of texts. Without any array nothing is written."""
    import numpy as np

    content: dict[str, Any] = {
        name: value.cpu().numpy() if isinstance(value, Tensor) else np.array(value) for name, value in arrays.items()
    }
    if content:
        np.savez_compressed(directory / ARRAYS, **content)
