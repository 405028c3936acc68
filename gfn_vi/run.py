"""One run on disk: lock, resume, train, record, checkpoint, finish. What it needs on disk is design, what it does is trainer.

A run that is done returns at once; one that was interrupted, killed or failed goes on from its last checkpoint.
"""

from __future__ import annotations

import inspect
import logging
import math
import os
import shlex
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.command_line import command
from gfn_vi.runs.files import CHECKPOINT, LOG
from gfn_vi.runs.last_values import headline_value

if TYPE_CHECKING:
    from torch import Tensor

    from gfn_vi.core.protocols import Arrays
    from gfn_vi.runs.directory import RunDirectory
    from gfn_vi.runs.recorder import Recorder, Sink
    from gfn_vi.training.trainer import Trainer

log = logging.getLogger("gfn_vi")

PAUSE = "checkpoint.pause_after"


def run(config: DictConfig) -> float | None:
    """Train `config` (resolved) to its end; return its headline, a mean over replicas.

    The worst value stands for a run in which a replica became non-finite, None for one without a headline or that paused.

    Raises ConfigError before work starts, RunError for what the disk or another process prevents, KeyboardInterrupt after
    Ctrl-C or SIGTERM, once the state is saved.
    """
    from gfn_vi.build import check_numbers
    from gfn_vi.runs.directory import RunDirectory, run_directory

    check_numbers(config)
    plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    directory = RunDirectory(run_directory(plain))
    if directory.is_done():
        return _already_done(config, directory.path)
    with _threads(config.threads):
        from gfn_vi.build import build_trainer

        trainer, remarks = build_trainer(config)
        with directory, _logging(directory.path):
            if directory.is_done():  # by another process, since we looked
                return _already_done(config, directory.path)
            for remark in remarks:
                log.warning(remark)
            sinks = build_sinks(config, directory.path)  # under the lock, and their complaints go to run.log
            directory.write_config(OmegaConf.to_yaml(config))
            return _train(config, trainer, directory, sinks)


def _print(line: str, path: Path) -> None:
    """Print what became of the run, then where it is; in one piece: other runs of a sweep may write to the same terminal."""
    sys.stdout.write(f"{line}\n{path}\n")
    sys.stdout.flush()


def _seed(config: DictConfig) -> int | list[int]:
    return config.seed if isinstance(config.seed, int) else list(config.seed)


def _already_done(config: DictConfig, path: Path) -> float | None:
    shown = f"what it found is shown and drawn again by: {command('graphs')} {shlex.quote(str(path))}\n"
    _print(f"{shown if config.evaluation.reports else ''}already done; to run it again, delete the directory", path)
    return headline_value(path)


def _train(config: DictConfig, trainer: Trainer, directory: RunDirectory, sinks: list[Sink]) -> float | None:
    from gfn_vi.runs.arrays import save_arrays
    from gfn_vi.runs.checkpoint import load_checkpoint
    from gfn_vi.runs.recorder import Recorder

    recorder = Recorder(directory.path, sinks, config.replicas)
    failed, stop = True, ""
    try:
        state = load_checkpoint(directory.path / CHECKPOINT)
        if state is None:
            log.debug("starting, %d trajectories for each of %d replicas", trainer.budget.n_trajectories, config.replicas)
            recorder.rewind(0)
        else:
            trainer.load_state_dict(state["trainer"])
            recorder.rewind(state["metrics_bytes"])
            log.info("resuming at %d of %d trajectories", trainer.seen, trainer.budget.n_trajectories)
        headline = trainer.parts.headline
        judged_by = None if headline is None else headline.as_dict()
        wall = trainer.wall_seconds
        directory.write_status("running", trainer.step, seed=_seed(config), wall_seconds=wall, headline=judged_by)
        stop = _loop(config, trainer, recorder, directory)
        failed = False
    except Exception:
        error = traceback.format_exc()
        log.debug(error)
        directory.write_status("failed", trainer.step, error=error, seed=_seed(config), wall_seconds=trainer.wall_seconds)
        raise
    finally:
        recorder.close(failed)
    if stop:
        directory.write_status("interrupted", trainer.step, seed=_seed(config), wall_seconds=trainer.wall_seconds)
        log.debug("%s: stopped after %d trajectories", stop, trainer.seen)
        _print(f"{stop}: stopped after {trainer.seen} trajectories, all saved; the same command goes on", directory.path)
        if stop == PAUSE:
            return None
        raise KeyboardInterrupt
    if not trainer.measured:  # killed between the last update and here: what follows wants the final measurements
        trainer.measure()
    save_arrays(directory.path, final_arrays(trainer, _seed(config), config.evaluation.n_samples))
    frozen = _frozen_report(trainer)
    directory.write_status("done", trainer.step, error=frozen, seed=_seed(config), wall_seconds=trainer.wall_seconds)
    reports = _reports(config, directory.path)
    summary = _summary(config, trainer)
    log.debug(summary)
    _print(f"{reports}{summary}", directory.path)
    value = trainer.headline()
    if headline is None or value is None:
        return value
    return headline.worst if frozen is not None or not math.isfinite(value) else value


