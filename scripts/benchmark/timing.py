"""The clock around work that an accelerator may still be doing, and what makes the host wait for it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import gfn_vi

PACKAGE = Path(gfn_vi.__file__).parent


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


def first_wait(update: Callable[[], object]) -> str:
    """Return the first place of the package where an update makes the host wait for the device; "" where none does."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        update()
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(PACKAGE)]
        return f"{Path(frames[-1].filename).relative_to(PACKAGE.parent)}:{frames[-1].lineno}: {frames[-1].line}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""
