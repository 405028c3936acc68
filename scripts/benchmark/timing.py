"""Reading the clock around work that an accelerator may still be doing."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def clock() -> float:
    """Return seconds, after waiting for what the accelerator has still to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def times_ms(call: Callable[[], object], blocks: list[int]) -> list[float]:
    """Milliseconds per call in each block of so many calls."""
    block_ms = []
    for size in blocks:
        start = clock()
        for _ in range(size):
            call()
        block_ms.append((clock() - start) / size * 1e3)
    return block_ms
