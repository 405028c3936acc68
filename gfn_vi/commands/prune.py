"""List the runs that a sweep does not ask for, in the folder of its experiment; delete them with --delete.

    gfn-vi-prune experiment=quickstart                       the words of the sweep that is to stay, without -m
    gfn-vi-prune experiment=quickstart --delete              delete what the same command lists without --delete

Every run is listed with its state and its size on disk. Deleted is nothing but runs: never one that is being trained, a link or
what a link leads to, a copy of a run under another name, or a folder that is no run. What searches have tried is known to nobody
beforehand, so a search has nothing to prune.
Exit status: 0, 1 if a run could not be deleted, 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from gfn_vi.core.command_line import command
from gfn_vi.terminal.arguments import is_folder, parser_of
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT
from gfn_vi.terminal.guarded import guarded

DELETE, SWEEPER = "--delete", "hydra_plugins.gfn_vi.prune_sweeper.PruneSweeper"
OF_SEARCHES = ("sweep=", "+sweep=", "hydra/sweeper=")


def main() -> None:
    """List the runs, or delete them; the exit status is 2 for bad input, in one line on stderr."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        _parser().print_help()
        return
    deletes = DELETE in words
    words = [word for word in words if word not in (DELETE, "-m", "--multirun")]
    folder = next((word for before, word in pairwise(["", *words]) if not before.startswith("-") and is_folder(word)), None)
    if folder is not None:
        stays = f"expected the words of the sweep whose runs stay, experiment_name={Path(folder).name} among them"
        print(f"error: {folder}: {stays}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    if not any("=" in word and not word.startswith("-") for word in words):
        stays = f"say which sweep's runs stay: {command('prune')} experiment=NAME, or the words of the sweep"
        print(f"error: {stays}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    search = next((word for word in words if word.startswith(OF_SEARCHES)), None)
    if search is not None:
        print(
            f"error: {search}: a search chooses its runs as it goes, so nobody can tell which ones it asks for", file=sys.stderr
        )
        sys.exit(EXIT_BAD_INPUT)

    from gfn_vi.commands.train import register_sweepers, task
    from gfn_vi.sweeps.worker import find_user_modules

    find_user_modules()
    register_sweepers()
    _register()
    sys.argv[1:] = ["-m", *words, f"hydra.sweeper._target_={SWEEPER}", f"+hydra.sweeper.delete={str(deletes).lower()}"]
    guarded(task)


def _parser() -> argparse.ArgumentParser:
    """Return a parser for the help alone: Hydra reads the words."""
    parser = parser_of("prune", __doc__)
    parser.add_argument("words", nargs="+", metavar="group=choice|key=value", help="the words of the sweep whose runs stay")
    parser.add_argument(DELETE, action="store_true", help="delete what is listed; without it nothing is deleted")
    return parser


def _register() -> None:
    """Make the sweeper known to Hydra, which does not find it in an editable install."""
    from hydra.core.plugins import Plugins

    from hydra_plugins.gfn_vi.prune_sweeper import PruneSweeper

    Plugins.instance().register(PruneSweeper)


if __name__ == "__main__":
    main()
