"""The machine, its free memory, and whether somebody else is using it.

A second busy process slows two-thread torch 3 to 10 times.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WATCH_SECONDS = 0.5
# More than that of a core used by others spoils a measurement. A tick of 10 ms in WATCH_SECONDS is 0.02.
DISTURBING_CORES = 0.1
PROC = Path("/proc")
# Share of the free memory that a measurement may have; the rest is for whatever else grows meanwhile.
MEMORY_SHARE = 0.8


class Others:
    """What others use of the processor from the construction on; ended children of this process are not others."""

    def __init__(self) -> None:
        self._start, self._busy, self._processes = time.perf_counter(), _seconds_of_others(), _process_seconds()

    def cores(self) -> float | None:
        """Return the mean number of cores so far; None where the system does not say."""
        busy = _seconds_of_others()
        if busy is None or self._busy is None:
            return None
        return max(0.0, busy - self._busy) / (time.perf_counter() - self._start)

    def busiest(self) -> list[str]:
        """Return the names of the three processes that used the most, the busiest first."""
        used = {who: seconds - self._processes[who] for who, seconds in _process_seconds().items() if who in self._processes}
        return [who for who in sorted(used, key=used.__getitem__, reverse=True) if used[who] > 0.02][:3]


def watch() -> tuple[float | None, str]:
    """Sleep, and return how many cores others use meanwhile, and a line that says so where it may disturb; else ""."""
    others = Others()
    time.sleep(WATCH_SECONDS)
    cores = others.cores()
    if cores is None:
        return None, "nobody can tell whether the machine is idle: it has no /proc/stat"
    if cores <= DISTURBING_CORES:
        return cores, ""
    who = ", ".join(others.busiest()) or "nobody that can be seen"
    return cores, f"the machine is not idle: {cores:.1f} cores busy by {who} (load average {os.getloadavg()[0]:.1f})"


def _seconds_of_others() -> float | None:
    """CPU seconds of all but this process and its ended children, the hypervisor's other guests included."""
    try:
        fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(x) for x in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _process_seconds() -> dict[str, float]:
    """Name and number of every process but this one -> CPU seconds."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            name, rest = (folder / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except (OSError, IndexError):
            continue  # it has just ended
        if int(folder.name) != os.getpid():
            found[f"{name} (pid {folder.name})"] = sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def _said_by(file: str, pattern: str) -> str | None:
    """Return the first group of the pattern in a file of /proc; None where there is no such file or line."""
    try:
        found = re.search(pattern, (PROC / file).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def free_memory() -> int | None:
    """Bytes that a process can have without pushing others out, with some to spare; None where the system does not say."""
    kilobytes = _said_by("meminfo", r"^MemAvailable:\s*(\d+)")
    return None if kilobytes is None else int(MEMORY_SHARE * int(kilobytes)) * 1024


@contextmanager
def only_free_memory() -> Iterator[None]:
    """Processes started inside get an error where they ask for more than is free; else the system would end some process."""
    free, (soft, hard) = free_memory(), resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (free, soft, hard) if limit is not None and limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits, default=soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def lacks_memory(words: str) -> bool:
    """Whether torch, jax or Python said so."""
    return any(phrase in words.lower() for phrase in ("allocate memory", "out of memory", "bad_alloc", "memoryerror"))


def describe() -> dict[str, Any]:
    """Return what a timing depends on."""
    model = _said_by("cpuinfo", r"^model name\s*:\s*(.*)$") or platform.processor() or platform.machine()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": usable, "python": platform.python_version(), "system": platform.platform()}
