"""State of the whole process that a call needs for a while, and gives back: Hydra's singletons, resolvers, the import path.

A program that calls gfn_vi may be a Hydra application itself, a notebook, or train a hundred runs in a loop. Nothing of a call
is left in it, whether the call returns or raises.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# One call at a time: threads that call at once wait for each other, since what is set aside belongs to the process.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def hydra_apart() -> Iterator[None]:
    """Set Hydra's state of this process aside, so that the block has one of its own; ours are its resolvers meanwhile."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase
    from omegaconf.basecontainer import BaseContainer

    from gfn_vi import resolvers

    kept = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    with _ONE_AT_A_TIME:
        before: dict[type, Singleton] = {kind: Singleton._instances.pop(kind) for kind in kept if kind in Singleton._instances}
        functions = dict(BaseContainer._resolvers)
        try:
            resolvers.register()
            yield
        finally:
            for kind in kept:
                Singleton._instances.pop(kind, None)
            Singleton._instances.update(before)
            BaseContainer._resolvers.clear()
            BaseContainer._resolvers.update(functions)


@contextmanager
def user_modules() -> Iterator[None]:
    """Find modules of the current folder inside of the block, as the commands do; last, so that they hide no installed one."""
    folder = os.getcwd()
    is_new = folder not in sys.path and "" not in sys.path
    if is_new:
        sys.path.append(folder)
    try:
        yield
    finally:
        if is_new and folder in sys.path:
            sys.path.remove(folder)
