"""Where the time of an update goes: sample, reward, loss, backward, optimizer, rest. Wraps methods for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch

from gfn_vi.training.trainer import Trainer

PHASES = ("sample", "reward", "loss", "backward", "optimizer", "rest")


class Stopwatch:
    """Seconds by phase. A phase inside another one stops the outer one, so the seconds add up to the whole."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: read at every change of phase; it waits for an accelerator, which works on while the program goes ahead."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._clock, self._open, self._since = clock, "", 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside as `name`; also a decorator of functions."""
        outer = self._open
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, name: str) -> None:
        now = self._clock()
        self.seconds[self._open] += now - self._since
        self._open, self._since = name, now


@contextmanager
def phases_timed(trainer: Trainer, stopwatch: Stopwatch) -> Iterator[None]:
    """Time the methods that `trainer` calls until the end of the block, those of other objects of the same classes too."""
    parts = trainer.parts
    methods = [
        ("sample", type(parts.exploration), "collect"),
        ("reward", type(parts.target), "log_reward"),
        ("loss", type(parts.sampler), "evaluate"),
        ("loss", type(parts.objective), "__call__"),
        ("optimizer", type(parts.optimizer), "step"),
        ("backward", torch.autograd, "grad"),  # an optimizer calls one of these two
        ("backward", torch.autograd, "backward"),
    ]
    with ExitStack() as stack:
        for phase, owner, name in methods:
            stack.enter_context(patch.object(owner, name, stopwatch.phase(phase)(getattr(owner, name))))
        yield
