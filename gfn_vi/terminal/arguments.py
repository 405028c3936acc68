"""What the commands that read files have in common: their help, and one line for files that cannot be used."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

from gfn_vi.core.command_line import command
from gfn_vi.runs.folders import TableError
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from gfn_vi.terminal.streams import prepare_streams

P = ParamSpec("P")
SHOWN_CHARACTERS = 60  # of a name that is no text, its end


def parser_of(name: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is `text`, in which gfn-vi-<name> becomes what a person types here to start the command."""
    described = (text or "").replace(f"gfn-vi-{name}", command(name))
    return argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)


def is_folder(word: str) -> bool:
    """Return whether a word of a command line is meant as a folder, there or not, and neither as key=value nor as an option."""
    return "=" not in word and not word.startswith(("-", "~")) and ("/" in word or os.path.isdir(word))


def answers_in_one_line(main: Callable[P, int]) -> Callable[P, int]:
    """Return `main` with errors of files as one line on stderr and exit status 2, and with 130 where nobody waits for more."""

    @functools.wraps(main)
    def guarded(*arguments: P.args, **keywords: P.kwargs) -> int:
        prepare_streams()
        try:
            return main(*arguments, **keywords)
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush, too
            return EXIT_INTERRUPTED
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        except UnicodeEncodeError as error:
            name = error.object.encode(errors="backslashreplace").decode()[-SHOWN_CHARACTERS:].strip()
            print(
                f"error: a name is no text in UTF-8 (...{name}): rename the folder, or start the command inside of it",
                file=sys.stderr,
            )
        except TableError as error:
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            about = error.strerror or error
            print(
                f"error: cannot read or write {error.filename}: {about}" if error.filename else f"error: {about}", file=sys.stderr
            )
        return EXIT_BAD_INPUT

    return guarded
