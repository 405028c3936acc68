"""The configuration that names a run: resolved, with a label made of the choices on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.errors import ConfigError


def labelled(config: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """The resolved config with `run_label`, the readable part of the run's name.

    choices: group -> choice, as in HydraConfig's runtime.choices. Raises OmegaConf's errors for what cannot be resolved,
    ConfigError for a preset that the experiment does not have.
    """
    _check_preset(config, choices)
    what = config.arm_name or f"{choices['objective']}-{choices['exploration']}"
    parts = [what, *([config.deviation_name] if config.deviation_name else []), choices["target"], choices["sampler"]]
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    resolved.run_label = "-".join([*map(str, parts), _seeds_in_words(resolved.seed)])
    return resolved


def _check_preset(config: DictConfig, choices: Mapping[str, Any]) -> None:
    """experiment_preset is optional, so that Hydra is silent where there is no file for this experiment and preset."""
    preset, experiment = choices.get("preset"), choices.get("experiment")
    if preset is not None and config.preset_name != preset:
        if experiment is None:
            raise ConfigError("preset", preset, "a preset is the size of an experiment: choose one with experiment=...")
        missing = f"configs/experiment_preset/{experiment}/{preset}.yaml"
        raise ConfigError("preset", preset, f"experiment={experiment} has no such size: there is no {missing}")


def _seeds_in_words(seed: object) -> str:
    """seed3, or of a list seeds3-7: the first and the last."""
    if isinstance(seed, Sequence) and not isinstance(seed, str) and len(seed) > 0:
        return f"seeds{seed[0]}-{seed[-1]}"
    return f"seed{seed}"
