"""Launch jobs with any launcher until each is finished: what counts is what the runs' directories say.

    outcomes = Launches(launcher, max_batch_size=None, max_losses=2).run(jobs)     # one per job, in order: state, error

Jobs that are done already are not launched, those that raise are not repeated. When a worker dies, the
launcher gives up; jobs that had not started are launched again, and those that were running are tried again each in a
launch of its own, so that the one that kills workers takes nobody along. Jobs that other processes write are waited for.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from gfn_vi.core.errors import RunError
from gfn_vi.runs.directory import HeldError, RunDirectory
from gfn_vi.runs.manifest import refuse
from gfn_vi.runs.state import FINISHED, PRUNED, RunState, give_up, look
from gfn_vi.sweeps.interrupts import workers_save_first
from gfn_vi.sweeps.jobs import Job
from gfn_vi.sweeps.worker import JobError, JobStoppedError
from gfn_vi.terminal.hydra_errors import in_one_line

# Launchers under which a job that dies takes no other along, by module.
SEPARATE = ("hydra_plugins.hydra_submitit_launcher",)
# What launchers raise when a worker died (joblib, Ray, submitit); anything else that comes before a job ran is a mistake.
LOSSES = {
    *("TerminatedWorkerError", "BrokenProcessPool"),
    *("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "RayActorError"),
    "UncompletedJobError",
}
REFUSALS = {"FailedJobError"}  # submitit calls it a loss, but it is what sbatch says of options that it does not take
SECONDS_BETWEEN_LOOKS = 2.0
# A job's end is known before its files are where machines share a disk by network.
SECONDS_TO_SETTLE = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended. interrupted: it paused where checkpoint.pause_after says; pruned: a search stopped it; error: one line;
    is_input: the error is a mistake in the configuration.
    """

    job: Job
    state: Literal["done", "diverged", "failed", "interrupted", "pruned"]
    error: str | None = None
    is_input: bool = False


def say(line: str) -> None:
    """Tell whoever watches."""
    print(line, file=sys.stderr, flush=True)


