"""The configuration that names a run: resolved, with the names of the choices it was made of and a label for people.

Names are no part of what a run is: equal configurations under two names are one run (gfn_vi/runs/directory.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError


def labelled(config: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]) -> DictConfig:
    """Return the resolved config with `choices` and `run_label`, the readable part of the run's name.

    choices: group -> choice, as in HydraConfig's runtime.choices; overrides: those of the command line. Raises OmegaConf's
    errors for what cannot be resolved, ConfigError for a preset that the experiment does not have, for the home of nobody and for
    ${now:...}.
    """
    _check_preset(config, choices)
    _check_time(OmegaConf.to_container(config), "")
    what = config.arm_name or f"{choices['objective']}-{choices['exploration']}"
    parts = [what, *([config.deviation_name] if config.deviation_name else []), choices["target"], choices["sampler"]]
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    if isinstance(resolved.output_root, str):
        resolved.output_root = str(user_files.expanded(resolved.output_root, "output_root"))
    resolved.choices = named_choices(choices)
    resolved.run_label = "-".join([*map(str, parts), *_inner_choices(overrides), _seeds_in_words(resolved.seed)])
    return resolved


def draws_at_its_end(config: DictConfig) -> bool:
    """Return whether a single run draws unasked: where its target has a report. A picture of a grid would take longer than it."""
    reports = OmegaConf.select(config, "evaluation.reports")
    return OmegaConf.is_dict(reports) and any(node is not None for node in reports.values())


def with_budget(config: DictConfig, n_trajectories: int) -> dict[str, Any]:
    """Return the resolved configuration of the same command with another trainer.n_trajectories.

    config: not resolved, so that what follows the budget follows this one.
    """
    other = config.copy()
    other.trainer.n_trajectories = n_trajectories
    resolved: dict[str, Any] = OmegaConf.to_container(other, resolve=True)  # type: ignore[assignment]
    return resolved


def named_choices(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> choice of everything that a run is made of: {"target": "hypergrid", "baseline": "leave_one_out", ...}.

    A name is that of the group, or the place in the configuration where a group is chosen from more than once. What is measured,
    who is told, and what Hydra chooses for itself are left out.
    """
    made_of: dict[str, str] = {}
    for key, choice in choices.items():
        group, _, place = str(key).partition("@")
        is_part = not group.startswith(("hydra", "experiment_preset", "logger", "sweep", "debug"))
        if is_part and choice is not None and not place.startswith(("evaluation.", "_global_")):
            made_of[str(key)] = str(choice)
    often = Counter(key.partition("@")[0] for key in made_of)
    return {_name(key, often): choice for key, choice in made_of.items()}


def _name(key: str, often: Mapping[str, int]) -> str:
    group, _, place = key.partition("@")
    return group if often[group] == 1 or not place else place


def _inner_choices(overrides: Iterable[str]) -> list[str]:
    """Return what the command line chooses inside of other choices, shortened: "huber" for penalty@objective.penalty=huber."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return sorted(value for key, _, value in pairs if "@" in key and not key.partition("@")[2].startswith("evaluation."))


def _check_preset(config: DictConfig, choices: Mapping[str, Any]) -> None:
    """Refuse a preset that the experiment does not have: Hydra is silent there, since experiment_preset is optional."""
    preset, experiment = choices.get("preset"), choices.get("experiment")
    if preset is not None and config.preset_name != preset:
        if experiment is None:
            raise ConfigError("preset", preset, "a preset is the size of an experiment: choose one with experiment=...")
        missing = f"configs/experiment_preset/{experiment}/{preset}.yaml"
        raise ConfigError(
            "preset", preset, f"experiment={experiment} has no such size: there is no {missing}; leave the word out"
        )


def _check_time(node: object, key: str) -> None:
    """Refuse what the clock is asked for, anywhere below a key: no second command, and no job of a sweep, finds such a run."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            _check_time(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            _check_time(value, f"{key}[{i}]")
    elif isinstance(node, str) and "${now:" in node:
        by_shell = re.sub(r"\$\{now:([^}]*)\}", r"$(date +\1)", node)
        advice = f"the time makes another run of the same command; write it out, or let the shell do it: {key}={by_shell}"
        raise ConfigError(key, node, advice)


def _seeds_in_words(seed: object) -> str:
    """Return "seed3" for one seed, and "seeds3-7" (the first and the last) for a list of seeds."""
    if isinstance(seed, Sequence) and not isinstance(seed, str) and len(seed) > 0:
        return f"seeds{seed[0]}-{seed[-1]}"
    return f"seed{seed}"
