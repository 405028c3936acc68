"""What a search leaves in its folder: search.yaml (best trials, finalists, the chosen one), trials.csv, and a table on screen."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import OmegaConf

from gfn_vi.runs.durable_files import replace_durably
from hydra_plugins.gfn_vi.study import settled

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

N_BEST = 10  # trials in search.yaml; all are in trials.csv


class Finalist(NamedTuple):  # no dataclass: Hydra executes this module outside sys.modules, where dataclasses look
    """A trial that was trained longer. area: mean of the headline over training, its negative where more is
    better; infinite if it diverged, None if it failed."""

    trial: FrozenTrial
    run: str
    area: float | None
    error: str | None = None


def complete(study: Study) -> list[FrozenTrial]:
    """Trials with a value, the best first."""
    from optuna.trial import TrialState

    return sorted(study.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: (trial.value, trial.number))


def setting(trial: FrozenTrial) -> tuple[tuple[str, Any], ...]:
    """Return what the trial tries, as something that equal settings share."""
    return tuple(sorted(trial.params.items()))


def n_pruned(study: Study) -> int:
    """Return how many settings were pruned and not taken up again."""
    from optuna.trial import TrialState

    return sum(trial.state == TrialState.PRUNED for trial in settled(study))


def distinct(study: Study) -> list[FrozenTrial]:
    """Complete trials, the best first; of those with the same parameters the first one."""
    by_point = {setting(trial): trial for trial in reversed(complete(study))}
    return sorted(by_point.values(), key=lambda trial: (trial.value, trial.number))


def best_settings(study: Study, n: int | None) -> list[FrozenTrial]:
    """The best n with a finite value; None: all of them."""
    finite = [trial for trial in distinct(study) if trial.value is not None and math.isfinite(trial.value)]
    return finite[:n]


def ranked(finalists: Sequence[Finalist]) -> list[Finalist]:
    """Those with an area, the best first."""
    measured = [finalist for finalist in finalists if finalist.area is not None]
    return sorted(measured, key=lambda finalist: (finalist.area, finalist.trial.number))


def write_trials(study: Study, folder: Path) -> None:
    """trials.csv: number, state, value, run, error, and a column for each parameter."""
    trials = study.get_trials()
    keys = sorted({key for trial in trials for key in trial.params})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", "run", "error", *keys])
    for t in trials:
        told = [t.user_attrs.get("run"), t.user_attrs.get("error")]
        writer.writerow([t.number, t.state.name.lower(), measured(t), *told, *(t.params.get(key) for key in keys)])
    replace_durably(folder / "trials.csv", lambda file: file.write(text.getvalue().encode()))


def write_results(
    study: Study, storage: str, folder: Path, tuning_seeds: Sequence[int], finalists: Sequence[Finalist], command: str | None
) -> Path:
    """search.yaml; command: the line that trains the chosen finalist on reporting seeds, None if no finalist is sound."""
    best = ranked(finalists)
    content = {
        "study": study.study_name,
        "storage": storage,
        "tuning_seeds": list(tuning_seeds),
        "n_complete": len(complete(study)),
        "n_pruned": n_pruned(study),
        "best": [_described(t) | {metric_of(t): measured(t), "run": t.user_attrs.get("run")} for t in complete(study)[:N_BEST]],
        "finalists": [_of_finalist(finalist) for finalist in [*best, *_lost(finalists)]],
        "chosen": None if command is None else _described(best[0].trial) | {"run": best[0].run, "command": command},
    }
    path = folder / "search.yaml"
    replace_durably(path, lambda file: file.write(OmegaConf.to_yaml(OmegaConf.create(content)).encode()))
    return path


def metric_of(trial: FrozenTrial) -> str:
    """The name of the metric that the trial's run is judged by."""
    return str(trial.user_attrs.get("metric", "headline"))


def metrics_of(study: Study) -> set[str]:
    """Return the names of the metrics that the complete trials are judged by: one, since other trials fail."""
    return {metric_of(trial) for trial in complete(study)}


def measured(trial: FrozenTrial) -> float | None:
    """The trial's value in the metric's own units and sign; the study holds the negative of what is to be maximized."""
    return None if trial.value is None else trial.user_attrs.get("sign", 1) * trial.value


def _area(finalist: Finalist) -> float | None:
    return None if finalist.area is None else finalist.trial.user_attrs.get("sign", 1) * finalist.area


def _described(trial: FrozenTrial) -> dict[str, Any]:
    return {"trial": trial.number, "parameters": dict(trial.params)}


def _of_finalist(finalist: Finalist) -> dict[str, Any]:
    area = {f"area_under_{metric_of(finalist.trial)}": _area(finalist)}
    return _described(finalist.trial) | area | {"run": finalist.run, "error": finalist.error}


def _lost(finalists: Sequence[Finalist]) -> list[Finalist]:
    return [finalist for finalist in finalists if finalist.area is None]


def as_table(study: Study, finalists: Sequence[Finalist]) -> str:
    """The best trials in lines: number, headline, area of finalists, parameters."""
    areas = {f.trial.number: _area(f) for f in finalists}
    trials = complete(study)[:N_BEST]
    keys = sorted({key for trial in trials for key in trial.params})
    rows = [["trial", metric_of(trials[0]) if trials else "headline", "area", *keys]]
    for t in trials:
        area = areas.get(t.number)
        rows.append(
            [str(t.number), _short(measured(t)), "" if area is None else _short(area), *(_short(t.params[k]) for k in keys)]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def overrides_of(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters of a trial as on a command line, every digit."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in parameters.items()]
