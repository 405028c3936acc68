"""`gfn-vi-train`: one run, or with -m a sweep of runs.

Nothing heavy is imported before a run really starts: --help and finished runs answer in well under a second.
"""

from __future__ import annotations

import functools
import re
import sys
import traceback

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gfn_vi import resolvers
from gfn_vi.core.command_line import command
from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.run import run
from gfn_vi.runs.directory import run_directory
from gfn_vi.runs.label import draws_at_its_end, labelled, with_budget
from gfn_vi.runs.state import look
from gfn_vi.sweeps.one_run import require_one_run
from gfn_vi.sweeps.worker import JobError, find_user_modules, require_no_chdir
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED
from gfn_vi.terminal.guarded import guarded
from gfn_vi.terminal.help_text import choices_in_words, keys_in_words
from gfn_vi.terminal.hydra_errors import in_one_line
from gfn_vi.terminal.streams import prepare_streams
from gfn_vi.terminal.unread import check_keys

# Here and not in main: the workers of a launcher import this module and never call main.
resolvers.register()
OmegaConf.register_new_resolver("gfn_vi_command", command, replace=True)
OmegaConf.register_new_resolver("gfn_vi_choices", choices_in_words, replace=True)
OmegaConf.register_new_resolver("gfn_vi_keys", lambda: keys_in_words("train", "experiment_name"), replace=True)


def register_sweepers() -> None:
    """Make our sweepers known to Hydra, which does not find them in an editable install."""
    from hydra.core.plugins import Plugins

    plugins = Plugins.instance()  # first: its search would execute our modules a second time, with other classes
    from gfn_vi.sweeps.launcher_checks import make_room_for_presets
    from hydra_plugins.gfn_vi.resume_sweeper import ResumeSweeper
    from hydra_plugins.gfn_vi.search_sweeper import SearchSweeper

    plugins.register(ResumeSweeper)
    plugins.register(SearchSweeper)
    make_room_for_presets()


@hydra.main(version_base="1.3", config_path="pkg://gfn_vi.configs", config_name="train")
def task(config: DictConfig) -> float | None:
    """Run one configuration and return the run's headline (a mean over replicas), None where there is none."""
    prepare_streams()
    find_user_modules()  # workers never call main
    about = HydraConfig.get()
    try:
        require_no_chdir(about.job.chdir)
        check_keys(config)
        resolved = labelled(config, about.runtime.choices, about.overrides.task)
        if about.mode == RunMode.RUN:
            require_one_run()
        if resolved.pictures is None:  # they take seconds, and nobody looks at those of each run of a sweep
            resolved.pictures = about.mode == RunMode.RUN and draws_at_its_end(resolved)
        headline = run(resolved, about.mode == RunMode.MULTIRUN, functools.partial(with_budget, config))
        if about.mode == RunMode.RUN and look(run_directory(resolved)).state == "diverged":
            raise SystemExit(EXIT_FAILED)  # as a sweep ends; which replica, and why, has been said
        return headline
    except (ConfigError, RunError, OmegaConfBaseException) as error:
        raise _failure(in_one_line(error), EXIT_BAD_INPUT) from error
    except Exception as error:
        asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))  # torch's, on the CPU and on an accelerator
        if asked is not None:
            advice = "use a smaller trainer.batch_size, evaluation.n_samples, replicas or target"
            raise _failure(f"out of memory ({asked[1]} at once): {advice}", EXIT_FAILED) from error
        traceback.print_exc()
        raise _failure(f"{type(error).__name__}: {' '.join(str(error).split())}", EXIT_FAILED, is_told=True) from error
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _failure(line: str, status: int, is_told: bool = False) -> JobError | SystemExit:
    """Return the error to raise: a sweep says at its end what failed, a single run says it now and ends with the status.

    is_told: whether a traceback has said it.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return JobError(line, is_input=status == EXIT_BAD_INPUT)
    if not is_told:
        print(f"error: {line}", file=sys.stderr)
    return SystemExit(status)


def main() -> None:
    """Entry point: what Hydra refuses is one line, too."""
    find_user_modules()  # a search asks the metrics of its runs, too
    register_sweepers()
    guarded(task)


if __name__ == "__main__":
    main()
