"""The number of torch's threads: one that the user fixes, or one that follows the free cores and what more threads gain.

A product of small matrices gains little from more threads and loses everything to a busy core: its threads wait for each other
after every operation, so the one whose core somebody else uses holds up all. Hence threads=0 starts with one thread and

    looks every LOOK_SECONDS how many cores others leave free; more threads than those are given up at once;
    where more are free, times PAIRS updates with the present number and PAIRS with twice as many, in turn, and keeps what is
    faster, until twice as many no longer pay. After that it rests for REST times as long as the trial took.

The updates of a trial are updates like all others. Large sums can differ in their last bits between numbers of threads;
threads=N keeps one number from the first update to the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from gfn_vi.core.errors import require
from gfn_vi.core.seeds import is_whole
from gfn_vi.training.cores import FreeCores, available_cores

LOOK_SECONDS = 0.5
# What others use of a core without taking it: the system's own processes.
NEGLIGIBLE_CORES = 0.25
PAIRS = 5
# More threads have to save this share of the time.
LEAST_GAIN = 0.05
REST = 30


class Threads:
    """The number of torch's threads while a run trains; `after_update` adapts it."""

    def __init__(self, most: int, free_cores: Callable[[], float | None], clock: Callable[[], float] = time.perf_counter) -> None:
        """most: of all threads; free_cores: since its last call, None where nobody knows; clock: in seconds."""
        self.most, self._free_cores, self._clock = most, free_cores, clock
        self.number = self.wanted = 1  # with fewer free cores than wanted, the number is lower
        self._since, self._looked, self._rests_until = clock(), -math.inf, -math.inf
        self._trial: dict[int, list[float]] = {}  # number of threads -> seconds of the updates with it

    def start(self, wanted: int) -> None:
        """Begin with the number that an earlier process of this run had, as far as its cores are free."""
        self.wanted = min(wanted, self.most)
        self._set(min(self.wanted, self._free(self._clock())))
        self._since = self._clock()

    def after_update(self) -> None:
        """Take in that an update has ended, and set the number for the next one."""
        if self.most == 1:
            return
        now = self._clock()
        if self._trial:
            self._time(now - self._since, now)
        if now - self._looked >= LOOK_SECONDS:
            self._follow(self._free(now), now)
        self._since = self._clock()

    def _free(self, now: float) -> int:
        """Look how many threads have a core of their own."""
        self._looked = now
        free = self._free_cores()
        return self.most if free is None else max(1, min(self.most, int(free + NEGLIGIBLE_CORES)))

    def _follow(self, free: int, now: float) -> None:
        """Give up threads that have no core, and take them again; try more where there are, unless that was tried just now."""
        if self._trial and free >= max(self._trial):
            return
        self._trial = {}
        self._set(min(self.wanted, free))
        if free > self.wanted and now >= self._rests_until:
            self._try(free, now)

    def _try(self, free: int, now: float) -> None:
        self._tried_since, self._tried_among = now, free
        self._trial = {self.wanted: [], min(2 * self.wanted, free): []}

    def _time(self, seconds: float, now: float) -> None:
        """Note what an update took; at the end of a trial keep the faster number, and go on where twice as many may be faster."""
        (fewer, slowly), (more, fast) = self._trial.items()
        self._trial[self.number].append(seconds)
        if len(fast) < PAIRS:
            self._set(more if self.number == fewer else fewer)
            return
        pays = median(fast) < (1 - LEAST_GAIN) * median(slowly)
        self._trial, self.wanted = {}, more if pays else fewer
        self._set(self.wanted)
        self._rests_until = now + REST * (now - self._tried_since)
        if pays and more < self._tried_among:
            self._try(self._tried_among, now)

    def _set(self, number: int) -> None:
        import torch

        if number != self.number:
            self.number = number
            torch.set_num_threads(number)


def remark_on_threads(threads: int) -> list[str]:
    """Return a line for the user where some of the threads have no core of their own."""
    cores = available_cores()
    if threads <= cores:
        return []
    return [f"threads={threads} on {cores} available cores: threads wait for those without a core; use threads=0, or {cores}"]


@contextmanager
def torch_threads(threads: int, device: str = "cpu") -> Iterator[Threads]:
    """Set torch's threads, and restore them afterwards, since one process may run several jobs.

    threads: 0 for a number that follows the free cores, and one where an accelerator computes. No more than OMP_NUM_THREADS
    allows, which is how launchers share the cores among their workers. Raises ConfigError for what is no number of threads.
    """
    require(is_whole(threads) and threads >= 0, "threads", threads, "expected a whole number >= 0")
    free = FreeCores()  # before torch is imported: by the time that training starts, this knows whether the machine is idle
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or 1)
    adapts = threads == 0 and device == "cpu"
    try:
        yield Threads(min(before, available_cores()) if adapts else 1, free.look)
    finally:
        torch.set_num_threads(before)
