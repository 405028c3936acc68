"""How many cores this process may use, and how many of them others leave free."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Field of a line of /proc/stat -> whether the core works in it: user, nice, system, idle, iowait, irq, softirq, steal.
WORKS = (True, True, True, False, False, True, True, True)


def allowed_cores() -> set[int] | None:
    """Return the numbers of the cores that this process may run on; None where the system does not say."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def available_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: those it may run on, and no more than its container's quota of time.

    root: of the file system with proc and sys. Half a core more than a whole number is of no use to a thread.
    """
    cores = allowed_cores()
    n_cores = float(len(cores) if cores is not None else os.cpu_count() or 1)
    return max(1, int(min([n_cores, *_quotas(root)])))


def _quotas(root: Path) -> list[float]:
    """Return the limits of time in cores of all control groups that this process is in, from its own to the outermost."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / controllers  # version 2 has no controllers here
        inner = mounted / path.lstrip("/")
        for folder in (inner, *inner.parents):
            found += _quota(folder)
            if folder == mounted:
                break
    return found


def _quota(folder: Path) -> list[float]:
    """Return the limit of one control group in cores; none where it has none, or is not to be seen from in a container."""
    try:
        if (folder / "cpu.max").exists():  # version 2: microseconds, or max, of a period in microseconds
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period"))
        return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    except (OSError, ValueError):
        return []


def seconds_of_others(root: Path = Path("/")) -> float | None:
    """Return the seconds that all but this process have worked on its cores since the machine started; None: nobody says.

    Other guests of the hypervisor count, children of this process that have ended do not.
    """
    cores = allowed_cores()
    try:
        lines = [line.split() for line in (root / "proc/stat").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    ticks = 0
    for name, *fields in lines:
        if name[:3] == "cpu" and name[3:].isdigit() and (cores is None or int(name[3:]) in cores):
            ticks += sum(int(field) for field, works in zip(fields, WORKS, strict=False) if works)
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


class FreeCores:
    """The cores that others leave free, seen from one look to the next."""

    def __init__(self) -> None:
        self._cores = allowed_cores()
        self.looked = time.monotonic()
        self._others = seconds_of_others()

    def look(self) -> float | None:
        """Return the mean number of cores that nobody else used since the last look; None where the system does not say."""
        now, others, before = time.monotonic(), seconds_of_others(), (self.looked, self._others)
        self.looked, self._others = now, others
        if others is None or before[1] is None or self._cores is None or now <= before[0]:
            return None
        return len(self._cores) - max(0.0, others - before[1]) / (now - before[0])
