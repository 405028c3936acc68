"""A run is what it is, not when it started: its name is a hash of its configuration, its directory has one writer.

Files: config.yaml, status.json (who, what, how far), run.lock (held while a process writes), run.owner (who holds it).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import filelock

from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.runs.durable_files import disk_error, replace_durably
from gfn_vi.runs.files import CONFIG, LOCK, OWNER, STATUS
from gfn_vi.runs.identity import of_the_run
from gfn_vi.runs.provenance import git_commit, has_local_changes, versions

MAX_LABEL = 100
# Whoever asks is_being_written holds the lock for some microseconds: a writer tries again before it gives up.
LOCK_SECONDS, LOCK_POLL_SECONDS = 0.2, 0.02
# What flock says when somebody else holds the lock; some file systems say EACCES.
IS_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# What a later write of status.json keeps unless it is given anew.
KEPT = ("headline", "sources", "accepted_sources", "extends")

State = Literal["running", "done", "failed", "interrupted", "pruned"]


class HeldError(RunError):
    """Raised where another process writes the run."""


def _canonical(value: object, key: str) -> Any:
    """Return plain JSON values in which equal numbers look equal (1 and 1.0, 0.0 and -0.0)."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {str(k): _canonical(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_canonical(v, f"{key}[{i}]") for i, v in enumerate(value)]
    raise ConfigError(key, value, f"expected a number, string, list or mapping, not {type(value).__name__}")


def identity_digest(config: Mapping[str, Any], digits: int = 8) -> str:
    """Return hex digits, a hash of all keys and values. Raises ConfigError for a value that YAML could not hold."""
    return hashlib.sha256(json.dumps(_canonical(config, ""), sort_keys=True).encode()).hexdigest()[:digits]


def run_name(config: Mapping[str, Any]) -> str:
    """Return `<label>-<8 hex digits>`: config["run_label"] (or "run") and a hash of all but INFRASTRUCTURE_KEYS.

    config: resolved. Raises ConfigError for a value that YAML could not hold.
    """
    digest = identity_digest(of_the_run(config))
    label = re.sub(r"[^A-Za-z0-9_.=-]+", "_", str(config.get("run_label") or ""))
    return f"{label[:MAX_LABEL].strip('._-') or 'run'}-{digest}"


def identity_of(directory: Path) -> Path:
    """Return the path of a run directory without its label: equal for runs of equal configurations, whatever they are called."""
    return directory.with_name(directory.name.rpartition("-")[2])


@lru_cache(maxsize=16)
def _by_identity(folder: Path, changed: int) -> dict[Path, Path]:
    """Return identity -> path in a folder, listed once for a sweep. changed: when the folder last changed, in nanoseconds."""
    return {identity_of(path): path for path in sorted(folder.iterdir())}


def run_directory(config: Mapping[str, Any]) -> Path:
    """Return where the run of a resolved config lies: <output_root>/<experiment_name>/<run_name>, or there under another label.

    Raises ConfigError for keys that are no names of folders.
    """
    for key in ("output_root", "experiment_name"):
        require(isinstance(config[key], str) and config[key] != "", key, config[key], "expected the name of a folder")
        try:
            os.fsencode(config[key])
        except UnicodeEncodeError:
            names = f"names of files are written in {sys.getfilesystemencoding().upper()} here"
            raise ConfigError(key, config[key], f"{names}: set PYTHONUTF8=1, or LC_ALL to a locale of UTF-8") from None
    inner = Path(config["experiment_name"])
    is_below = not inner.is_absolute() and ".." not in inner.parts
    require(is_below, "experiment_name", str(inner), "expected a folder below output_root: set output_root for another place")
    path = Path(config["output_root"], inner, run_name(config))
    try:
        changed = path.parent.stat().st_mtime_ns
        return path if path.exists() else _by_identity(path.parent, changed).get(identity_of(path), path)
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise disk_error(path, error) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lock_error(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot tell from {path} whether its run is being written: {error.strerror or error}; "
        "set output_root to a folder that can be read, on a file system that can lock files"
    )


