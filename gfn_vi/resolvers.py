"""What the YAML files compute: ${fraction:total,share} and ${digest:path}. To be registered wherever configs are composed."""

from __future__ import annotations

from omegaconf import OmegaConf

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError


def fraction(total: float, share: float) -> float:
    """Return total * share, for clocks that are a share of the run."""
    for value in (total, share):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError("fraction", value, "expected a number: a clock of this run is a share of it")
    return total * share


def digest(path: object) -> str | None:
    """Return a digest of the file at target.data.path, so that a changed table is another run; None where there is no path.

    Raises ConfigError for a file that cannot be read: at once, before torch is imported.
    """
    return user_files.digest(user_files.read(path, "target.data.path")) if isinstance(path, str) else None


def register() -> None:
    """Make them known to OmegaConf; again changes nothing."""
    for resolver in (fraction, digest):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
