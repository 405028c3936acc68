"""The configuration that a run stores, config.yaml, read fast: runs of a sweep share most of it, and YAML is slow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gfn_vi.runs.files import CONFIG

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 10 times faster, and sweeps have thousands of runs


def stored_config(directory: Path) -> dict[str, Any] | None:
    """Return the configuration that a run directory holds; None where there is none or it is damaged."""
    try:
        return parsed_config((directory / CONFIG).read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return None


def parsed_config(data: bytes) -> dict[str, Any]:
    """Return a parsed configuration; each top-level text is parsed once, and its value is to be left as it is.

    Raises ValueError or YAMLError for what is none.
    """
    text = data.decode()
    try:
        parts = [_mapping(_load(part)) for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if part.strip()]
    except (ValueError, yaml.YAMLError):  # flow style, an alias into another key, or truly damaged
        parts = [_mapping(_load(text))]
    if not parts:
        raise ValueError("an empty configuration")
    return {key: value for part in parts for key, value in part.items()}


@lru_cache(maxsize=4096)
def _load(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def _mapping(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, found {type(content).__name__}")
    return content


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted keys; a list becomes its JSON text, so that every value is a scalar."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return flat


def items_of(value: object) -> list[Any]:
    """Return the items of a list, which a flat configuration has as its JSON text; none for anything else."""
    if not (isinstance(value, str) and value.startswith("[")):
        return []
    try:
        items = json.loads(value)
    except ValueError:
        return []
    return items if isinstance(items, list) else []
