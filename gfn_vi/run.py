"""One run on disk: lock, resume, train, record, checkpoint, finish. What it needs on disk is runs, what it does is training.

A run that is done returns at once; one that was interrupted, killed or failed goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.command_line import command
from gfn_vi.core.errors import RunError, require
from gfn_vi.runs.directory import RunDirectory, identity_of, run_directory
from gfn_vi.runs.files import CHECKPOINT, METRICS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.last_values import headline_value
from gfn_vi.runs.log import log_lines
from gfn_vi.runs.sources import doubt_about_table, require_unchanged, settle_changes, sources_of
from gfn_vi.runs.state import PRUNED, look

# Draws what fits the target of a run without a report.
ANY_PICTURE = {"_target_": "gfn_vi.analysis.pictures.of_run.report", "_partial_": True}

if TYPE_CHECKING:  # torch takes two seconds to import: a finished run does without
    from torch import Tensor

    from gfn_vi.runs.recorder import Recorder
    from gfn_vi.runs.shorter import Shorter, WithBudget
    from gfn_vi.training.before_end import Difference
    from gfn_vi.training.threads import Threads
    from gfn_vi.training.trainer import Trainer

log = logging.getLogger("gfn_vi")

PAUSE, EXTEND = "checkpoint.pause_after", "checkpoint.extend"


def run(config: DictConfig, is_of_sweep: bool = False, with_budget: WithBudget | None = None) -> float | None:
    """Train `config` (resolved) to its end; return its headline, a mean over replicas.

    is_of_sweep: whether a sweep has looked at the other runs of the folder. with_budget: the configuration with another
    n_trajectories, so that what follows it can be named; None where nobody can tell. The worst value stands for a run in which a
    replica became non-finite, None for one without a headline or that paused.

    Raises ConfigError before work starts, RunError for what the disk or another process prevents, KeyboardInterrupt after
    Ctrl-C or SIGTERM, once the state is saved.
    """
    directory = RunDirectory(run_directory(config))
    require(isinstance(config.checkpoint.extend, bool), EXTEND, config.checkpoint.extend, "expected true or false")
    settle_changes([directory.path], config.checkpoint.accept_changed_sources)
    if directory.is_done():
        return _already_done(config, directory.path)

    from gfn_vi.build import build_trainer
    from gfn_vi.runs.references import ReferenceFile
    from gfn_vi.training.threads import remark_on_threads, torch_threads

    with torch_threads(config.threads, config.device) as threads:
        sources = sources_of(config)
        trainer, remarks = build_trainer(config, ReferenceFile(config))
        require_unchanged(sources, "this command began to read it")  # what was imported is what is recorded
        with directory, log_lines(directory.path):
            if directory.is_done():  # by another process, since we looked
                return _already_done(config, directory.path)
            doubt = None if is_of_sweep else doubt_about_table(directory.path.parent, sources)
            for remark in [*remark_on_threads(config.threads), *remarks, *([] if doubt is None else [doubt])]:
                log.warning(remark)
            directory.set_sources(sources)
            return _Session(config, trainer, directory, threads, with_budget).run()


def _already_done(config: DictConfig, path: Path) -> float | None:
    shown = f"what it found is shown and drawn again by: {command('pictures')} {shlex.quote(str(path))}\n"
    diverged = look(path).error_line
    done = f"already done, but {diverged}" if diverged else "already done"
    _print(f"{shown if config.evaluation.reports else ''}{done}; to run it again, delete the directory", path)
    return headline_value(path)


def _print(line: str, path: Path) -> None:
    """Print what became of the run, then where it is; in one piece: other runs of a sweep may write to the same terminal."""
    text = f"{line}\n{path}\n"
    try:
        # by print: a program without a terminal may have no stdout at all
        print(text, end="", flush=True)
    except UnicodeEncodeError:  # of a program's own stream: commands have prepared theirs
        print(text.encode("ascii", "backslashreplace").decode(), end="", flush=True)
    except OSError as error:  # whoever read it has gone, or its disk is full: the run is what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to flush, too
        log.warning("stdout cannot be written (%s): %s", error.strerror, line)


class _Session:
    """The part of a run that one process does, from its lock to its release."""

    def __init__(
        self, config: DictConfig, trainer: Trainer, directory: RunDirectory, threads: Threads, with_budget: WithBudget | None
    ) -> None:
        self.threads, self._with_budget = threads, with_budget
        self._before_end: dict[str, Any] | None = None  # what a longer run would have in place of the checkpoint's state
        self._must_measure = False  # whether the run that this one goes on from ended where this one measures
        self.config, self.trainer, self.directory, self.path = config, trainer, directory, directory.path
        self.seed: int | list[int] = config.seed if isinstance(config.seed, int) else list(config.seed)

    def run(self) -> float | None:
        """Train, then finish or leave; what `run` above returns."""
        from gfn_vi.mirrors import build_sinks
        from gfn_vi.runs.recorder import Recorder

        sinks = build_sinks(self.config, self.path)  # under the lock, and their complaints go to run.log
        self.directory.write_config(OmegaConf.to_yaml(self.config))
        recorder = Recorder(self.path, sinks, self.config.replicas)
        failed, stopped_by = True, ""
        try:
            self._resume(recorder)
            if self.trainer.parts.references is not None:
                self.trainer.parts.references.prepare()  # minutes, in which Ctrl-C is answered at once
            if self._must_measure:
                self.trainer.measure_if_due(recorder.record)
            stopped_by = self._train(recorder)
            failed = False
        except Exception:
            error = traceback.format_exc()
            log.debug(error)
            self._tell("failed", error)
            raise
        finally:
            if failed or stopped_by:
                recorder.close(failed)
        if stopped_by:
            self._leave(stopped_by)
            return None
        try:
            return self._finish(recorder)
        finally:
            recorder.close(failed=False)

    def _tell(self, state: Any, error: str | None = None, headline: dict[str, Any] | None = None) -> None:
        from gfn_vi.training.result import divergence

        trainer = self.trainer
        error = divergence(trainer) if error is None else error
        self.directory.write_status(state, trainer.step, error, self.seed, trainer.wall_seconds, headline)

    def _resume(self, recorder: Recorder) -> None:
        from gfn_vi.runs.checkpoint import load_checkpoint

        trainer, state = self.trainer, load_checkpoint(self.path / CHECKPOINT)
        if state is None:
            self._start(recorder)
        else:
            own = identity_of(self.path).name
            if state.get("run", own) != own:  # another run's, copied here: its seed would count twice
                raise RunError(f"{self.path / CHECKPOINT} is that of another run, {state['run']}: delete it, or this directory")
            trainer.load_state_dict(state["trainer"])
            self.threads.start(state.get("threads", 1))
            recorder.rewind(state["metrics_bytes"])
            self._before_end = state.get("before_end")
            log.info("resuming at %d of %d trajectories", trainer.seen, trainer.budget.n_trajectories)
            for line in trainer.divergences.values():  # who resumes may not have seen what was said then
                log.warning(line)
        judged_by = trainer.parts.headline
        self._tell("running", headline=None if judged_by is None else judged_by.as_dict())

    def _start(self, recorder: Recorder) -> None:
        """Start where a shorter run of the same settings has ended or is, or else anew."""
        from gfn_vi.runs.shorter import find_shorter

        trainer = self.trainer
        plain: Any = OmegaConf.to_container(self.config)
        shorter, why = find_shorter(self.path, plain, self._with_budget)
        if why:
            log.info(why)
        if shorter is None:
            log.debug("starting, %d trajectories for each of %d replicas", trainer.budget.n_trajectories, trainer.n_replicas)
            recorder.rewind(0)
            self.directory.set_extends(None)
        else:
            self._go_on_from(shorter, recorder)

    def _go_on_from(self, shorter: Shorter, recorder: Recorder) -> None:
        from gfn_vi.training.before_end import restored

        trainer, state = self.trainer, shorter.state
        found: list[Difference] = state["before_end"]["differences"] if shorter.is_at_its_end else []
        recorder.begin_with(shorter.path / METRICS, shorter.position)
        trainer.load_state_dict(restored(state["trainer"], found))
        self.threads.start(state.get("threads", 1))
        self._must_measure = shorter.is_at_its_end
        self.directory.set_extends(shorter.path.name, shorter.step)
        told = "going on from %s, which differs in trainer.n_trajectories alone, at %d of %d trajectories"
        log.info(told, shorter.path, trainer.seen, trainer.budget.n_trajectories)
        for line in trainer.divergences.values():
            log.warning(line)

    def _keep_before_end(self, recorder: Recorder) -> None:
        from gfn_vi.training.before_end import copied

        self._before_end = {"state": copied(self.trainer.state_dict()), "metrics_bytes": recorder.position()}

    def _save(self, recorder: Recorder) -> None:
        from gfn_vi.runs.checkpoint import save_checkpoint
        from gfn_vi.training.before_end import differences

        trained = self.trainer.state_dict()
        if self._before_end is not None and "state" in self._before_end:
            self._before_end["differences"] = differences(self._before_end.pop("state"), trained)
        about = {"run": identity_of(self.path).name, "threads": self.threads.wanted, "before_end": self._before_end}
        state = {"trainer": trained, "metrics_bytes": recorder.position()} | about
        save_checkpoint(self.path / CHECKPOINT, state)
        self._tell("running")

    def _train(self, recorder: Recorder) -> str:
        """Train with progress bar, checkpoints and a tidy answer to Ctrl-C; return what stopped it early, or ""."""
        from gfn_vi.training.process import stop_signals
        from gfn_vi.training.progress import ProgressBar
        from gfn_vi.training.result import frozen_words

        trainer, config, budget = self.trainer, self.config, self.trainer.budget
        headline = None if trainer.parts.headline is None else trainer.parts.headline.metric
        bar = ProgressBar(budget.steps * budget.batch_size, self._label, config.progress, headline)
        pruning = self._pruning()

        def record(step: int, seen: int, calls: Sequence[int], seconds: float, metrics: Mapping[str, Tensor]) -> None:
            recorder.record(step, seen, calls, seconds, metrics)
            if pruning is not None:
                pruning.hear(seen, metrics, is_lost=bool(trainer.divergences))

        pause = config.checkpoint.pause_after
        if pause is not None and trainer.seen >= pause:  # it paused there already
            if trainer.seen - pause >= budget.batch_size and trainer.step < budget.steps:  # or had come further than that
                behind = f"{PAUSE}={pause} lies behind the {trainer.seen} trajectories that the run already has"
                log.warning("%s: it trains to its end, %d, without a pause", behind, trainer.budget.n_trajectories)
            pause = None
        saved = time.monotonic()

        def after_update(loss: Tensor) -> bool:
            nonlocal saved
            self.threads.after_update()
            if bar.due():
                bar.update(trainer.seen, float(loss.mean()), trainer.headline(), trainer.headline_mark(), frozen_words(trainer))
            if trainer.step < budget.steps and pruning is not None and pruning.is_hopeless:
                return False
            if received or (pause is not None and trainer.seen >= pause and trainer.step < budget.steps):
                return False
            if time.monotonic() - saved >= config.checkpoint.every_seconds:
                self._save(recorder)
                saved = time.monotonic()
            return True

        with stop_signals() as received:
            bar.start(trainer.seen)
            try:
                finished = trainer.run(record, after_update, lambda: self._keep_before_end(recorder))
                bar.update(trainer.seen, None, trainer.headline(), trainer.headline_mark(), frozen_words(trainer))
            finally:
                bar.stop()
            self._save(recorder)
        if finished:
            return ""
        if received:
            return signal.Signals(received[0]).name
        return PRUNED if pruning is not None and pruning.is_hopeless else PAUSE

    def _pruning(self) -> Any:
        """Return who is told every record of the run and says when it is hopeless; None for a run that is judged by nobody."""
        from hydra.utils import instantiate

        node = self.config.checkpoint.pruning
        if node is None:
            return None
        return instantiate(node, _partial_=True)(self.path, self.trainer.parts.headline)

    def _leave(self, stopped_by: str) -> None:
        """Say that the same command goes on. Raises KeyboardInterrupt unless the run paused where it was told to."""
        is_pruned = stopped_by == PRUNED
        self._tell(PRUNED if is_pruned else "interrupted")
        log.debug("%s: stopped after %d trajectories", stopped_by, self.trainer.seen)
        on = "the same command without the search goes on" if is_pruned else "the same command goes on"
        _print(f"{stopped_by}: stopped after {self.trainer.seen} trajectories, all saved; {on}", self.path)
        if stopped_by not in (PAUSE, PRUNED):
            raise KeyboardInterrupt

    def _finish(self, recorder: Recorder) -> float | None:
        """Write, say and have the sinks show what was reached; return the headline."""
        from gfn_vi.runs.arrays import save_arrays
        from gfn_vi.training.result import final_arrays, result_line

        trainer = self.trainer
        if not trainer.measured:  # killed between the last update and here: what follows wants the final measurements
            trainer.measure()
        save_arrays(self.path, final_arrays(trainer, self.seed, self.config.evaluation.n_samples))
        self._tell("done")
        line = result_line(trainer, self._label)  # before the pictures, whose seconds are none of training
        reports = _reports(self.config, self.path)
        log.debug(line)
        recorder.show(trainer.step)
        _print(f"{reports}{line}", self.path)
        headline, value = trainer.parts.headline, trainer.headline()
        if headline is None or value is None:
            return None
        return headline.worst if trainer.divergences or not math.isfinite(value) else value

    @property
    def _label(self) -> str:
        return str(self.config.get("run_label", "run"))


def _reports(config: DictConfig, path: Path) -> str:
    """Return the texts of evaluation.reports on the finished run, one after the other, or "".

    Without any, pictures=true draws the picture that fits the target. Whatever fails here is a warning: the run is done.
    """
    from hydra.utils import instantiate

    told = []
    reports = {name: node for name, node in config.evaluation.reports.items() if node is not None}
    if config.pictures and not reports:
        reports = {"picture": ANY_PICTURE}
    for name, node in reports.items():
        try:
            lines = instantiate(node)(path, with_pictures=bool(config.pictures))
        except Exception as error:  # noqa: BLE001 - a finished run stays finished, whatever drawing raises
            log.debug(traceback.format_exc())
            again = f"once that is mended: {command('pictures')} {shlex.quote(str(path))}"
            cause = f"{type(error).__name__}: {error}"
            has_none = node is ANY_PICTURE and isinstance(error, TableError)
            failed = f"the run is done, but its {name} could not be shown ({cause}); {again}"
            log.warning("%s", f"pictures=true: {error}" if has_none else failed)
            continue
        told.append(f"{lines}\n" if config.pictures else "")
    return "".join(told)
