"""The user's own folder of YAML files, --config-dir: Hydra reads none of them that has the name of a shipped one."""

from __future__ import annotations

from collections.abc import Sequence

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.terminal.choices import shipped_folder, user_folders


def check_config_folder(words: Sequence[str]) -> None:
    """Raise ConfigError for a folder on a command line that is not there, or a file of it that is unread and no copy."""
    shipped = shipped_folder()
    for folder in user_folders(words):
        found = f"there is no such folder; it was looked for at {folder.resolve()}"
        require(folder.is_dir(), "--config-dir", folder, found)
        for ours in sorted(shipped.rglob("*.yaml")):
            name = ours.relative_to(shipped)
            own = folder / name
            if own.is_file() and own.read_bytes() != ours.read_bytes():
                unread = f"{name} has the name of a shipped choice, which is taken in its place: give it another name"
                raise ConfigError("--config-dir", folder, unread)
