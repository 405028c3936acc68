"""Configuration -> target, and what a process remembers of the targets that it has seen."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from gfn_vi.core.command_line import command, key_of
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.families import is_density
from gfn_vi.fitting import require_members
from gfn_vi.instantiation import built

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from gfn_vi.core.protocols import Target

# Configurations of targets that were checked, and those that have too many states to be listed: the other runs of a sweep in
# this process know it at once.
_checked: set[str] = set()
_too_large: set[str] = set()


def build_target(config: DictConfig, device: torch.device, key: str = "target") -> Target:
    """Return the target under `key`, on the device: a density where it has a `dim`, else a graph of states."""
    from gfn_vi.core.protocols import DensityTarget, DiscreteTarget

    target = built(config[key], key)
    require_members(target, DensityTarget if is_density(target) else DiscreteTarget, key, config[key]._target_)
    moved: Target | None = target.to(device)
    if moved is None:
        raise ConfigError(key, config[key]._target_, "its to(device) returns None: return the target, as it is on that device")
    if _digest(config[key]) in _too_large and hasattr(moved, "know_too_large"):
        moved.know_too_large()
    return moved


def remember_too_large(node: DictConfig) -> None:
    """Note that the target of this configuration has too many states to be listed: the next one knows it at once."""
    _too_large.add(_digest(node))


def _digest(node: DictConfig) -> str:
    """Return what tells one configuration of a target from another."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(node, resolve=True)


def check_own_target(config: DictConfig, target: Target) -> list[str]:
    """Refuse a target of the user's whose few states show a fault, once in a process; return what is harmless, as remarks."""
    from omegaconf import OmegaConf

    from gfn_vi.verification.targets.at_start import names_own_code, refuse_faults

    digest = _digest(config.target)
    if digest in _checked or not names_own_code(OmegaConf.to_container(config.target)):
        return []
    remarks = refuse_faults(target.to("cpu"), config.target._target_, _how_to_check())
    _checked.add(digest)
    return remarks


def _how_to_check() -> str:
    """Return the command that checks the target of this process."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return "gfn_vi.check_target(target)"
    about = HydraConfig.get()
    words = [word for word in about.overrides.task if key_of(word).startswith("target") or "@target." in word]
    words = words or [f"target={about.runtime.choices['target']}"]
    folders = [source.path for source in about.runtime.config_sources if source.provider == "command-line"]
    options = [f"--config-dir {shlex.quote(folder)}" for folder in folders]
    return " ".join([command("check"), *options, *map(shlex.quote, words)])
