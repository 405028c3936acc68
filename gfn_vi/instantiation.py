"""One node of a configuration -> the object that its _target_ names, or one line that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.signatures import check_signatures


def built(config: Any, key: str, supplied: Mapping[str, Any] | None = None) -> Any:
    """Instantiate a node of the configuration, adding `supplied` to its arguments.

    What the signature refuses is a ConfigError, and so is a ValueError of the constructor; anything else it raises is a
    mistake in the class and passes with its traceback.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
    is_node = isinstance(plain, dict) and plain.get("_target_") is not None
    require(is_node, key, plain, "expected a config with a _target_: choose one of its group, see --help")
    check_signatures(plain, key, tuple(supplied or ()), _choices())
    try:
        if supplied is None:
            return instantiate(config, _convert_="all")
        return instantiate(config, _partial_=True, _convert_="all")(**supplied)
    except (InstantiationException, ValueError) as error:
        cause = _cause(error)
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, ValueError):
            raise ConfigError(key, plain["_target_"], f"cannot be built: {str(cause).splitlines()[0]}") from error
        raise cause from None


def _choices() -> list[str]:
    """Return "group@place" of each choice that Hydra made for this process; none in a program that composes by itself."""
    from hydra.core.hydra_config import HydraConfig

    return list(map(str, HydraConfig.get().runtime.choices)) if HydraConfig.initialized() else []


def _cause(error: BaseException) -> BaseException:
    """Return the error that a constructor raised, without what Hydra wraps around it."""
    while not isinstance(error, ConfigError) and type(error).__module__.startswith("hydra.") and error.__cause__ is not None:
        error = error.__cause__
    return error
