"""What is searched, from Hydra's sweep syntax: intervals and ranges of numbers, choices of anything else.

interval(1e-4, 1e-1)            a number between; int(interval(1, 8)): a whole one, both ends included
tag(log, interval(1e-4, 1e-1))  the same, its logarithm uniform
range(1, 4), range(0, 1, 0.25)  1, 2, 3; 0, 0.25, 0.5, 0.75
a, b                            one of these, without an order
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from gfn_vi.core.command_line import key_of
from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.seeds import is_whole
from gfn_vi.signatures import located, takes

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Every trial is measured on the same seeds, in one folder.
NOT_SEARCHED = ("seed", "replicas", "tuning_seeds", "experiment_name", "output_root")


class Space(NamedTuple):  # no dataclass: Hydra executes this module outside sys.modules, where dataclasses look
    """searched: key -> distribution; fixed: the overrides that every trial has."""

    searched: dict[str, BaseDistribution]
    fixed: list[str]

    def n_points(self) -> float:
        """How many points it has; infinity where a number is between two others."""
        return math.prod(_n_values(d) for d in self.searched.values())

    def first(self) -> dict[str, object]:
        """One point of the space."""
        return {key: getattr(d, "choices", [getattr(d, "low", None)])[0] for key, d in self.searched.items()}

    def check_numbers(self, config: DictConfig) -> None:
        """Raise ConfigError for a key that is a whole number, of which numbers between two others are searched.

        config: that of the sweep, without what is searched; of a key that only some choices have it says nothing.
        """
        for key, found in self.searched.items():
            low, high = getattr(found, "low", None), getattr(found, "high", None)
            if isinstance(low, float) and isinstance(high, float) and _is_whole_key(config, key):
                whole = f"int(interval({low:g},{high:g}))"
                form = f"tag(log, {whole})" if getattr(found, "log", False) else whole
                raise ConfigError(key, f"interval({low:g},{high:g})", f"this key takes whole numbers: type '{key}={form}'")


def _is_whole_key(config: DictConfig, key: str) -> bool:
    """Return whether a key of the configuration takes whole numbers only."""
    place, _, name = key.lstrip("+~").rpartition(".")
    node = OmegaConf.select(config, place) if place else config
    if not OmegaConf.is_dict(node) or name not in node:
        return False
    target = node.get("_target_")
    if target is None:
        return is_whole(OmegaConf.select(node, name))
    return not takes(located(target, place), name, 0.5)


def _n_values(d: Any) -> float:
    if hasattr(d, "choices"):
        return len(d.choices)
    return math.inf if d.step is None else round((d.high - d.low) / d.step) + 1


def space_of(overrides: Sequence[Override]) -> Space:
    """Sort the overrides; of two of a key the later one counts. Raises ConfigError."""
    by_key = {override.get_key_element().lstrip("+~"): override for override in overrides}
    searched = {o.get_key_element(): distribution(o) for o in by_key.values() if o.is_sweep_override()}
    typed = {o.get_key_element(): (o.input_line or "").partition("=")[2] for o in by_key.values()}
    for key in NOT_SEARCHED:
        require(key not in searched, key, typed.get(key), "every trial of a search has the same; give one value")
    for key in searched:
        is_of_target = "target" in (key.lstrip("+").partition(".")[0], key.partition("@")[2].partition(".")[0])
        require(not is_of_target, key, typed[key], "a search compares settings on one target; give one value, or sweep it")
    require(len(searched) > 0, "hydra.sweeper.params", "{}", "nothing to search; give a key an interval(a,b) or values a,b")
    return Space(searched, [str(o.input_line) for o in by_key.values() if not o.is_sweep_override()])


def last_of_each_key(lines: Sequence[str]) -> list[str]:
    """Return the last override of each key; it adds the key if the first did, as the configuration has none."""
    by_key: dict[str, str] = {}
    for line in lines:
        key = key_of(line)
        before = by_key.get(key, "")
        plus = before[: len(before) - len(before.lstrip("+"))]
        by_key[key] = f"{plus}{line}" if line.startswith(key) else line
    return list(by_key.values())


def distribution(override: Override) -> BaseDistribution:
    """The distribution of one sweep override. Raises ConfigError."""
    from optuna.distributions import CategoricalDistribution

    key, found, value = override.get_key_element(), str(override.input_line).partition("=")[2], override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _range(value)
        values = list(override.sweep_string_iterator())
        require(len(set(values)) == len(values), key, found, "a value comes up twice; write each once")
        return CategoricalDistribution(values)
    except ValueError as error:
        raise ConfigError(key, found, f"cannot be searched: {error}") from error


def _interval(value: IntervalSweep) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, is_log = value.start, value.end, "log" in value.tags
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=is_log)
    assert low is not None
    assert high is not None
    return FloatDistribution(low, high, log=is_log)


def _range(value: RangeSweep) -> BaseDistribution:
    """Hydra leaves the end out, Optuna does not."""
    from optuna.distributions import FloatDistribution, IntDistribution

    values = sorted(value.range())
    if not values:
        raise ValueError("no values")
    step = abs(value.step)
    if all(isinstance(v, int) for v in values):
        return IntDistribution(int(values[0]), int(values[-1]), step=int(step))
    return FloatDistribution(float(values[0]), float(values[-1]), step=float(step))
