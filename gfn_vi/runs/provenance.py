"""Which code makes a run: versions of packages, the commit of gfn_vi, and whether its checkout has local changes."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from gfn_vi.core.version import VERSION

PACKAGES = {"torch": "torch", "gfn_vi": "gfn_vi", "hydra": "hydra-core"}


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """Return the commit of the checkout that this package is in; None for an installed package or without git."""
    answer = _git("rev-parse", "--show-toplevel", "HEAD")
    # An installed package may lie inside somebody else's repository.
    return answer[1] if answer is not None and len(answer) == 2 and Path(answer[0]).resolve() == _checkout() else None


@lru_cache(maxsize=1)
def has_local_changes() -> bool | None:
    """Return whether files of that checkout differ from its commit; None where there is no commit, or git does not say."""
    answer = None if git_commit() is None else _git("status", "--porcelain", "--untracked-files=no")
    return None if answer is None else answer != []


def versions() -> dict[str, str | None]:
    """Return package -> version, Python included; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = None
    if found["gfn_vi"] is None:
        found["gfn_vi"] = VERSION
    return found


def made_here(host: object) -> dict[str, str]:
    """Return the machine that a run of this host was made on, as far as it is known: {"host": ...}, {"processor": ...} here."""
    found = {"host": host} if isinstance(host, str) else {}
    return found | ({"processor": processor()} if host == socket.gethostname() else {})


def processor() -> str:
    """Return the model of this machine's processor and the number of its CPUs, as in "AMD EPYC 7B13, 2 CPUs"."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:  # no Linux
        pass
    return f"{model}, {os.cpu_count()} CPUs"


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2]


def _git(*words: str) -> list[str] | None:
    """Return the lines that git answers of the checkout; None where it fails."""
    # --no-optional-locks: to look must not be in the way of somebody who commits
    command = ["git", "--no-optional-locks", "-C", str(_checkout()), *words]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=5, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
