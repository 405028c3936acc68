"""Training from a Python program: as a run on disk, or as a trainer in a loop of one's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfn_vi.interface.composing import Folder, composed
from gfn_vi.interface.imported import code_as_imported
from gfn_vi.interface.run import Run, load_run

if TYPE_CHECKING:
    from gfn_vi.training.trainer import Trainer

log = logging.getLogger("gfn_vi")


def train(overrides: Sequence[str], config_dir: Folder | None) -> Run:
    """Train one run to its end and return it; see gfn_vi.train."""
    from gfn_vi.run import run
    from gfn_vi.runs.directory import run_directory

    with composed(overrides, config_dir) as config, code_as_imported(config):
        run(config)
        directory = run_directory(config)
    # its sources were compared just now
    return load_run(directory, config.device, unfinished=True, accept_changed_sources=True)


def build_trainer(overrides: Sequence[str], config_dir: Folder | None) -> Trainer:
    """Return a trainer that writes nothing to the disk; see gfn_vi.build_trainer."""
    from gfn_vi.build import build_trainer as built

    with composed(overrides, config_dir) as config, code_as_imported(config):
        trainer, remarks = built(config)
    for remark in remarks:
        log.warning(remark)
    return trainer
