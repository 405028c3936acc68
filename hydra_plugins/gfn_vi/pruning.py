"""Pruning of hopeless trials: a run tells the study its curve while it trains, and a pruner of Optuna says whether it goes on.

The curve is the metric that the search compares, averaged over replicas. Its steps are evaluations: number k is the first value
recorded once k * evaluation.every trajectories (per replica) have been trained on. Untrained policies are not judged.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.headline import Headline
from gfn_vi.runs.records import recorded

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner

logger = logging.getLogger("gfn_vi.pruning")

KEY, NONE = "hydra.sweeper.pruner", "none"
# Those of Optuna that look at curves: WilcoxonPruner compares repetitions, and PatientPruner may change.
PRUNERS = ("HyperbandPruner", "MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner", "ThresholdPruner")
SPEC = "pruner"  # of a study's attributes: name and arguments, for the processes that train
IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")


def make_pruner(name: str | None, arguments: Mapping[str, Any]) -> BasePruner | None:
    """Return a pruner of Optuna by its name; None for "none". Raises ConfigError."""
    from optuna import pruners

    key = f"{KEY}_arguments"
    require(isinstance(arguments, Mapping), key, arguments, f"expected a mapping: +{key}.NAME=VALUE")
    if name in (None, NONE):
        require(not arguments, key, dict(arguments), f"{KEY}=none takes none: name a pruner, or {key}=null")
        return None
    require(name in PRUNERS, KEY, name, f"expected none or one of {', '.join(PRUNERS)}")
    kind = getattr(pruners, str(name))
    try:
        made: BasePruner = kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(key, dict(arguments), f"{name} refuses them: {' '.join(str(error).split())}") from error
    return made


def check_storage(name: str | None, storage: str | None, launcher: DictConfig) -> None:
    """Raise ConfigError where the runs could not tell the study how they do: workers elsewhere, or a study in memory."""
    if name in (None, NONE):
        return
    kind = str(launcher.get("_target_")).rpartition(".")[2]
    is_elsewhere = kind == "SlurmLauncher" or (kind == "RayLauncher" and launcher.ray.init.get("address") is not None)
    server = "set hydra.sweeper.storage to a database server (postgresql://..., mysql://...), or pruner=none"
    is_file = storage is None or storage.startswith("sqlite")
    require(not (is_elsewhere and is_file), KEY, name, f"workers on other machines cannot share a study in sqlite: {server}")
    require(
        storage not in IN_MEMORY, KEY, name, "runs cannot tell a study in memory how they do: leave out hydra.sweeper.storage"
    )


def override(storage: str, study: str, trial: int, metric: str | None, sign: int | None, every: int) -> str:
    """Return the override of a job that has its run judged while it trains; it is no part of what the run is."""
    node = {"storage": storage, "study": study, "trial": trial, "metric": metric, "sign": sign, "every": every}
    words = {"_target_": f"{Pruning.__module__}.{Pruning.__qualname__}", **node}
    # Hydra writes a mapping as JSON does, but for quotes around keys
    inside = ",".join(f"{key}:{json.dumps(value, ensure_ascii=False)}" for key, value in words.items())
    return f"checkpoint.pruning={{{inside}}}"


class Pruning:
    """The judge of one run while it trains. Where the study cannot be reached it says so once, and the run goes on."""

    def __init__(
        self,
        directory: Path,
        headline: Headline | None,
        storage: str,
        study: str,
        trial: int,
        metric: str | None,
        sign: int | None,
        every: int,
    ) -> None:
        """Tell the study what the run has recorded before.

        headline: of the run; metric and sign: what is compared instead, less of sign * metric is better; every: trajectories
        between two steps of the curve.
        """
        self.is_hopeless = False
        self._every = every
        self._metric = metric or ("" if headline is None else headline.metric)
        self._sign = sign or (1 if headline is None else headline.sign)
        self._study: Study | None = None
        try:
            self._open(storage, study, trial)
            for record in recorded(directory):
                if self._metric in record.metrics:
                    self._tell(record.trajectories, _mean(record.metrics[self._metric]))
        except Exception as error:  # noqa: BLE001 - whatever the database or its driver raises: the run does without
            self._give_up(error)

    def _open(self, storage: str, name: str, trial: int) -> None:
        from hydra_plugins.gfn_vi.study import open_study

        study = open_study(name, storage)
        pruner = make_pruner(**study.user_attrs[SPEC])
        assert pruner is not None
        study.pruner = pruner
        self._trial_id = study.get_trials(deepcopy=False)[trial]._trial_id
        self._known = set(study._storage.get_trial(self._trial_id).intermediate_values)
        self._study = study

    def hear(self, trajectories: int, metrics: Mapping[str, Any], is_lost: bool) -> None:
        """Be told a record of the run: metric -> [R]. is_lost: whether a replica became non-finite."""
        if self._study is None or self._metric not in metrics:
            return
        value = math.inf if is_lost else _mean(metrics[self._metric].tolist())
        try:
            if self._tell(trajectories, value):
                frozen = self._study._storage.get_trial(self._trial_id)
                self.is_hopeless = bool(self._study.pruner.prune(self._study, frozen))
        except Exception as error:  # noqa: BLE001 - whatever the database or its driver raises: the run does without
            self._give_up(error)

    def _tell(self, trajectories: int, value: float) -> bool:
        """Tell the study a point of the curve; return False for one that it knows, and for the untrained run."""
        step = trajectories // self._every
        if step == 0 or step in self._known:
            return False
        assert self._study is not None
        loss = self._sign * value if math.isfinite(value) else math.inf
        self._study._storage.set_trial_intermediate_value(self._trial_id, step, loss)
        self._known.add(step)
        return True

    def _give_up(self, error: Exception) -> None:
        self._study = None
        said = (str(error) or type(error).__name__).splitlines()[0]
        logger.warning("this run is not pruned, its study cannot be told how it does (%s: %s)", type(error).__name__, said)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
