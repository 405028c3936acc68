"""What a command without -m may not say: it is one run, and whatever is meant for several of them would be read by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gfn_vi.core.command_line import key_of
from gfn_vi.core.errors import ConfigError
from gfn_vi.sweeps.jobs import parsed, product, written
from gfn_vi.terminal.typed_words import way_to_sweep

# What only sweeps read.
OF_SWEEPS = ("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.")


def require_one_run() -> None:
    """Raise ConfigError for launchers and sweepers, and for an experiment of several runs.

    One run of an experiment gives a value to every key of hydra.sweeper.params and of one of the grids, on the command line.
    """
    hydra: Any = HydraConfig.get()
    for word in hydra.overrides.hydra:
        key, _, value = word.lstrip("+~").partition("=")
        if key.startswith(OF_SWEEPS):
            part = "launcher" if "launcher" in key else "sweeper"
            raise ConfigError(key, value, f"a {part} is for several runs: {way_to_sweep()}")
    sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=False)
    given = set(map(key_of, hydra.overrides.task))
    left = [_left({**(sweeper.get("params") or {}), **grid}, given) for grid in sweeper.get("grids") or [{}]]
    if not all(left):
        return
    fewest = min(left, key=len)
    by = [name for name in ("experiment", "sweep", "debug") if hydra.runtime.choices.get(name)]
    key, found = (by[0], hydra.runtime.choices[by[0]]) if by else ("hydra.sweeper.params", sorted(fewest))
    axes = ", ".join(f"{n} of {axis}" for axis, (n, _) in fewest.items() if n != "1 value") or ", ".join(fewest)
    one = " ".join(first for _, first in fewest.values())
    raise ConfigError(key, found, f"it is a sweep ({axes}): {way_to_sweep()}; one run of it is {key}={found} {one}")


def _left(axes: Mapping[str, Any], given: set[str]) -> dict[str, tuple[str, str]]:
    """Return key -> (how many values, the override of the first one) of the axes that the command line gives no value to."""
    left: dict[str, tuple[str, str]] = {}
    for key, value in axes.items():
        if key.lstrip("+~") not in given:
            (override,) = parsed(None, written({key: value}))
            if override.is_sweep_override() and not override.is_discrete_sweep():
                left[key] = "an interval", f"{key}=..."
            else:
                values = [first for (first,) in product([override])]
                left[key] = f"{len(values)} value{'s' * (len(values) > 1)}", values[0]
    return left
