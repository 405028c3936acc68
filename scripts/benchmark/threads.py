"""Training with the default number of threads beside one thread and one per core, on an idle machine and on a busy one.

    PYTHONPATH=scripts python -m benchmark.threads CASE

times blocks of updates with each setting, in turn, in one process, and prints milliseconds per update as JSON: setting -> blocks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmark.cases import Job, UsageError, composed
from benchmark.machine import Others, describe
from benchmark.runner import SCRIPTS

ORDINARY = "ordinary"  # the run of scripts/train.py without any override
CASES = (ORDINARY, "2x128x64", "4x8x512", "dag5x64-transformer", "molecules64-attention", "gmm25-100x300-tb")
BLOCKS, BLOCK_SECONDS, WARMUP = 5, 1.0, 3
DEFAULT = "threads=0"


def compare() -> None:
    """Print a line per case and load: milliseconds per update of every setting, and the default over the best fixed one."""
    machine = describe()
    print(f"{machine['processor']}, {machine['cores']} cores; ms/update, median of {BLOCKS} blocks (range)", flush=True)
    for case in CASES:
        for name, load in (("idle", 0), ("busy", machine["cores"])):
            others = Others()
            with busy_processes(load):
                found = _measured(case)
            times = {setting: median(blocks) for setting, blocks in found.items()}
            ratio = times[DEFAULT] / min(ms for setting, ms in times.items() if setting != DEFAULT)
            cells = [f"{s} {times[s]:.1f} ({min(b):.1f} to {max(b):.1f})" for s, b in found.items()]
            used = f"others used {others.cores():.1f} cores" if load == 0 else f"{load} busy processes"
            print(f"{case:<22} {name}  {', '.join(cells)}: default / best fixed {ratio:.2f}; {used}", flush=True)


@contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """Keep n processes busy at the usual priority until the end of the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _measured(case: str) -> dict[str, list[float]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")])}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-m", "benchmark.threads", case], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UsageError(f"{case} failed with status {done.returncode}: {done.stderr.splitlines()[-1:]}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _config(case: str) -> Any:
    return composed([]) if case == ORDINARY else Job(case, 1, 1, 0, 1, "cpu").config()


def measure(case: str) -> dict[str, list[float]]:
    """Return milliseconds per update of each block, by setting; the first block with the default holds its trials."""
    from gfn_vi.training.threads import torch_threads

    with torch_threads(0) as threads:
        import torch

        from gfn_vi.build import build_trainer

        trainer = build_trainer(_config(case))[0]
        for _ in range(WARMUP):
            trainer.update()
        followed = {DEFAULT: threads.after_update, "threads=1": _nothing, f"threads={threads.most}": _nothing}
        found: dict[str, list[float]] = {setting: [] for setting in followed}
        for _ in range(BLOCKS):
            for setting, after_update in followed.items():
                if setting == DEFAULT:
                    threads.start(threads.wanted)
                    torch.set_num_threads(threads.number)
                else:
                    torch.set_num_threads(int(setting.partition("=")[2]))
                found[setting].append(_block_ms(trainer.update, after_update))
    return found


def _nothing() -> None:
    pass


def _block_ms(update: Callable[[], object], after_update: Callable[[], None]) -> float:
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < BLOCK_SECONDS:
        update()
        after_update()
        n += 1
    return (time.perf_counter() - start) / n * 1e3


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
