"""The configuration that names a run: resolved, with a label made of the choices on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf


def labelled(config: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """The resolved config with `run_label`, the readable part of the run's name.

    choices: group -> choice, as in HydraConfig's runtime.choices. Raises OmegaConf's errors for what cannot be resolved.
    """
    parts = [config.arm_name or f"{choices['objective']}-{choices['exploration']}", choices["target"], choices["sampler"]]
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    resolved.run_label = "-".join([*map(str, parts), f"seed{config.seed}"])
    return resolved
