"""Overrides -> configuration, by the rules of the command: what it refuses is refused here, as one error of one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.interface.apart import hydra_apart, user_modules

if TYPE_CHECKING:
    from omegaconf import DictConfig

Folder = str | os.PathLike[str]
EXAMPLE = '["target=hypergrid", "replicas=5"]'


class OverrideError(ConfigError):
    """Raised for overrides that make no configuration; its text is the line that the command would print."""

    def __init__(self, line: str) -> None:
        key, _, found = line.partition(": ")[0].partition("=")
        super().__init__(key, found, line)
        self.args = (line,)

    def __reduce__(self) -> tuple[type[OverrideError], tuple[str]]:  # type: ignore[override]
        return (type(self), (self.expected,))


@contextmanager
def composed(overrides: Sequence[str], config_dir: Folder | None) -> Iterator[DictConfig]:
    """Yield the configuration of one run, resolved and labelled; inside of the block Hydra's state is that of this run.

    overrides: group=choice and key=value, as on the command line; config_dir: a folder with YAML files of one's own. Raises
    ConfigError in one line for whatever the command refuses, unread keys included.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from gfn_vi.terminal.config_folder import check_config_folder
    from gfn_vi.terminal.guarded import at_home
    from gfn_vi.terminal.hydra_errors import in_one_line
    from gfn_vi.terminal.list_entries import mistaken_list
    from gfn_vi.terminal.typed_words import instead_of_command_line

    words = [at_home(word) for word in _checked(overrides)]
    option = [] if config_dir is None else ["--config-dir", os.fspath(config_dir)]
    with hydra_apart(), user_modules(), instead_of_command_line([*option, *words]):
        try:
            check_config_folder(option)
            if (mistake := mistaken_list(words)) is not None:
                raise OverrideError(mistake)
            config = _composed(words, config_dir)
        except ConfigError:
            raise
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
            # sixty frames of Hydra say less than the line does
            raise OverrideError(in_one_line(error)) from None
        yield config


def compose(overrides: Sequence[str], config_dir: Folder | None) -> DictConfig:
    """Return the configuration of one run; see `composed`."""
    with composed(overrides, config_dir) as config:
        return config


def _checked(overrides: Sequence[str]) -> list[str]:
    """Return the overrides as a list. Raises ConfigError for a single text, and for options of the command line."""
    is_list = not isinstance(overrides, str) and isinstance(overrides, Sequence) and all(isinstance(w, str) for w in overrides)
    require(is_list, "overrides", overrides, f"expected a list of texts, such as {EXAMPLE}")
    for word in overrides:
        options = "the command line's options are no overrides: config_dir is an argument, and a sweep is a loop"
        require(not word.startswith("-"), "overrides", word, f"expected group=choice or key=value; {options}")
    return list(overrides)


def _composed(words: list[str], config_dir: Folder | None) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    from gfn_vi.runs.label import draws_at_its_end, labelled
    from gfn_vi.sweeps.one_run import require_one_run
    from gfn_vi.sweeps.worker import require_no_chdir
    from gfn_vi.terminal.unread import check_keys

    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        whole = hydra_compose("train", [*words, *_search_path(config_dir)], return_hydra_config=True)
    HydraConfig.instance().set_config(whole.copy())
    about: Any = HydraConfig.get()
    with read_write(whole), open_dict(whole):
        del whole["hydra"]
    require_no_chdir(about.job.chdir)
    check_keys(whole)
    resolved = labelled(whole, about.runtime.choices, about.overrides.task)
    require_one_run()
    if resolved.pictures is None:
        resolved.pictures = draws_at_its_end(resolved)
    return resolved


def _search_path(config_dir: Folder | None) -> list[str]:
    if config_dir is None:
        return []
    escaped = str(Path(config_dir).resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['file://{escaped}']"]