class RunDirectory:
    """The files of one run. Reading needs no lock; writing happens between `open` and `close` (or in a with block)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock: filelock.BaseFileLock | None = None
        self._facts: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}

    def open(self) -> RunDirectory:
        """Make the directory and become its only writer; the system frees the lock when the process dies.

        An open directory stays as it is. Raises HeldError when somebody else writes it, RunError when it cannot be written.
        """
        if self._lock is not None:
            return self
        lock = filelock.FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=LOCK_SECONDS, poll_interval=LOCK_POLL_SECONDS)
            self._write_owner(lock)
        except filelock.Timeout:
            raise HeldError(f"run {self.path} is being written by another process ({self.owner()})") from None
        except OSError as error:
            raise disk_error(self.path, error) from error
        self._lock = lock
        before = self.status() or {}
        started = before.get("started")
        self._kept = {key: before[key] for key in KEPT if isinstance(before.get(key), dict | list)}
        self._facts = {
            "versions": versions(),
            "git_commit": git_commit(),
            "git_local_changes": has_local_changes(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": started if isinstance(started, str) else _now(),
        }
        return self

    def close(self) -> None:
        """Let others write the run; a directory that is not open stays as it is."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.path / OWNER).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _write_owner(self, lock: filelock.BaseFileLock) -> None:
        try:
            (self.path / OWNER).write_text(f"pid {os.getpid()} on host {socket.gethostname()}\n", encoding="utf-8")
        except OSError:
            lock.release()
            raise

    def owner(self) -> str:
        """Return who writes the run, or wrote it when killed ("pid 7 on host a"); "pid unknown" where nobody left a name."""
        try:
            text = (self.path / OWNER).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
        return text or "pid unknown"

    def writer_here(self) -> int | None:
        """Return the process of this machine that writes the run; None without one. Raises RunError where nobody can tell."""
        if not self.is_being_written():
            return None
        found = self.owner().split()  # pid 7 on host a
        is_here = len(found) == 5 and found[1].isdigit() and found[4] == socket.gethostname()
        return int(found[1]) if is_here else None

    def is_being_written(self) -> bool:
        """Return whether a living process writes this run now, without creating anything or needing the right to write.

        False for a directory that is not there. Raises RunError where nobody can tell: the lock cannot be read, or the
        file system cannot lock.
        """
        path = self.path / LOCK
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _lock_error(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in IS_HELD:
                return True
            raise _lock_error(path, error) from error
        finally:
            os.close(descriptor)
        return False

    def _replace(self, name: str, text: str) -> None:
        if self._lock is None:
            raise RuntimeError(f"{name}: open the RunDirectory before writing")
        data = text.encode()
        replace_durably(self.path / name, lambda file: file.write(data))

    def write_config(self, yaml_text: str) -> None:
        """Write config.yaml, the resolved configuration. Raises RunError when the disk is full."""
        self._replace(CONFIG, yaml_text)

    def status(self) -> dict[str, Any] | None:
        """Return the content of status.json; None if it is missing or damaged."""
        try:
            content = json.loads((self.path / STATUS).read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write_status(
        self,
        state: State,
        step: int,
        error: str | None = None,
        seed: int | list[int] | None = None,
        wall_seconds: float | None = None,
        headline: dict[str, Any] | None = None,
    ) -> None:
        """Write status.json: how far the run is, with versions, git commit, host, pid and times (UTC, ISO 8601).

        error: text of the traceback; wall_seconds: training time over all processes; headline: what the run is judged by, as
        Headline.as_dict gives it, kept from the last write where it is not given. `started` is the time of the first process
        that wrote this run. Raises RunError when the disk is full.
        """
        status = {"state": state, "step": step, "error": error, "seed": seed, "wall_seconds": wall_seconds}
        if headline is not None:
            self._kept["headline"] = headline
        self._replace(STATUS, json.dumps(status | self._kept | self._facts | {"updated": _now()}, indent=2) + "\n")

    def set_sources(self, sources: Mapping[str, str]) -> None:
        """Have every later write_status say which digest each of the user's source files has, by their names."""
        self._kept["sources"] = dict(sources)

    def set_extends(self, run: str | None, step: int = 0) -> None:
        """Have every later write_status name the run whose first `step` updates are those of this one; None for no such run."""
        self._kept.pop("extends", None)
        if run is not None:
            self._kept["extends"] = {"run": run, "step": step}

    def accept_sources(self, changed: Mapping[str, str | None]) -> None:
        """Note in status.json that files have these digests now, and that somebody accepted it; the rest of it stays.

        What they were is kept under `accepted_sources`, with the number of updates until then; None: a file that is gone.
        """
        status = self.status() or {}
        before = {name: status["sources"][name] for name in changed}
        now = {name: digest for name, digest in ({**status["sources"], **changed}).items() if digest is not None}
        accepted = [*status.get("accepted_sources", []), {"until_step": status.get("step"), "sources": before}]
        self._kept |= {"sources": now, "accepted_sources": accepted}
        self._replace(STATUS, json.dumps(status | self._kept, indent=2) + "\n")

    def is_done(self) -> bool:
        """Return whether status.json says that nothing is left to do."""
        status = self.status()
        return status is not None and status.get("state") == "done"
