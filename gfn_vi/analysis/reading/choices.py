"""The names of the choices that a run was made of: target=hypergrid, objective=reverse_kl, penalty=square, ...

A run stores them under `choices` of its configuration. They are no part of what the run is: two runs of one configuration under
different names are one run. A run of an older version has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gfn_vi.analysis.reading.seeds import SEED_KEYS
from gfn_vi.runs.files import COLUMNS
from gfn_vi.runs.identity import INFRASTRUCTURE_KEYS
from gfn_vi.runs.reading import Run

CHOICES = "choices."
PREFIX = "config."
OF_TARGETS = ("target", "data", "graph_prior", "proxy", "reward", "score")  # groups whose choices are a target, or a part of one
RECORDED = ("run", "state", "arm", "seed", *COLUMNS)  # the columns of a table that are neither a choice nor a key of the config


def columns_of_choices(table: pd.DataFrame) -> list[str]:
    """Return the columns of the table that are choices."""
    return [name for name in map(str, table.columns) if name not in RECORDED and not name.startswith(PREFIX)]


def column_of(choice: str) -> str:
    """Return the column of a choice: its name, or `<name>_choice` where the table has another column of that name."""
    return f"{choice}_choice" if choice in RECORDED else choice


def is_setting(key: str) -> bool:
    """Whether a dotted key is a part of what a run is: neither a choice's name nor where and how visibly the run happens."""
    return not key.startswith(CHOICES) and key.split(".", maxsplit=1)[0] not in INFRASTRUCTURE_KEYS


def choices_of(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return choice -> its name in each run; None where a run does not say.

    Runs that differ in nothing but seeds are said to be made of what the first of them was made of.
    """
    names = sorted({key for run in runs for key in run.config if key.startswith(CHOICES)})
    if not names:
        return {}
    first: dict[object, Mapping[str, Any]] = {}
    told = [first.setdefault(_settings(run, SEED_KEYS), run.config) for run in runs]
    return {name.removeprefix(CHOICES): [config.get(name) for config in told] for name in names}


def said_by_choices(keys: Iterable[str], runs: Sequence[Run], choices: Mapping[str, Sequence[Any]]) -> set[str]:
    """Return those of the dotted keys whose values the choices already tell.

    A key lies below a choice where the choice's name is one of its parts: `objective.baseline.constant` below objective and
    baseline. It is told where all runs of the same choices have one value. Lists and classes hold further choices whose place
    nobody can see, as a penalty in the list `objective.forward`: these count for them too.
    """
    every = {key for run in runs for key in run.config if is_setting(key)}
    nodes = {key.split(".")[0] for key in every}
    places = {name: {key.split(".")[0] for key in every if name in key.split(".")[1:]} for name in choices if name not in nodes}
    told = set()
    for key in keys:
        parts = key.split(".")
        telling = [name for name in choices if name in parts]
        if not telling:
            continue
        values = [run.config.get(key) for run in runs]
        if parts[-1] == "_target_" or any(isinstance(value, str) and value.startswith("[") for value in values):
            telling += [name for name, where in places.items() if name not in telling and (not where or parts[0] in where)]
        if parts[0] == "target":  # what a target is has to stay readable: of a group that nobody knows the values stay
            telling = [name for name in telling if name in OF_TARGETS]
        seen: dict[tuple[Any, ...], Any] = {}
        names = zip(*(choices[name] for name in telling), strict=True)
        if all(seen.setdefault(of_run, value) == value for of_run, value in zip(names, values, strict=True)):
            told.add(key)
    return told


def _settings(run: Run, aside: Iterable[str] = ()) -> frozenset[tuple[str, str]]:
    """Return what the run is, as a hashable value; aside: keys that do not count."""
    left_out = set(aside)
    return frozenset((key, repr(value)) for key, value in run.config.items() if is_setting(key) and key not in left_out)