def _loop(config: DictConfig, trainer: Trainer, recorder: Recorder, directory: RunDirectory) -> str:
    """Train with progress bar, checkpoints and a tidy answer to Ctrl-C; returns what stopped it early, or ""."""
    from gfn_vi.runs.checkpoint import save_checkpoint
    from gfn_vi.training.progress import ProgressBar

    total, label = trainer.budget.steps * trainer.budget.batch_size, config.get("run_label", "run")
    name = None if trainer.parts.headline is None else trainer.parts.headline.metric
    bar = ProgressBar(total, label, config.progress, name)
    pause = config.checkpoint.pause_after
    if pause is not None and trainer.seen >= pause:  # it paused there already
        pause = None
    saved = time.monotonic()

    def save() -> None:
        state = {"trainer": trainer.state_dict(), "metrics_bytes": recorder.position()}
        save_checkpoint(directory.path / CHECKPOINT, state)
        directory.write_status("running", trainer.step, seed=_seed(config), wall_seconds=trainer.wall_seconds)

    with _stop_signals() as received:

        def after_update(loss: Tensor) -> bool:
            nonlocal saved
            if bar.due():
                bar.update(trainer.seen, float(loss.nanmean()), trainer.headline())
            if received or (pause is not None and trainer.seen >= pause and trainer.step < trainer.budget.steps):
                return False
            if time.monotonic() - saved >= config.checkpoint.every_seconds:
                save()
                saved = time.monotonic()
            return True

        bar.start(trainer.seen)
        try:
            finished = trainer.run(recorder.record, after_update)
            bar.update(trainer.seen, headline=trainer.headline())
        finally:
            bar.stop()
        save()
    if finished:
        return ""
    return signal.Signals(received[0]).name if received else PAUSE


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that becomes non-empty on SIGINT or SIGTERM, so that the update in hand ends in good order."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if number in received:  # the second time the user means it; a sweep sends SIGTERM after a terminal's SIGINT
            raise KeyboardInterrupt
        if not received:  # not by print or logging: a handler may interrupt either
            os.write(2, b"\nstopping after this update or measurement, all will be saved; again to stop at once\n")
        received.append(number)

    try:
        previous = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread of a program that embeds us: its signals are not ours
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Set torch's threads; 0 leaves them as they are. One process may run several jobs: restored afterwards."""
    import torch

    before = torch.get_num_threads()
    if threads > 0:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _CurrentStderr(logging.Handler):
    """Writes to what sys.stderr is now: a progress bar puts itself in its place to keep log lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


@contextmanager
def _logging(directory: Path) -> Iterator[None]:
    """Log lines to <run>/run.log and to stderr."""
    handlers: list[logging.Handler] = [logging.FileHandler(directory / LOG), _CurrentStderr()]
    handlers[1].setLevel(logging.INFO)  # what is below goes to the file only
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def build_sinks(config: DictConfig, directory: Path) -> list[Sink]:
    """Return the sinks that get every record. Each is given directory, name and config as far as its constructor has them."""
    from hydra.utils import instantiate

    if config.logger.get("_target_") is None:
        return []
    factory = instantiate(config.logger, _partial_=True, _convert_="all")
    offered = {"directory": str(directory), "name": directory.name, "config": OmegaConf.to_container(config)}
    wanted = inspect.signature(factory.func).parameters
    return [factory(**{key: value for key, value in offered.items() if key in wanted})]


def final_arrays(trainer: Trainer, seed: int | list[int], n_samples: int) -> Arrays:
    """Return what the metrics have to show of the finished run.

    seed: of the run; n_samples: trajectories per replica where states cannot be listed, from generators of their own.
    """
    from gfn_vi.core.replicas import ReplicaGenerators

    rng = trainer.metric_rng
    own = ReplicaGenerators(seed, trainer.n_replicas, "arrays", rng.device, rng.dtype)
    moment = trainer.parts.moment(own)
    moment.n_samples = n_samples
    return {name: value for metric in trainer.parts.metrics for name, value in metric.arrays(moment).items()}


def _reports(config: DictConfig, path: Path) -> str:
    """Return the texts of evaluation.reports on the finished run, one after the other, or "".

    Whatever fails here is a warning: the run is done.
    """
    from hydra.utils import instantiate

    told = []
    for name, node in config.evaluation.reports.items():
        if node is None:
            continue
        try:
            lines = instantiate(node)(path, with_pictures=bool(config.pictures))
        except Exception as error:  # noqa: BLE001 - a finished run stays finished, whatever drawing raises
            log.debug(traceback.format_exc())
            again = f"once that is mended: {command('graphs')} {shlex.quote(str(path))}"
            cause = f"{type(error).__name__}: {error}"
            log.warning("the run is done, but its %s could not be shown (%s); %s", name, cause, again)
            continue
        told.append(f"{lines}\n" if config.pictures else "")
    return "".join(told)


def _frozen_report(trainer: Trainer) -> str | None:
    frozen = trainer.parts.optimizer.frozen.nonzero().squeeze(1).tolist()
    if not frozen:
        return None
    rest = "the others went on" if len(frozen) < trainer.n_replicas else "that is all of them"
    message = f"replicas {frozen} became non-finite and were frozen; {rest}"
    log.warning(message)
    return message


def _summary(config: DictConfig, trainer: Trainer) -> str:
    """One line: what was reached, with the spread over replicas."""
    parts = []
    headline = trainer.parts.headline
    summaries = [name for metric in trainer.parts.metrics for name in metric.summary]
    for name in dict.fromkeys([*([] if headline is None else [headline.metric]), *summaries]):
        if name in trainer.measured:
            values = [value for value in trainer.measured[name].tolist() if not math.isnan(value)] or [math.nan]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            parts.append(f"{name} {statistics.median(values):.3g}{spread}")
    label = config.get("run_label", "run")
    replicas = f", {config.replicas} replicas: median (range)" if config.replicas > 1 else ""
    return f"{label}: {', '.join(parts)}; {trainer.seen} trajectories in {trainer.wall_seconds:.1f} s{replicas}"
