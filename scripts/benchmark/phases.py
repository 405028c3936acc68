"""Where the time of an update goes: sample, reward, loss, backward, optimizer, rest. Wraps the parts of a trainer for a while."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gfn_vi.training.trainer import Trainer

PHASES = ("sample", "reward", "loss", "backward", "optimizer", "rest")


class Stopwatch:
    """Seconds by phase. A phase inside another one stops the outer one, so the seconds add up to the whole."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        """synchronize: called at every change of phase (an accelerator works on while the program goes ahead)."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._synchronize, self._open, self._since = synchronize, [""], 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside as `name`."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def _switch(self) -> None:
        self._synchronize()
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted as `name`."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **keywords)

        return call


class _Timed:
    """A part whose method `method` (`__call__`: the part itself) is timed; everything else is the part's own."""

    def __init__(self, part: Any, method: str, phase: str, stopwatch: Stopwatch) -> None:
        self._part, self._method = part, method
        self._call = stopwatch.timed(phase, getattr(part, method))

    def __getattr__(self, name: str) -> Any:
        return self._call if name == self._method else getattr(self._part, name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._call(*arguments, **keywords)


@contextmanager
def phases_timed(trainer: Trainer, stopwatch: Stopwatch) -> Iterator[None]:
    """Time the parts of `trainer` until the end of the block."""
    parts = trainer.parts
    sampler: Any = parts.sampler  # whose own target a rollout asks for rewards
    target = sampler.target
    own = {name: getattr(torch.autograd, name) for name in ("grad", "backward")}  # an optimizer calls one of them
    wrapped: dict[str, Any] = {
        "exploration": _Timed(parts.exploration, "collect", "sample", stopwatch),
        "sampler": _Timed(parts.sampler, "evaluate", "loss", stopwatch),
        "objective": _Timed(parts.objective, "__call__", "loss", stopwatch),
        "optimizer": _Timed(parts.optimizer, "step", "optimizer", stopwatch),
    }
    trainer.parts = dataclasses.replace(parts, **wrapped)
    sampler.target = _Timed(target, "log_reward", "reward", stopwatch)
    for name, function in own.items():
        setattr(torch.autograd, name, stopwatch.timed("backward", function))
    try:
        yield
    finally:
        trainer.parts, sampler.target = parts, target
        for name, function in own.items():
            setattr(torch.autograd, name, function)