class Launches:
    """Launches of one launcher. max_batch_size: jobs per launch, None for all; max_losses: per job, before it is given up."""

    def __init__(self, launcher: Launcher, max_batch_size: int | None, max_losses: int) -> None:
        self._launcher, self._size, self._max_losses = launcher, max_batch_size, max_losses
        self._shares_fate = not type(launcher).__module__.startswith(SEPARATE)
        self._losses: Counter[Path] = Counter()
        self._waiting_for: set[Path] = set()
        self._launched = 0

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Launch until every job is finished. Raises RunError if the launcher cannot start any, KeyboardInterrupt."""
        outcomes: dict[Path, Outcome] = {}
        todo = {job.directory: job for job in jobs}
        while todo:
            ended = self._round(list(todo.values()))
            refuse((o.job, o.error or "") for o in ended if o.state == "failed" and look(o.job.directory).state == "missing")
            for outcome in ended:
                outcomes[outcome.job.directory] = outcome
                del todo[outcome.job.directory]
        return [outcomes[job.directory] for job in jobs]

    def _round(self, todo: list[Job]) -> list[Outcome]:
        """One launch, or one look at what others write."""
        lost = [job for job in todo if self._losses[job.directory]] if self._shares_fate else []
        suspects = [job for job in lost if look(job.directory).state != "running"]  # those that others write come last
        size = 1 if suspects else self._size
        finished, before = [], {}
        for job in suspects or todo:
            standing = look(job.directory)
            if standing.is_finished:
                finished.append(_finished(job, standing))
            elif standing.state != "running":
                before[job] = standing
            if len(before) == size:
                break
        if before:
            return finished + self._launch(before)
        if not finished:
            self._wait(suspects or todo)
        return finished

    def _wait(self, held: list[Job]) -> None:
        for job in held:
            if job.directory not in self._waiting_for:
                self._waiting_for.add(job.directory)
                say(f"waiting for {job.directory}, which another process writes ({RunDirectory(job.directory).owner()})")
        with workers_save_first([], say):
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _launch(self, before: dict[Job, RunState]) -> list[Outcome]:
        """One launch of jobs that stood as `before`; the outcomes of those that are finished."""
        batch = list(before)
        first, self._launched = self._launched, self._launched + len(batch)
        with workers_save_first([job.directory for job in batch], say):
            try:
                returned = self._launcher.launch([list(job.overrides) for job in batch], initial_job_idx=first)
            except Exception as error:  # noqa: BLE001 (each launcher has its own; the runs' directories say what happened)
                return self._after_a_loss(before, error)
        results = [self._judged(job, before[job], answer) for job, answer in zip(batch, returned, strict=True)]
        return [outcome for outcome in results if outcome is not None]

    def _after_a_loss(self, before: dict[Job, RunState], error: Exception) -> list[Outcome]:
        """The launcher gave up and has no answers; what the jobs have written tells which of them had started."""
        after = {job: look(job.directory) for job in before}
        changed = [job for job in before if after[job].version != before[job].version]
        is_loss = type(error).__name__ not in REFUSALS and any(kind.__name__ in LOSSES for kind in type(error).__mro__)
        if not changed and not is_loss:
            raise RunError(f"{type(self._launcher).__name__} cannot start jobs: {_line(error)}") from error
        say("a worker died" if is_loss else f"the launcher gave up: {_line(error)}")
        outcomes = [_finished(job, standing) for job, standing in after.items() if standing.is_finished]
        outcomes += [Outcome(job, "failed", after[job].error_line) for job in changed if after[job].state == "failed"]
        outcomes += [Outcome(job, PRUNED) for job in changed if after[job].state == PRUNED]
        suspects = [job for job in changed if after[job].state in ("killed", "interrupted")]
        if not suspects and not outcomes:  # the worker died before its job wrote anything: it was one of the first
            suspects = list(before)[:1]
        return outcomes + [outcome for job in suspects if (outcome := self._lost(job)) is not None]

    def _judged(self, job: Job, before: RunState, answer: JobReturn) -> Outcome | None:
        """How a job ended that the launcher has an answer of; None: it is not finished."""
        error = _error_of(answer)
        after = look(job.directory) if error is not None else _settled(job)
        if after.is_finished:
            return _finished(job, after)
        if after.state == "running":  # another process was faster
            return None
        if error is None and after.state in ("interrupted", PRUNED):
            return Outcome(job, PRUNED if after.state == PRUNED else "interrupted")
        if error is None:
            return Outcome(job, "failed", "it ended, but its directory does not say so: do all machines share this folder?")
        is_stopped = after.version != before.version and after.state in ("killed", "interrupted")
        if is_stopped or isinstance(error, JobStoppedError):
            return self._lost(job)
        return Outcome(job, "failed", _line(error), is_input=isinstance(error, JobError) and error.is_input)

    def _lost(self, job: Job) -> Outcome | None:
        """Count a loss; the outcome of a job that was lost too often."""
        self._losses[job.directory] += 1
        losses = self._losses[job.directory]
        if losses < self._max_losses:
            say(f"lost, to be tried again{' by itself' if self._shares_fate else ''}: {job.directory}")
            return None
        if look(job.directory).state == "interrupted":
            return Outcome(job, "failed", f"stopped by a signal {losses} times")
        try:
            return Outcome(job, "failed", give_up(job.directory, losses))
        except HeldError:  # another process goes on with it
            return None
        except RunError as error:
            return Outcome(job, "failed", str(error))


def _finished(job: Job, standing: RunState) -> Outcome:
    return Outcome(job, "diverged" if standing.state == "diverged" else "done", standing.error_line or None)


def _settled(job: Job) -> RunState:
    """Return the state of a job that ended well, as soon as its directory tells it; wait at most SECONDS_TO_SETTLE."""
    deadline = time.monotonic() + SECONDS_TO_SETTLE
    while True:
        standing = look(job.directory)
        if standing.state in (*FINISHED, "interrupted", PRUNED) or time.monotonic() > deadline:
            return standing
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _error_of(answer: JobReturn) -> Exception | None:
    """Return what a job raised; None if it ended well."""
    with contextlib.redirect_stderr(io.StringIO()):  # Hydra prints the overrides, which our summary does
        try:
            _ = answer.return_value
        except Exception as error:  # noqa: BLE001 (whatever the job raised)
            return error
    return None


def _line(error: Exception) -> str:
    if isinstance(error, JobError):
        return error.line
    return f"{type(error).__name__}: {in_one_line(error)}"
