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

from gfn_vi.training.cores import seconds_of_others

# More than that of a core used by others spoils a measurement.
DISTURBING_CORES = 0.1
PROC = Path("/proc")
# Share of the free memory that a measurement may have; the rest is for whatever else grows meanwhile.
MEMORY_SHARE = 0.8


def _said_by(file: str, pattern: str) -> list[str]:
    """Return the groups of the pattern in a file of /proc; none where there is no such file or line."""
    try:
        found = re.search(pattern, (PROC / file).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    except OSError:
        return []
    return list(found.groups()) if found else []


class Others:
    """Measure of what others use of the processor from the construction on; ended children of this process are not others."""

    def __init__(self) -> None:
        self._start, self._busy, self._processes = time.perf_counter(), seconds_of_others(), _process_seconds()

    def cores(self) -> float | None:
        """Return the mean number of cores so far; None where the system does not say."""
        busy = seconds_of_others()
        if busy is None or self._busy is None:
            return None
        return max(0.0, busy - self._busy) / (time.perf_counter() - self._start)

    def warning(self) -> str:
        """Return a line that says who disturbs, the busiest three processes first; "" where nobody does."""
        cores = self.cores()
        if cores is None:
            return "nobody can tell whether the machine is idle: it has no /proc/stat"
        if cores <= DISTURBING_CORES:
            return ""
        used = {who: seconds - self._processes.get(who, seconds) for who, seconds in _process_seconds().items()}
        busiest = [who for who in sorted(used, key=used.__getitem__, reverse=True) if used[who] > 0.02][:3]
        return f"the machine is not idle: {cores:.1f} cores busy" + (f" by {', '.join(busiest)}" if busiest else "")


def _process_seconds() -> dict[str, float]:
    """Name and number of every process but this one -> CPU seconds."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        said = _said_by(f"{folder.name}/stat", r"\((.*)\) (.*)")  # nothing where it has just ended
        if said and folder.name != str(os.getpid()):
            name, fields = said
            found[f"{name} (pid {folder.name})"] = sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


@contextmanager
def only_free_memory() -> Iterator[None]:
    """Processes started inside get an error where they ask for more than is free; else the system would end some process."""
    free = [int(MEMORY_SHARE * int(kilobytes)) * 1024 for kilobytes in _said_by("meminfo", r"^MemAvailable:\s*(\d+)")]
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (*free, soft, hard) if limit != resource.RLIM_INFINITY]
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
    models = [*_said_by("cpuinfo", r"^model name\s*: ([^\n]*)"), platform.processor(), platform.machine()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = {"python": platform.python_version(), "system": platform.platform()}
    return {"processor": next(filter(None, models)), "cores": cores, **system}
