"""Times updates of a peer that is written in torch: one case as JSON on the command line, one line of JSON out."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch


def main(measure: Callable[[argparse.Namespace], dict[str, Any]]) -> None:
    """Entry point: what `measure` finds of the case, and peak memory."""
    given = argparse.Namespace(**json.loads(sys.argv[1]))
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    result = measure(given)
    result["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps(result))


def time_updates(update: Callable[[], torch.Tensor], given: argparse.Namespace) -> dict[str, Any]:
    """Warm up, then time blocks of updates; an update returns the number of steps of each trajectory: [batch]."""
    for _ in range(given.warmup):
        update()
    block_ms, lengths = [], []
    for size in given.blocks:
        start = time.perf_counter()
        found = [update() for _ in range(size)]
        block_ms.append((time.perf_counter() - start) / size * 1e3)
        lengths += [float(steps.double().mean()) for steps in found]
    return {"block_ms": block_ms, "mean_length": sum(lengths) / len(lengths)}
