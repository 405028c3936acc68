"""Which runs a command line stands for: products and their union, each run composed once and known by its directory.

    overrides = parsed(loader, ["seed=0,1", "objective=reverse_kl"])
    jobs = jobs_of(loader, config, [overrides])      # a job per run; refuses empty products and colliding runs
    job = identify(loader, config, ("seed=0",))      # one job, its overrides without commas

loader: hydra_context.config_loader; config: the sweep's own configuration, as Sweeper.setup gets both.
"""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.core.patience import told_if_slow
from gfn_vi.runs.directory import identity_of, run_directory
from gfn_vi.runs.label import labelled
from gfn_vi.signatures import check_arguments
from gfn_vi.terminal.choices import has_known_arguments
from gfn_vi.terminal.hydra_errors import in_one_line
from gfn_vi.terminal.list_entries import list_of_choices
from gfn_vi.terminal.unread import check_keys


@dataclass(frozen=True)
class Job:
    """One run of a sweep. overrides: what a launcher composes it from; config: resolved, with `run_label`."""

    overrides: tuple[str, ...]
    directory: Path
    config: Mapping[str, Any] = field(repr=False, compare=False)


def parsed(loader: ConfigLoader | None, lines: Iterable[str]) -> list[Override]:
    """Overrides as they stand on a command line. Raises HydraException for what is none."""
    overrides: list[Override] = OverridesParser.create(config_loader=loader).parse_overrides(list(lines))
    for override in overrides:
        _count_in_tenths(override.value())
    return overrides


def _count_in_tenths(value: object) -> None:
    """Make the steps of a range those of its decimal digits: in binary ones, range(0.1,0.4,0.1) ends with 0.4, its end."""
    parts = ("start", "stop", "step")
    if isinstance(value, RangeSweep) and any(isinstance(getattr(value, part), float) for part in parts):
        for part in parts:
            setattr(value, part, Decimal(repr(getattr(value, part))))


def written(axes: Mapping[str, Any]) -> list[str]:
    """The overrides that a mapping of a config stands for: {seed: "0,1"} is seed=0,1; null and lists as Hydra writes them."""
    return [f"{key}={_as_written(value)}" for key, value in axes.items()]


def _as_written(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_as_written, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def product(overrides: Sequence[Override]) -> list[tuple[str, ...]]:
    """Every combination of the values; of two overrides of a key the later one counts.

    Raises ConfigError for a key without values and for a range that has no end of values.
    """
    axes = {override.get_key_element().lstrip("+~"): _values(override) for override in overrides}
    return list(itertools.product(*axes.values()))


def _values(override: Override) -> list[str]:
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    key, found = override.get_key_element(), override.input_line.partition("=")[2]
    if not override.is_discrete_sweep():
        raise ConfigError(key, found, "an interval is for searches; a sweep takes values a,b,c or range(start,end)")
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise ConfigError(key, found, "no values, so the sweep has no runs; give at least one")
    twice = [value for value, n in Counter(values).items() if n > 1]
    if twice:
        raise ConfigError(key, found, f"{twice[0]} comes up twice; write each value once")
    return values


def identify(loader: ConfigLoader, config: DictConfig, overrides: Sequence[str], label: str = "") -> Job:
    """Compose one run and name its directory. Raises RunError in one line that names the label or the overrides."""
    if (mistake := list_of_choices(overrides)) is not None:
        raise RunError(mistake)
    before = HydraConfig.instance().cfg
    try:
        composed = loader.load_sweep_config(config, list(overrides))
        _check_unread(config.hydra, composed.hydra)
        HydraConfig.instance().set_config(composed)  # what a config asks of ${hydra:...} is answered as in the job
        choices = composed.hydra.runtime.choices
        check_keys(composed)
        with open_dict(composed):
            del composed["hydra"]
        plain: dict[str, Any] = OmegaConf.to_container(labelled(composed, choices, overrides))  # type: ignore[assignment]
        return Job(tuple(overrides), run_directory(plain), plain)
    except (HydraException, OmegaConfBaseException, ConfigError, ValueError) as error:
        name, message = label or shlex.join(overrides) or "the run", in_one_line(error)
        raise RunError(message if message.startswith(f"{name.lstrip('+')}: ") else f"{name}: {message}") from error
    finally:
        HydraConfig.instance().cfg = before


def _check_unread(of_all: DictConfig, of_job: DictConfig) -> None:
    """Raise ConfigError for axes or a launcher that a choice of the job brings along: the sweep has been made without them."""
    for key in ("sweeper", "launcher"):
        whole, own = (OmegaConf.to_container(node[key], resolve=False) for node in (of_all, of_job))
        assert isinstance(whole, dict) and isinstance(own, dict)
        changed = [name for name in map(str, own) if own[name] != whole.get(name)]
        if changed:
            name, value = changed[0], own[changed[0]]
            found = "{" + ", ".join(map(str, value)) + "}" if isinstance(value, dict) else value
            advice = "comes too late for a sweep over several choices: sweep over this one alone"
            raise ConfigError(f"hydra.{key}.{name}", found, advice)


def jobs_of(
    loader: ConfigLoader,
    config: DictConfig,
    products: Sequence[Sequence[Override]],
    known: Callable[[tuple[str, ...]], Job | None] = lambda overrides: None,
) -> list[Job]:
    """The runs of a union of products, in order. Runs that several products share are one run.

    known: returns the job of overrides that need no composing, else None. Raises ConfigError for an empty product, RunError for a
    run that cannot be composed or that one product has twice.
    """
    combinations = [product(overrides) for overrides in products]
    everything = list(dict.fromkeys(itertools.chain(*combinations)))
    labels = differences(everything)
    with told_if_slow(f"composing {len(everything):,} runs"):
        composed = {o: known(o) or identify(loader, config, o, label) for o, label in zip(everything, labels, strict=True)}
    for combination in combinations:
        _refuse_collisions([composed[overrides] for overrides in combination])
    jobs: dict[Path, Job] = {}
    for job in composed.values():
        jobs.setdefault(identity_of(job.directory), job)
    return list(jobs.values())


def check_jobs(jobs: Iterable[Job]) -> None:
    """Raise RunError for a job with an argument that nothing takes; to be asked before any is launched.

    Where all arguments stand in the package's YAML files, as is usual, no class is imported.
    """
    for job in jobs:
        try:
            if not has_known_arguments(job.config):
                check_arguments(job.config)
        except ConfigError as error:
            raise RunError(str(error)) from error


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """RunError if two of the jobs are the same run."""
    seen: dict[Path, Job] = {}
    for job in jobs:
        twin = seen.setdefault(identity_of(job.directory), job)
        if twin is not job:
            one, other = differences([twin.overrides, job.overrides])
            raise RunError(
                f"{one} and {other} are the same run, {job.directory}: leave one of them out"
                " (infrastructure such as device, threads or logger is no part of a run's identity)"
            )


def differences(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the overrides of each job that not all jobs have, as text; all of them where there is one job."""
    shared = set.intersection(*map(set, lines)) if len(lines) > 1 else set()
    return [shlex.join(line for line in overrides if line not in shared) for overrides in lines]
