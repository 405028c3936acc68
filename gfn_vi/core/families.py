"""Which of the two families a target belongs to; it needs no torch."""

from __future__ import annotations

import inspect


def is_density(target: object) -> bool:
    """Return whether a target is a density on R^d; all others, whatever they call `dim`, have moves between states."""
    absent = object()
    has = [inspect.getattr_static(target, name, absent) is not absent for name in ("dim", "forward_mask")]
    return has == [True, False]
