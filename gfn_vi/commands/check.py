"""`gfn-vi-check`: whether a target keeps what everything else relies on; exit status 1 if it does not."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import gfn_vi.commands.train  # noqa: F401 - registers the resolvers of the configs and of the help text
from gfn_vi.core.errors import ConfigError, RunError, require
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.seeds import is_whole
from gfn_vi.sweeps.worker import find_user_modules
from gfn_vi.terminal.exit_status import EXIT_BAD_INPUT, EXIT_FAILED
from gfn_vi.terminal.guarded import guarded
from gfn_vi.terminal.help_text import keys_in_words
from gfn_vi.terminal.hydra_errors import in_one_line
from gfn_vi.terminal.unread import check_keys

OmegaConf.register_new_resolver("gfn_vi_check_keys", lambda: keys_in_words("check", "most_states"), replace=True)


@hydra.main(version_base="1.3", config_path="pkg://gfn_vi.configs", config_name="check")
def task(config: DictConfig) -> None:
    """Build, check, print; exits with 1 if there is a fault."""
    find_user_modules()
    try:
        check_keys(config, "check")
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert isinstance(resolved, DictConfig)
        n_faults = check(resolved)
    except (ConfigError, RunError, OmegaConfBaseException) as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    if n_faults > 0:
        print(f"{n_faults} fault{'s' if n_faults > 1 else ''}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    print("no fault was found")


def check(config: DictConfig) -> int:
    """Build the target, print what is found and return the number of faults."""
    for key, least in {"most_states": 1, "n_walks": 1, "seed": 0, "threads": 1}.items():
        require(is_whole(config[key]) and config[key] >= least, key, config[key], f"expected a whole number >= {least}")

    import torch

    from gfn_vi.build_target import build_target
    from gfn_vi.verification.targets.report import check_target

    torch.set_num_threads(config.threads)
    target = build_target(config, torch.device("cpu"))
    doing = f"asking {type(target).__name__}: up to most_states={config.most_states} states are listed, lower is faster"
    with told_if_slow(doing):
        report = check_target(target, config.most_states, config.n_walks, config.seed)
    print(report)
    return len(report.faults)


def main() -> None:
    """Entry point: what Hydra refuses is one line, too."""
    if not {"-m", "--multirun"}.isdisjoint(sys.argv[1:]):
        print("error: -m: one target is checked at a time; leave it out", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    guarded(task)
