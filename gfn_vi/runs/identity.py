"""The keys that are not part of what a run is: they say where, how fast and how visibly it happens."""

from __future__ import annotations

# Top-level config keys that are no part of a run's identity: not in the hash of its name, not columns of a table.
INFRASTRUCTURE_KEYS = frozenset(
    {"checkpoint", "choices", "device", "hydra", "logger", "output_root", "pictures", "progress", "run_label", "threads"}
)
