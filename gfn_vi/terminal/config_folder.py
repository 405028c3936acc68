"""The user's own folder of YAML files, --config-dir: Hydra reads none of them that has the name of a shipped one."""

from __future__ import annotations

from collections.abc import Sequence

from gfn_vi.core.errors import ConfigError
from gfn_vi.terminal.choices import shipped_folder, user_folders


def check_config_folder(words: Sequence[str]) -> None:
    """Raise ConfigError for a file of the folder on a command line that is unread, and differs from the shipped one."""
    shipped = shipped_folder()
    for folder in user_folders(words):
        for ours in sorted(shipped.rglob("*.yaml")):
            name = ours.relative_to(shipped)
            own = folder / name
            if own.is_file() and own.read_bytes() != ours.read_bytes():
                unread = f"{name} has the name of a shipped choice, which is taken in its place: give it another name"
                raise ConfigError("--config-dir", folder, unread)
