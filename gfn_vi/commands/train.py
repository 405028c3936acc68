"""`gfn-vi-train` and `python scripts/train.py`: one run, or with -m a sweep of runs.

Nothing heavy is imported before a run really starts: --help and finished runs answer in well under a second.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gfn_vi.commands.guarded import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, guarded
from gfn_vi.commands.help_text import choices_in_words, keys_in_words
from gfn_vi.commands.hydra_errors import in_one_line
from gfn_vi.core.errors import ConfigError, RunError

# One line for each job of a sweep that failed in this process, and whether it was a mistake in the input.
_failures: list[tuple[str, bool]] = []


def fraction(total: float, share: float) -> float:
    """The resolver ${fraction:total,share}: for clocks that are a share of the run."""
    for value in (total, share):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError("fraction", value, "expected a number: a clock of this run is a share of it")
    return total * share


# Here and not in main: the workers of a launcher import this module and never call main.
_RESOLVERS: dict[str, Callable[..., object]] = {
    "fraction": fraction,
    "gfn_vi_choices": choices_in_words,
    "gfn_vi_keys": keys_in_words,
}
for _name, _resolver in _RESOLVERS.items():
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)


def find_user_modules() -> None:
    """Modules in the current folder can be named by `_target_`; last, so that they hide no installed one."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())


def labelled(config: DictConfig) -> DictConfig:
    """The resolved config with `run_label`, the readable part of the run's name, from the choices on the command line."""
    choices = HydraConfig.get().runtime.choices
    parts = [config.arm_name or f"{choices['objective']}-{choices['exploration']}", choices["target"], choices["sampler"]]
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    resolved.run_label = "-".join([*map(str, parts), f"seed{config.seed}"])
    return resolved


@hydra.main(version_base="1.3", config_path="pkg://gfn_vi.configs", config_name="train")
def task(config: DictConfig) -> float | None:
    """Run one configuration; returns its exact JSD (mean over replicas) for searches, None where there is none."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    find_user_modules()
    try:
        from gfn_vi.run import run

        return run(labelled(config))
    except (ConfigError, RunError, OmegaConfBaseException) as error:
        _report(in_one_line(error), sweeping, is_input=True)
        if sweeping:
            raise  # recorded as the failure of this job; the others go on
        sys.exit(EXIT_BAD_INPUT)
    except Exception as error:
        traceback.print_exc()
        _report(f"{type(error).__name__}: {error}", sweeping, is_input=False)
        if sweeping:
            raise
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _report(line: str, sweeping: bool, is_input: bool) -> None:
    """Say at once what went wrong; of a job of a sweep also remember it, with its overrides, for the end."""
    if sweeping:
        overrides = " ".join(HydraConfig.get().overrides.task)
        _failures.append((f"{overrides}\n    {line}", is_input))
    elif is_input:
        print(f"error: {line}", file=sys.stderr)


def _sweep_report() -> None:
    jobs = "1 job" if len(_failures) == 1 else f"{len(_failures)} jobs"
    print(f"error: {jobs} of the sweep failed; the others are done:", file=sys.stderr)
    for text, _ in _failures:
        print(f"  {text}", file=sys.stderr)


def _sweep_status() -> int | None:
    """The exit status of a sweep in which jobs failed, after saying which; None if none did."""
    if not _failures:
        return None
    _sweep_report()
    return EXIT_BAD_INPUT if all(is_input for _, is_input in _failures) else EXIT_FAILED


def main() -> None:
    """Entry point: what Hydra refuses is one line, too."""
    guarded(task, _sweep_status)


if __name__ == "__main__":
    main()
