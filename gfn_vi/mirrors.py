"""The loggers of a run, from its configuration: none, one, or several as in logger=both; each mirrors metrics.csv."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.errors import require
from gfn_vi.signatures import SUPPLIED, check_signatures

if TYPE_CHECKING:
    from omegaconf import DictConfig


def loggers(node: Any) -> dict[str, Mapping[str, Any]]:
    """Return key -> the node of each logger, as plain containers. Raises ConfigError for what is no logger.

    node: the key `logger` of a configuration; one logger, or a mapping of them.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node)
    found = {"logger": plain} if "_target_" in plain else {f"logger.{name}": inner for name, inner in plain.items()}
    for key, inner in found.items():
        is_part = inner is None or (isinstance(inner, Mapping) and "_target_" in inner)
        require(is_part, key, inner, f"expected a logger, with a _target_; a choice is made with +logger@{key}=...")
    return {key: inner for key, inner in found.items() if inner is not None and inner["_target_"] is not None}


def check_loggers(node: Any) -> None:
    """Raise ConfigError for an argument that a logger does not take."""
    for key, inner in loggers(node).items():
        check_signatures(inner, key, SUPPLIED["logger"])


def shown_config(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what mirrors show of a configuration: without `checkpoint`, where a search puts the address of its database."""
    return {key: value for key, value in plain.items() if key != "checkpoint"}


def build_sinks(config: DictConfig, directory: Path) -> list[Any]:
    """Return the sinks that get every record. Each is given directory, name and config as far as its constructor has them."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config)
    facts = (str(directory), directory.name, shown_config(plain))
    sinks = []
    for node in loggers(config.logger).values():
        factory = instantiate(node, _partial_=True, _convert_="all")
        wanted = inspect.signature(factory.func).parameters
        offered = dict(zip(SUPPLIED["logger"], facts, strict=True))
        sinks.append(factory(**{key: value for key, value in offered.items() if key in wanted}))
    return sinks
