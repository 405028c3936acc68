"""What the YAML files compute, to be registered wherever configs are composed.

${fraction:total,share}, ${digest:path,key} and ${expanded:path,key}.
"""

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


def digest(path: object, key: str = "target.data.path") -> str | None:
    """Return a digest of the file that a key names, so that changed content is another run; None where there is no path.

    Raises ConfigError(key) for a file that cannot be read: at once, before torch is imported.
    """
    return user_files.digest(user_files.read(path, key)) if isinstance(path, str) else None


def expanded(path: object, key: str) -> object:
    """Return a path with ~ as the home folder; what is no path as it is, whoever uses it says what is wrong with it."""
    return str(user_files.expanded(path, key)) if isinstance(path, str) else path


RESOLVERS = {resolver.__name__: resolver for resolver in (fraction, digest, expanded)}


def register() -> None:
    """Make them known to OmegaConf; again changes nothing."""
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
