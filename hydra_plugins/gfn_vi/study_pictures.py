"""Pictures of a study, as Optuna draws them: how the best value came down, which keys mattered, which values went together.

search_history, search_importances and search_parallel, each as PDF and PNG, in the folder of the search. They show the metric in
its own units and sign. Trials that failed, were pruned or diverged are not in them: they have no value that compares.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.sweeps.launching import say
from hydra_plugins.gfn_vi.search_results import best_settings, complete, measured, metric_of

if TYPE_CHECKING:
    from optuna import Study

LEAST_TRIALS = 2  # with different values: of fewer nothing is to be seen
DPI = 150


def draw_study(study: Study, folder: Path) -> list[Path]:
    """Draw what the finished trials of the study show and return the PNGs; what cannot be drawn is said, and stops nothing."""
    shown = _as_people_see_it(study)
    if len({trial.value for trial in shown.trials} - {None}) < LEAST_TRIALS:
        return []
    metric = metric_of(complete(study)[0])
    drawn = []
    for name, plot in _plots(metric).items():
        try:
            drawn.append(_draw(lambda plot=plot: plot(shown), folder / name))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the search is done, whatever drawing raises
            say(f"warning: {folder / name}.png could not be drawn ({type(error).__name__}: {error})")
    return drawn


def _as_people_see_it(study: Study) -> Study:
    """Return a study in memory with the metric's own sign and direction, in which a trial without a finite value has failed."""
    import optuna
    from optuna.trial import TrialState, create_trial

    finite = {trial.number for trial in best_settings(study, None)}
    signs = {trial.user_attrs.get("sign", 1) for trial in complete(study)}
    shown = optuna.create_study(direction="maximize" if signs == {-1} else "minimize")
    for trial in study.get_trials():
        is_shown = trial.number in finite
        value: Mapping[str, Any] = {"value": measured(trial)} if is_shown else {"state": TrialState.FAIL}
        shown.add_trial(create_trial(params=trial.params, distributions=trial.distributions, **value))
    return shown


def _plots(metric: str) -> dict[str, Callable[[Study], Any]]:
    """Return the name of each picture and what draws it."""
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.visualization import matplotlib as plots

    return {
        "search_history": lambda study: plots.plot_optimization_history(study, target_name=metric),
        # not the default of Optuna 4, which needs scikit-learn
        "search_importances": lambda study: plots.plot_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), target_name=metric
        ),
        "search_parallel": lambda study: plots.plot_parallel_coordinate(study, target_name=metric),
    }


def _draw(plot: Callable[[], Any], path: Path) -> Path:
    """Write a picture as PDF and PNG, the same bytes for the same study; return the path of the PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(), warnings.catch_warnings(record=True):  # it warns that its pictures may change
        figure = plot().figure
        try:
            figure.savefig(path.with_suffix(".pdf"), bbox_inches="tight", metadata={"CreationDate": None})
            figure.savefig(path.with_suffix(".png"), bbox_inches="tight", dpi=DPI, metadata={"Software": None})
        finally:
            pyplot.close(figure)
    return path.with_suffix(".png")
