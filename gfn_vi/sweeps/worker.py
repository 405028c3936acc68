"""The task of a job in a process that a launcher started: stops in good order, and leaves when its sweep is gone.

A terminal's Ctrl-C reaches the workers, too, and whoever ends the sweep tells them with SIGTERM. A worker then saves what
it trains; between jobs, a signal must not end it, since joblib kills all workers when one dies. Slurm warns a job before it
ends it, for lack of time or for a more urgent one: the run saves, then is queued again (submitit alone would leave at once).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.errors import RunError, require
from gfn_vi.runs.source_files import code_named_by, digests_of
from gfn_vi.runs.sources import require_unchanged

SECONDS_BETWEEN_LOOKS = 0.5

Task = Callable[[DictConfig], float | None]


class JobStoppedError(Exception):
    """A signal ended the job."""


class JobError(Exception):
    """A job's error as one line that survives the way back from any worker; is_input: a mistake in the configuration."""

    def __init__(self, line: str, is_input: bool) -> None:
        super().__init__(line, is_input)
        self.line, self.is_input = line, is_input


def find_user_modules() -> None:
    """Modules in the current folder can be named by `_target_`; last, so that they hide no installed one."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())


def require_no_chdir(chdir: object) -> None:
    """Raise ConfigError where Hydra would let jobs work in folders of their own: paths are relative to that of the command."""
    advice = "leave it out: paths are relative to the folder of the command, and a run has a directory of its own (output_root)"
    require(not chdir, "hydra.job.chdir", chdir, advice)


class InWorker:
    """A task function to be called in workers; made in the process that launches them.

    sources: digests of the user's files when the sweep began: a job that would have others is refused.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._host, self._launched_by = task, socket.gethostname(), os.getpid()
        self._folder = os.getcwd()
        self.sources: dict[str, str] = {}

    def __call__(self, config: DictConfig) -> float | None:
        is_here = self._host == socket.gethostname()
        if is_here and self._launched_by == os.getpid():
            self._check_sources(config)
            return self._task(config)
        _WORKER.prepare(self._launched_by if is_here else None)
        self._enter_folder()
        self._check_sources(config)
        if config.progress is None:  # the bars of several workers would be drawn over each other
            config.progress = False
        _WORKER.is_busy = True
        try:
            with _warnings_save_and_requeue():
                return self._task(config)
        finally:
            _WORKER.is_busy = False

    def _enter_folder(self) -> None:
        """A cluster's workers start elsewhere; relative paths and the user's modules are meant from here."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            place = f"{socket.gethostname()} cannot enter {self._folder} ({error.strerror})"
            raise JobError(f"{place}: start the sweep in a folder that all machines share", is_input=True) from error
        find_user_modules()

    def _check_sources(self, config: DictConfig) -> None:
        """A process that imported a module keeps that version of it, and later ones would import another."""
        plain: Any = OmegaConf.to_container(config)
        own = digests_of(code_named_by(plain)) if self.sources else {}
        try:
            require_unchanged({name: self.sources[name] for name in own if name in self.sources}, "this sweep began")
        except RunError as error:
            raise JobError(str(error), is_input=True) from error


@contextmanager
def _warnings_save_and_requeue() -> Iterator[None]:
    """While a job runs, answer a warning with a Ctrl-C; submitit then has its turn and leaves with SystemExit.

    A job that a signal ended raises JobStoppedError. Nothing answers a warning outside the main thread, or that nobody expects.
    """
    queue_again = signal.getsignal(signal.SIGUSR2)
    is_prepared = callable(queue_again) and threading.current_thread() is threading.main_thread()
    is_warned = False

    def warn(number: int, frame: FrameType | None) -> None:
        nonlocal is_warned
        if not is_warned:  # a second Ctrl-C would not wait for the first
            is_warned = True
            signal.raise_signal(signal.SIGINT)  # a SIGTERM may have come before: preemption sends both

    if is_prepared:
        signal.signal(signal.SIGUSR2, warn)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if is_warned and callable(queue_again):
            queue_again(signal.SIGUSR2, None)
        raise JobStoppedError("stopped by a signal") from None
    finally:
        if is_prepared:
            signal.signal(signal.SIGUSR2, queue_again)


class _Worker:
    """This process, if it is a worker."""

    def __init__(self) -> None:
        self.is_busy = False
        self._parent: int | None = None  # the process that launched it, where that is its parent
        self._is_prepared = False

    def prepare(self, launched_by: int | None) -> None:
        """Before each job: end where nobody waits for it. Before the first one: answer signals and watch the parent."""
        if self._parent is not None and os.getppid() != self._parent:
            os._exit(1)
        if self._is_prepared:
            return
        self._is_prepared = True
        is_child = launched_by == os.getppid()  # of joblib; a cluster's workers have signals and parents of their own
        if is_child and threading.current_thread() is threading.main_thread():
            self._parent = launched_by
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._answer)
            threading.Thread(target=self._leave_with_parent, daemon=True).start()

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if self.is_busy:  # it builds or finishes: while it trains, the run answers, and saves
            raise KeyboardInterrupt

    def _leave_with_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)
        while self.is_busy:  # it saves
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)  # sys.exit would end this thread only, and nobody is left to talk to


_WORKER = _Worker()
