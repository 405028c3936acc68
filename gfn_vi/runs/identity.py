"""The keys that are not part of what a run is: they say where, how fast and how visibly it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Top-level config keys that are no part of a run's identity: not in the hash of its name, not columns of a table.
INFRASTRUCTURE_KEYS = frozenset(
    {"checkpoint", "choices", "device", "hydra", "logger", "output_root", "pictures", "progress", "run_label", "threads"}
)


def of_the_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the top-level keys of a configuration that are part of what a run is, with their values."""
    return {key: value for key, value in config.items() if key not in INFRASTRUCTURE_KEYS}
