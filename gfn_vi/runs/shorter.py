"""The run that a longer one goes on from: it differs in nothing but trainer.n_trajectories, and has done fewer updates.

No part is given the budget: what follows it does so in the configuration, as ${trainer.n_trajectories}. So a longer run begins
with the updates of a shorter one if nothing else differs in their resolved configurations, and else a key says what follows.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gfn_vi.core.errors import RunError, listed
from gfn_vi.runs.checkpoint import DAMAGE, read_checkpoint
from gfn_vi.runs.directory import RunDirectory, identity_digest
from gfn_vi.runs.files import CHECKPOINT, METRICS
from gfn_vi.runs.folders import runs_in
from gfn_vi.runs.identity import of_the_run
from gfn_vi.runs.provenance import git_commit, versions
from gfn_vi.runs.sources import ACCEPT, changes_since
from gfn_vi.runs.stored_config import flatten, stored_config

BUDGET = "trainer.n_trajectories"
MOST_KEYS = 3  # that a line names

WithBudget = Callable[[int], Mapping[str, Any]]
"""n_trajectories -> the resolved configuration of the same command with that budget."""


class Shorter(NamedTuple):
    """A run to go on from: its directory, its number of updates, what its checkpoint holds.

    position: bytes of its metrics.csv that are records of a longer run, too.
    """

    path: Path
    step: int
    state: dict[str, Any]
    position: int
    is_at_its_end: bool


class _Near(NamedTuple):
    """A run of the same command with another budget. follows: dotted key -> its value there, of what follows the budget."""

    path: Path
    step: int
    config: Mapping[str, Any]
    follows: Mapping[str, Any]

    @property
    def budget(self) -> int:
        """Return its trainer.n_trajectories."""
        return int(self.config["trainer"]["n_trajectories"])


def find_shorter(directory: Path, config: Mapping[str, Any], with_budget: WithBudget | None) -> tuple[Shorter | None, str]:
    """Return the run beside `directory` that `config` goes on from, the furthest one, and "" or why it is not the furthest.

    config: resolved. with_budget: None where nobody can tell which keys follow the budget; then only equal keys count.
    """
    if not config["checkpoint"]["extend"]:
        return None, ""
    why = ""
    for run in sorted(_near(directory, config, with_budget), key=lambda run: (-run.step, run.path)):
        found = _obstacle(run, config) or _read(run, _steps(config))
        if isinstance(found, Shorter):
            return found, why
        why = why or f"not continued from {run.path} ({run.budget} trajectories): {found}"
    return None, why


def _near(directory: Path, config: Mapping[str, Any], with_budget: WithBudget | None) -> Iterator[_Near]:
    """Yield the runs of the same command with another budget that have done some, but fewer updates."""
    budget, steps = config["trainer"]["n_trajectories"], _steps(config)
    label = directory.name.rpartition("-")[0]
    for path in runs_in(directory.parent):
        if path.name == directory.name or path.name.rpartition("-")[0] != label:  # choices and seeds: fast, of many runs
            continue
        stored = stored_config(path)
        status = RunDirectory(path).status() or {}
        step = status.get("step")
        there = (stored or {}).get("trainer", {}).get("n_trajectories")
        if stored is None or not isinstance(there, int) or there == budget or not isinstance(step, int) or not 0 < step < steps:
            continue
        same = {**config, "trainer": {**config["trainer"], "n_trajectories": there}}
        if _identity(stored) == _identity(same):
            yield _Near(path, step, stored, {})
        elif with_budget is not None and _identity(stored) == _identity(with_budget(there)):
            yield _Near(path, step, stored, _differing(stored, config))


def _obstacle(run: _Near, config: Mapping[str, Any]) -> str:
    """Return why the longer run cannot go on from this one, and what to do; "" where only its checkpoint is left to ask."""
    if run.follows:
        which = f"{listed(list(run.follows), MOST_KEYS, ' and ')} follow{'s' * (len(run.follows) == 1)} {BUDGET}"
        typed = shlex.join(f"{key}={value}" for key, value in run.follows.items())
        return f"{which}, so the longer run is another one from its first update; {typed} goes on"
    try:
        if RunDirectory(run.path).is_being_written():
            return "it is being trained now; start this one once it is done"
    except RunError as error:
        return str(error)
    there, here = (str(each["device"]).partition(":")[0] for each in (run.config, config))
    if there != here:
        return f"it was trained on {there}, whose random numbers cannot be continued on {here}; device={there} goes on"
    changed = changes_since(run.path) or _other_code(run.path)
    if changed and not config["checkpoint"]["accept_changed_sources"]:
        return f"{changed}; {ACCEPT}=true takes it as it is and goes on"
    return ""


def _read(run: _Near, steps: int) -> Shorter | str:
    """Return the run with the state that a longer run would have had there, or why its checkpoint does not tell it."""
    try:
        state = read_checkpoint(run.path / CHECKPOINT)
    except FileNotFoundError:
        return f"it has no {CHECKPOINT}"
    except DAMAGE as error:
        return f"its {CHECKPOINT} cannot be read ({type(error).__name__})"
    return _settled(run, state, steps)


def _settled(run: _Near, state: dict[str, Any], steps: int) -> Shorter | str:
    """Return the run with this state, or why a run of `steps` updates does not go on from it."""
    step, records = state["trainer"]["step"], run.path / METRICS
    is_at_its_end = step >= _steps(run.config)
    kept = state.get("before_end") if is_at_its_end else state
    if step >= steps:
        return "it has done as many updates"
    if kept is None and "before_end" not in state:
        return "it was finished by an earlier release, which kept its state after the measurements of the end only"
    if kept is None:
        return "a replica became non-finite in its last update, which the longer run finds out one update later"
    if not records.is_file() or records.stat().st_size < kept["metrics_bytes"]:
        return f"its {METRICS} has lost records that its {CHECKPOINT} knows of"
    return Shorter(run.path, step, state, kept["metrics_bytes"], is_at_its_end)


def _other_code(path: Path) -> str:
    """Return in words with which other versions, or commit of a checkout, the run was trained; "" for the same ones."""
    status = RunDirectory(path).status() or {}
    then, now = status.get("versions") or {}, versions()
    for name in ("gfn_vi", "torch"):
        if then.get(name) != now[name]:
            return f"it was trained with {name} {then.get(name)}, here is {now[name]}"
    if status.get("git_commit") != git_commit():
        return f"it was trained at commit {str(status.get('git_commit'))[:12]}, here is {str(git_commit())[:12]}"
    return ""


def _steps(config: Mapping[str, Any]) -> int:
    """Return the number of updates of a run."""
    return int(-(-config["trainer"]["n_trajectories"] // config["trainer"]["batch_size"]))


def _identity(config: Mapping[str, Any]) -> str:
    return identity_digest(of_the_run(config), 64)


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value there, as it is typed, of the keys that differ besides the budget and infrastructure."""
    flat_there, flat_here = flatten(of_the_run(there)), flatten(here)
    return {key: _typed(value) for key, value in flat_there.items() if key != BUDGET and value != flat_here.get(key)}


def _typed(value: object) -> str:
    return value.replace(" ", "") if isinstance(value, str) else json.dumps(value)
