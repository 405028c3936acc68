"""The user's own folder of YAML files, --config-dir: Hydra reads none of them that has the name of a shipped one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from gfn_vi.core.errors import ConfigError, require

OPTIONS = ("--config-dir", "-cd")


def check_config_folder(words: Sequence[str]) -> None:
    """Raise ConfigError for a folder on a command line that is not there, or a file of it that is unread and no copy."""
    folders = [word.partition("=")[2] for word in words if word.startswith(tuple(f"{option}=" for option in OPTIONS))]
    folders += [after for word, after in pairwise(words) if word in OPTIONS]
    shipped = Path(str(files("gfn_vi.configs")))
    for folder in folders:
        require(
            Path(folder).is_dir(), OPTIONS[0], folder, f"there is no such folder; it was looked for at {Path(folder).resolve()}"
        )
        for ours in sorted(shipped.rglob("*.yaml")):
            name = ours.relative_to(shipped)
            own = Path(folder, name)
            if own.is_file() and own.read_bytes() != ours.read_bytes():
                unread = f"{name} has the name of a shipped choice, which is taken in its place: give it another name"
                raise ConfigError(OPTIONS[0], folder, unread)
