"""Hydra's entry points with errors in one line: what Hydra refuses, what our constructors refuse, what the disk refuses."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.terminal.choices import GROUPS, keys_of_file
from gfn_vi.terminal.config_folder import check_config_folder
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from gfn_vi.terminal.grammar import braces_taken_apart, dashed_key
from gfn_vi.terminal.hydra_errors import in_one_line
from gfn_vi.terminal.list_entries import mistaken_list
from gfn_vi.terminal.streams import check_words, prepare_streams

SHOWN_BYTES = 40  # of a file that is no text, before the place
COMMANDS = ("train", "verify", "check")


def options_first(words: list[str]) -> list[str]:
    """Return the words of a command line with its overrides last, since Hydra refuses those on both sides of an option."""
    overrides = [word for word in words if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    return [word for word in words if word not in overrides] + overrides


def at_home(word: str) -> str:
    """Return an override with its home folder in place of ~, as a shell does it for some keys; Hydra's grammar has no ~."""
    return re.sub(r"(?<=[=,])~(?=/|,|$)", lambda _: os.path.expanduser("~"), word)


def guarded(task: Callable[[], object]) -> None:
    """Run a @hydra.main function; exits with a status unless it returns.

    HYDRA_FULL_ERROR=1 lets everything pass with its traceback.
    """
    prepare_streams()
    typed = [at_home(word) for word in sys.argv[1:]]
    keys = [key for name in COMMANDS for key in keys_of_file(name)]
    mistyped = braces_taken_apart(typed) or dashed_key(typed, [*keys, *GROUPS]) or mistaken_list(typed)
    if mistyped is not None:
        print(f"error: {mistyped}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    sys.argv[1:] = options_first(typed)
    verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra then raises what it would print, traceback included, and the handlers below say it in one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_words(sys.argv[1:])
        check_config_folder(sys.argv[1:])
        task()
    except Exception as error:
        if verbose:
            raise
        sys.argv[1:] = typed  # messages name neighbors of a word
        if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError, ConfigError, RunError)):
            is_sweep = not {"-m", "--multirun"}.isdisjoint(sys.argv[1:])
            print(f"error: {in_one_line(error, of_a_sweep=is_sweep)}", file=sys.stderr)
        elif isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush, too
            sys.exit(EXIT_INTERRUPTED)
        elif isinstance(error, OSError):  # of the folder of a sweep: what a job raises is reported by its task
            found = f"{error.strerror}: {error.filename}; set output_root to a folder that can be written"
            print(f"error: cannot write: {found if error.filename else error.strerror}", file=sys.stderr)
        elif isinstance(error, UnicodeDecodeError):  # of a YAML file: Hydra does not say which
            before = bytes(error.object[max(error.start - SHOWN_BYTES, 0) : error.start]).decode(errors="replace")
            found = f"byte 0x{error.object[error.start]:02x} after {before!r}"
            print(f"error: a file of the configuration is not UTF-8 ({found}): save it as UTF-8", file=sys.stderr)
        elif isinstance(error, ValueError) or "is not configured" in str(error):  # of Hydra: tasks report their own
            print(f"error: {in_one_line(error)}", file=sys.stderr)
        else:
            raise
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        if not verbose:
            del os.environ["HYDRA_FULL_ERROR"]
