"""Which metric a run is judged by, as the run itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.headline import Headline, headline_from


def headline_of(status: Mapping[str, Any] | None) -> Headline | None:
    """Return the headline that status.json tells; None for a run that has none, or whose status is missing or damaged."""
    entry = (status or {}).get("headline")
    try:
        return None if entry is None else headline_from(entry, "headline")
    except ConfigError:
        return None
