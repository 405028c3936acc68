"""Hydra's entry points with errors in one line: what Hydra refuses, what our constructors refuse, what the disk refuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.terminal.config_folder import check_config_folder
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from gfn_vi.terminal.hydra_errors import in_one_line


def options_first(words: list[str]) -> list[str]:
    """Return the words of a command line with its overrides last, since Hydra refuses those on both sides of an option."""
    overrides = [word for word in words if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    return [word for word in words if word not in overrides] + overrides


def guarded(task: Callable[[], object]) -> None:
    """Run a @hydra.main function; exits with a status unless it returns.

    HYDRA_FULL_ERROR=1 lets everything pass with its traceback.
    """
    sys.argv[1:] = options_first(sys.argv[1:])
    verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra then raises what it would print, traceback included, and the handlers below say it in one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_config_folder(sys.argv[1:])
        task()
    except Exception as error:
        if verbose:
            raise
        if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError, ConfigError, RunError)):
            is_sweep = not {"-m", "--multirun"}.isdisjoint(sys.argv[1:])
            print(f"error: {in_one_line(error, of_a_sweep=is_sweep)}", file=sys.stderr)
        elif isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush, too
            sys.exit(EXIT_INTERRUPTED)
        elif isinstance(error, OSError):  # of the folder of a sweep: what a job raises is reported by its task
            found = f"{error.strerror}: {error.filename}"
            print(f"error: cannot write: {found}; set output_root to a folder that can be written", file=sys.stderr)
        elif isinstance(error, UnicodeDecodeError):  # of Hydra, which does not say of what file
            behind = bytes(error.object[: error.start]).decode("utf-8", "replace")[-30:]
            print(f"error: a YAML file is no text in UTF-8, behind {behind!r}: save it as UTF-8", file=sys.stderr)
        elif isinstance(error, ValueError):  # of Hydra: tasks report their own
            print(f"error: {in_one_line(error)}; a group=null needs a choice instead, see --help", file=sys.stderr)
        else:
            raise
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        if not verbose:
            del os.environ["HYDRA_FULL_ERROR"]
