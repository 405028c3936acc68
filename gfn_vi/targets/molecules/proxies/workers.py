"""Processes that call a slow function of molecules, each for its part of a batch; this imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from threading import Thread

from gfn_vi.targets.molecules.proxies.calls import Call, CallError


class Workers:
    """Starts its processes with the first batch; they end with this process, or when nobody holds this object."""

    def __init__(self, n_workers: int, call: Call) -> None:
        """call: what each process does with its part; it has to import the function by name."""
        self.n_workers, self.call = n_workers, call
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, smiles: Sequence[str]) -> list[float]:
        """Return the number for each SMILES. Raises CallError, also where a process has died."""
        if self._pool is None:
            # a forked process would inherit the locks of torch's threads, held by threads that it does not have
            self._pool = ProcessPoolExecutor(self.n_workers, get_context("spawn"), _end_with_parent)
            # A process of a launcher waits for its own processes before executors are told that it ends. So they are told
            # here, and before their queues close, which is done with priority 10.
            Finalize(self, self._pool.shutdown, kwargs={"cancel_futures": True}, exitpriority=100)
        size = -(-len(smiles) // self.n_workers)
        parts = [smiles[i : i + size] for i in range(0, len(smiles), size)]
        try:
            answers: list[Future[list[float]]] = [self._pool.submit(self.call, part) for part in parts]
            return [value for answer in answers for value in answer.result()]
        except BrokenProcessPool as error:
            self.close()
            reasons = "killed, out of memory, or started by a script without `if __name__ == '__main__':`"
            why = f"ended one of its {self.n_workers} processes ({reasons})"
            raise CallError(f"{why}; the batch began with {smiles[0]}; try target.proxy.workers=0") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes as soon as what they are doing is done; the next batch starts others."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _end_with_parent() -> None:
    """Let the process end when its parent does, even where that was killed and could not say so."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
