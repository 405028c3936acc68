"""A study on disk: opened by one search at a time, continued where it was left, with clear words when its storage fails.

A trial that a killed search left running is marked as failed and its parameters are asked for again: its run is the same
run, and goes on from its checkpoint.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.runs.durable_files import disk_error

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SECONDS_TO_UNLOCK = 5  # how long another program may hold the database
AGAIN = "again"  # attribute of a trial: the number of the trial that it takes up
SPARED = "spared"  # attribute of a trial that is trained to its end, whatever a pruner says


@contextmanager
def only_search(folder: Path, name: str) -> Iterator[None]:
    """Be the only search of this study; the system frees the lock when the process dies. Raises RunError."""
    lock = filelock.FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        message = f"another process runs this search, {folder / name}: wait for its end, or stop it"
        raise RunError(message) from None
    except OSError as error:
        raise disk_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Turn an error of the database into a RunError of one line."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError, ImportError) as error:
        cause = error.__cause__ if isinstance(error, OptunaError) and error.__cause__ is not None else error
        said = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        advice = "free it, or delete it: done runs are not trained again; or set another hydra.sweeper.storage"
        raise RunError(f"the study cannot be read or written: {storage}: {said}; {advice}") from error


def open_study(name: str, storage: str, sampler: BaseSampler | None = None) -> Study:
    """Open it or create it. Its errors are those of the storage: use it within storage_errors."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connection = {"connect_args": {"timeout": SECONDS_TO_UNLOCK}} if storage.startswith("sqlite") else {}
    backend = optuna.storages.RDBStorage(storage, engine_kwargs=connection)
    return optuna.create_study(study_name=name, storage=backend, sampler=sampler, direction="minimize", load_if_exists=True)


def make_sampler(name: str, seed: int, arguments: Mapping[str, Any]) -> BaseSampler:
    """A sampler of Optuna by its name. Raises ConfigError."""
    from optuna import samplers

    kinds = {n: kind for n, kind in vars(samplers).items() if inspect.isclass(kind) and issubclass(kind, samplers.BaseSampler)}
    known = [n for n, kind in kinds.items() if not inspect.isabstract(kind)]
    require(name in known, "hydra.sweeper.sampler", name, f"expected one of {', '.join(sorted(known))}")
    kind = getattr(samplers, name)
    seeded = {"seed": seed} if "seed" in inspect.signature(kind).parameters else {}
    try:
        sampler: BaseSampler = kind(**seeded, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError("hydra.sweeper.sampler_arguments", dict(arguments), f"{name} refuses them: {error}") from error
    return sampler


def record(study: Study, trial: Trial | FrozenTrial, value: float | None, is_pruned: bool = False) -> None:
    """The value of a trial; None: it failed, or it was pruned, and the last point of its curve is its value."""
    from optuna.trial import TrialState

    state = TrialState.COMPLETE if value is not None else TrialState.PRUNED if is_pruned else TrialState.FAIL
    try:
        study.tell(trial.number, value, state=state)
    except RuntimeError:
        # A sampler that tries every point once stops the study with the last, which Optuna forbids to whoever asks and tells.
        if study.get_trials(deepcopy=False)[trial.number].state != state:
            raise


def take_back(study: Study) -> int:
    """Fail what a killed search left running and ask for it again; how many."""
    from optuna.trial import TrialState

    left = study.get_trials(states=(TrialState.RUNNING,))
    for trial in left:
        record(study, trial, None)
        about = trial.user_attrs if SPARED in trial.user_attrs else {AGAIN: trial.number}
        study.enqueue_trial(trial.params, user_attrs={key: about[key] for key in (AGAIN, SPARED) if key in about})
    return len(left)


def settled(study: Study) -> list[FrozenTrial]:
    """Return the trials that count for n_trials: those with a value and those that were pruned, each setting once."""
    from optuna.trial import TrialState

    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    taken_up = {trial.user_attrs.get(AGAIN) for trial in ended}
    return [trial for trial in ended if trial.number not in taken_up]


def take_up_pruned(study: Study) -> int:
    """Ask for the settings that were pruned once more, to be trained to their end; how many are still to be trained so."""
    from optuna.trial import TrialState

    waiting = {trial.user_attrs.get(AGAIN) for trial in study.get_trials(states=(TrialState.WAITING,))}
    for trial in settled(study):
        if trial.state == TrialState.PRUNED and trial.number not in waiting:
            study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number, SPARED: True})
    return n_waiting(study)


def was_tried_before(study: Study, trial: Trial) -> bool:
    """Return whether another trial of the study had the same run."""
    run = trial.user_attrs.get("run")
    return any(other.user_attrs.get("run") == run for other in study.get_trials() if other.number != trial.number)


def n_waiting(study: Study) -> int:
    """Return how many pruned settings are still to be trained to their end."""
    from optuna.trial import TrialState

    return sum(SPARED in trial.user_attrs for trial in study.get_trials(states=(TrialState.WAITING,)))
