"""gfn_vi: GFlowNets and hierarchical variational inference side by side, exactly measured.

    import gfn_vi
    run = gfn_vi.train(["target=hypergrid", "objective=trajectory_balance", "replicas=5"])
    run.metrics                # every recorded number, a tidy DataFrame
    run.sample(1000).table()   # objects with log R, log P_F, log P_B and the exact log P_T
    run.plot()                 # the picture that fits the target

Importing this costs nothing: what a function needs is imported when it is called. docs/python.md is the guide.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gfn_vi.core.errors import ConfigError, RunError
from gfn_vi.core.version import VERSION

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gfn_vi.interface.run import Run
    from gfn_vi.interface.samples import Samples
    from gfn_vi.training.trainer import Trainer
    from gfn_vi.verification.targets.findings import Report

__version__ = VERSION
# Classes for annotations and isinstance; each is imported when it is first asked for, since its module imports more.
_CLASSES = {"Run": "gfn_vi.interface.run", "Samples": "gfn_vi.interface.samples", "Trainer": "gfn_vi.training.trainer"}
__all__ = [
    "ConfigError",
    "Run",
    "RunError",
    "Samples",
    "Trainer",
    "__version__",
    "build_trainer",
    "check_target",
    "compose",
    "load_run",
    "train",
]


def __getattr__(name: str) -> Any:
    """Return a class of `_CLASSES`, imported now. Raises AttributeError for another name."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_CLASSES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLASSES})


def train(overrides: Sequence[str] = (), *, config_dir: str | os.PathLike[str] | None = None) -> Run:
    """Train one run to its end and return it; the same run as that of `gfn-vi-train` with these words, in the same folder.

    overrides: group=choice and key=value, such as ["target=hypergrid", "replicas=5"]; config_dir: a folder with YAML files of
    one's own. A run that is done returns at once, one that was interrupted goes on. It prints what the command prints
    (progress=false: no bar). Threads, signal handlers, log handlers and Hydra's own state are afterwards what they were; threads
    that call this at once wait for each other.

    Raises ConfigError before work starts, in one line that names the key; RunError for what the disk or another process prevents;
    KeyboardInterrupt after Ctrl-C, once all is saved: the same call goes on.
    """
    from gfn_vi.interface.training import train as trained

    return trained(overrides, config_dir)


def load_run(
    path: str | os.PathLike[str], *, device: str = "cpu", unfinished: bool = False, accept_changed_sources: bool = False
) -> Run:
    """Return the run in a directory, outputs/<experiment>/<run>; its sampler is rebuilt from the configuration that it stores.

    device: where the modules are put, "cpu", "cuda" or "cuda:N". unfinished: take the last checkpoint of a run that is being
    trained, was stopped or has failed. accept_changed_sources: take it although modules of yours have changed since.
    A checkpoint holds tensors and numbers: nothing in it is executed. A damaged newest one is set aside; nothing else is written.

    Raises RunError, or ConfigError for data that changed, in one line that says what to do. Configuration, data and checkpoint
    are read when the target or the sampler is first wanted, and what was edited or damaged there is refused then.
    """
    from gfn_vi.interface.run import load_run as loaded

    return loaded(path, device, unfinished, accept_changed_sources)


def build_trainer(overrides: Sequence[str] = (), *, config_dir: str | os.PathLike[str] | None = None) -> Trainer:
    """Return the trainer of a run, for a loop of one's own; it writes nothing to the disk.

    trainer.update() draws a batch and descends, trainer.measure() gives all metrics, trainer.parts has target, sampler and the
    others. The same updates give the numbers of gfn_vi.train bit for bit, on the CPU with the same number of threads.
    Arguments and errors are those of `train`.
    """
    from gfn_vi.interface.training import build_trainer as built

    return built(overrides, config_dir)


def compose(overrides: Sequence[str] = (), *, config_dir: str | os.PathLike[str] | None = None) -> DictConfig:
    """Return the configuration of one run, without interpolations, as gfn_vi.build.build_trainer takes it.

    Arguments and errors are those of `train`. Hydra's own state is afterwards what it was.
    """
    from gfn_vi.interface.composing import compose as composed

    return composed(overrides, config_dir)


def check_target(target: Any, most_states: int = 50_000, n_walks: int = 64, seed: int = 0) -> Report:
    """Ask a target on the CPU everything that it owes (gfn_vi/core/protocols.py), and return what was found: print it to read it.

    most_states: a larger space is not listed but walked through; n_walks: random walks then; seed: of the walks, or of the points
    of a density. `report.faults` is empty where nothing is wrong.
    """
    from gfn_vi.verification.targets.report import check_target as checked

    return checked(target, most_states, n_walks, seed)
