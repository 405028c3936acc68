"""The machine, its free memory, and whether somebody else is using it.

A second busy process slows two-thread torch 3 to 10 times.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WATCH_SECONDS = 0.5
# More than that of a core used by others spoils a measurement. A tick of 10 ms in WATCH_SECONDS is 0.02.
DISTURBING_CORES = 0.1
PROC = Path("/proc")
# Of what is free; the rest is for whatever else grows meanwhile.
MEMORY_SHARE = 0.8


@dataclass(frozen=True)
class Load:
    """busy_cores: cores in use by others, None where the system does not say; busiest: what they run, the busiest first."""

    busy_cores: float | None
    busiest: tuple[str, ...]
    load_average: float

    @property
    def disturbing(self) -> bool:
        """Whether timings taken now mean little."""
        return self.busy_cores is not None and self.busy_cores > DISTURBING_CORES

    def message(self) -> str:
        """One line, to follow "before such a measurement"."""
        if self.busy_cores is None:
            return "nobody can tell whether the machine is idle: it has no /proc/stat"
        who = f" by {', '.join(self.busiest)}" if self.busiest else ""
        return f"the machine is not idle: {self.busy_cores:.1f} cores busy{who} (load average {self.load_average:.1f})"


def busy_seconds() -> float | None:
    """CPU seconds used by everybody since the machine started, the hypervisor's other guests included."""
    try:
        fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(x) for x in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """CPU seconds used by this process and the children that it has waited for."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def _process_seconds() -> dict[int, tuple[str, float]]:
    """Process -> (name, CPU seconds), this process left out."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            name, rest = (folder / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except (OSError, IndexError):
            continue  # it has just ended
        fields = rest.split()
        if int(folder.name) != os.getpid():
            found[int(folder.name)] = (name, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def watch(seconds: float = WATCH_SECONDS) -> Load:
    """Sleep, and see what others do meanwhile."""
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    own, busy, before, start = own_seconds(), busy_seconds(), _process_seconds(), time.perf_counter()
    time.sleep(seconds)
    busy_after, after, elapsed = busy_seconds(), _process_seconds(), time.perf_counter() - start
    if busy is None or busy_after is None:
        return Load(None, (), average)
    used = {pid: (now[1] - before[pid][1], now[0]) for pid, now in after.items() if pid in before}
    busiest = [f"{name} (pid {pid})" for pid, (spent, name) in sorted(used.items(), key=lambda x: -x[1][0]) if spent > 0.02]
    cores = max(0.0, (busy_after - busy) - (own_seconds() - own)) / elapsed
    return Load(cores, tuple(busiest[:3]), average)


class Disturbance:
    """Cores used by others between the start and `cores()`, children of this process that have ended not counted."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), busy_seconds(), own_seconds()

    def cores(self) -> float | None:
        """Mean so far; None where the system does not say."""
        busy = busy_seconds()
        if busy is None or self._busy is None:
            return None
        elapsed = time.perf_counter() - self._start
        return max(0.0, (busy - self._busy) - (own_seconds() - self._own)) / elapsed


def free_memory() -> int | None:
    """Bytes that a process can have without pushing others out, with some to spare; None where the system does not say."""
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(MEMORY_SHARE * int(found[0])) * 1024 if found else None


@contextmanager
def only_free_memory() -> Iterator[None]:
    """Processes started inside get an error where they ask for more than is free; else the system would end some process."""
    free, (soft, hard) = free_memory(), resource.getrlimit(resource.RLIMIT_DATA)
    limit = soft if free is None else free
    for other in (soft, hard):
        limit = limit if other == resource.RLIM_INFINITY else min(limit, other)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def lacks_memory(words: str) -> bool:
    """Whether torch, jax or Python said so."""
    return any(phrase in words.lower() for phrase in ("allocate memory", "out of memory", "bad_alloc", "memoryerror"))


def describe() -> dict[str, Any]:
    """What a timing depends on."""
    model = platform.processor() or platform.machine()
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": usable, "python": platform.python_version(), "system": platform.platform()}
