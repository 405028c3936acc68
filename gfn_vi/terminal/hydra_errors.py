"""What Hydra and OmegaConf refuse, in one line that names the key, its neighbors and the closest match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from gfn_vi.core.errors import ConfigError
from gfn_vi.signatures import suggestion

# Launcher that a preset of ours builds on -> the extra of this package that installs its plugin.
EXTRAS = {"joblib": "local", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray_plugin": "ray"}
# A key that is null until it is given a value as a whole -> the form of that value.
FORMS = {"evaluation.headline": "{metric:...,direction:...,worst:...,words:...}"}


def in_one_line(error: BaseException, of_a_sweep: bool = False) -> str:
    """Return the message for a user; ours are passed as they are.

    of_a_sweep: whether Hydra was composing what all jobs share, without the choices that have several values.
    """
    if isinstance(error, MissingConfigException):
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if group == "hydra/launcher" and choice in EXTRAS:
            return f"hydra/launcher={EXTRAS[choice]}: its plugin is not installed: pip install 'gfn_vi[{EXTRAS[choice]}]'"
        if error.options is not None:
            return _unknown_choice(error.missing_cfg_file or "", list(error.options))
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        ours = _of_a_resolver(cause)
        if ours is not None:
            return str(ours) if "." in ours.key else f"{ours} (asked for by {cause.full_key})"
        unknown = _unknown_key(cause, of_a_sweep)
        if unknown is not None:
            return unknown
    unused = re.match(r"Could not override '([^']+)'\.\s*No match in the defaults list", str(error))
    if unused is not None:
        return _unused_group(unused.group(1))
    lines = [line.strip() for line in str(error).splitlines()]
    about = [line for line in lines if line and not line.startswith(("object_type=", "reference_type="))]
    return re.sub(r"\s+", " ", "; ".join(about)).replace(":;", ":")


def _of_a_resolver(error: BaseException) -> ConfigError | None:
    """Return the error of one of our resolvers, without what OmegaConf wraps around it; None if there is none."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, ConfigError):
        inner = inner.__cause__ or inner.__context__
    return inner


def _unknown_choice(path: str, options: list[str]) -> str:
    group, _, choice = path.rpartition("/")
    if not group:
        return f"no config named {path}{suggestion(path, options)}"
    if "/" in group and not group.startswith("hydra/"):
        options = []  # of a folder within a group Hydra lists what lies beside it
    known = f"choices: {', '.join(options)}" if options else "see --help"
    return f"{group}={choice}: no such choice{suggestion(choice, options)}; {known}"


def _unused_group(key: str) -> str:
    """Return the message for a choice of a group from which nothing is chosen in this place."""
    group, _, place = key.partition("@")
    if place:
        parent, _, inner = place.partition(".")
        able = _choices_with(parent, f"/{group}@{inner}:")
        advice = f"; choices that have one: {', '.join(able)}" if able else ""
        return f"{key}: the choice that is made of {parent} has no {group} there{advice}; see its keys with --cfg job"
    where = f"its place belongs to the key where a choice is inside another one, as in {group}@objective.{group}=..."
    return f"{group}: nothing is chosen from this group here; {where}, see --help"


def _choices_with(group: str, line: str) -> list[str]:
    """Return the choices of a group whose YAML says in its defaults that another group is chosen from inside of them."""
    yamls = sorted(Path(str(files("gfn_vi.configs")), group).glob("*.yaml"))
    return [path.stem for path in yamls if line in path.read_text(encoding="utf-8")]


def _unknown_key(cause: OmegaConfBaseException, of_a_sweep: bool) -> str | None:
    """Return the message for a key that the node does not have; None for any other mistake."""
    node, key = cause.parent_node, str(cause.full_key or "")
    if not isinstance(node, Mapping) or cause.key is None or not key or cause.key in node:
        return None
    names = [str(name) for name in node]
    place = key.rpartition(".")[0] or "the top level"
    if not names:
        return f"{key}: {place} has no keys: give it a value as a whole, {place}={FORMS.get(place, '...')}"
    swept = (
        f"; where only choices of the sweep have it: 'hydra.sweeper.grids=[{{{key}:...}}]'" if of_a_sweep and "." in key else ""
    )
    known = f"keys of {place}: {', '.join(names)} (one more: +{key}=...{swept})"
    return f"{key}: no such key{suggestion(str(cause.key), names)}; {known}"
