"""The numbers that a panel of the figure has: one measure on one density, of every arm at the end of training.

Of all measures less is better. A density has those that its claims and the result in README.md speak of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from gfn_vi.experiments.diffusion_benchmark.settings import ELBO, GAP, Setting, Settings, spread

# A number that is larger counts as infinite: it is as good as not trained at all.
LARGEST = 1e5
UNIT = "(nats)"


class Measure(NamedTuple):
    """A number of each replica of a setting at the end, [R] (NaN: not measured), with the words and the scale of its axis."""

    label: str
    values: Callable[[Setting], np.ndarray]
    scale: str = "log"
    rests_on_weights: bool = False


class Panel(NamedTuple):
    """A measure on a density: arm -> replicas [R], infinite where one failed.

    weak: arms of which weights do not carry a replica's number; untrained: the median before training, NaN where it is not
    shown; floor: low and high of what exact samples have, NaN where that is not known; n_failed: replicas of all arms.
    """

    density: str
    label: str
    scale: str
    replicas: Mapping[str, np.ndarray]
    weak: frozenset[str]
    untrained: float
    floor: tuple[float, float]
    n_failed: int


W2 = Measure("W2", lambda setting: setting.final("w2"), "linear")
BELOW_HIGHEST = Measure(f"{ELBO.words} {UNIT}", lambda setting: -setting.elbo.final, "symlog")  # a panel adds the highest ELBO
ALL_DENSITIES = (Measure(f"{GAP.words} {UNIT}", lambda setting: setting.final(GAP.metric)),)
WITH_LOG_Z = (
    *ALL_DENSITIES,
    Measure(f"|log Z - ELBO| {UNIT}", lambda setting: setting.bound_error),
    Measure(f"Reweighted\n|log Z error| {UNIT}", lambda setting: setting.reweighted_error, rests_on_weights=True),
)
SHOWN = {
    "gmm25": (
        *WITH_LOG_Z,
        W2,
        Measure("Error of the\nshares of modes", lambda setting: setting.final("mode_mass_error"), "linear"),
    ),
    "many_well": (
        *WITH_LOG_Z,
        W2,
        Measure("Largest error of\na well's share", lambda setting: setting.final("well_error"), "linear"),
    ),
    "funnel_3": WITH_LOG_Z,
    "funnel_1": ALL_DENSITIES,
    "log_gaussian_cox": (BELOW_HIGHEST,),
}


def panels(found: Settings) -> list[Panel]:
    """Return the panels of each density in order; one that has no gap, and no other measure that is shown, has its ELBO."""
    every = []
    for density in dict.fromkeys(name for _, name in found):
        of_density = {arm: setting for (arm, name), setting in found.items() if name == density}
        known = [
            measure
            for measure in SHOWN.get(density, ALL_DENSITIES)
            if any(not np.isnan(measure.values(setting)).all() for setting in of_density.values())
        ]
        every += [_panel(density, measure, of_density) for measure in known or [BELOW_HIGHEST]]
    return every


def _panel(density: str, measure: Measure, of_density: Mapping[str, Setting]) -> Panel:
    replicas = {arm: values for arm, setting in of_density.items() if not np.isnan(values := measure.values(setting)).all()}
    untrained = np.concatenate([measure.values(of_density[arm].untrained) for arm in replicas])
    label = measure.label
    if measure is BELOW_HIGHEST:
        elbos = -np.concatenate([*replicas.values(), untrained])
        highest = math.ceil(10 * elbos[np.isfinite(elbos)].max()) / 10
        replicas, untrained = {arm: highest + values for arm, values in replicas.items()}, highest + untrained
        label = f"{highest:.1f} - {label}"
    weak = frozenset(arm for arm in replicas if measure.rests_on_weights and of_density[arm].n_weak)
    floor = next(iter(of_density.values())).final("w2_floor") if measure is W2 else np.array([np.nan])
    low, _, high = spread(floor)
    shown = {arm: np.where(values > LARGEST, np.inf, values) for arm, values in replicas.items()}
    # a line cannot be hollow where weights do not carry it
    before = math.nan if measure.rests_on_weights else float(np.median(untrained))
    failed = sum(setting.n_failed for setting in of_density.values())
    return Panel(density, label, measure.scale, shown, weak, before, (low, high), failed)
