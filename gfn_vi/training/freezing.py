"""Learning which replicas were frozen, without making the host wait for the device.

On a CUDA device the flags of an update are copied while it works on, and read LAG updates later, when they have long arrived.
Until then the update is remembered, so that its batch can be looked at once a flag says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gfn_vi.training.divergence import Attempt

LAG = 8  # updates


class FreezeWatch:
    """The updates whose flags have not been read yet."""

    def __init__(self, lag: int) -> None:
        """lag: how many updates later flags are read; 0 where reading them costs nothing."""
        self.lag = lag
        self._pending: deque[tuple[Tensor, Any, Attempt]] = deque()

    def see(self, frozen: Tensor, attempt: Attempt) -> Iterator[tuple[list[int], Attempt]]:
        """Take in the flags [R] after an update, and yield what `read` does of those that are due."""
        flags, arrived = frozen.to("cpu", non_blocking=frozen.is_cuda), None
        if frozen.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(frozen.device))
        self._pending.append((flags, arrived, attempt))
        return self.read(self.lag)

    def read(self, keep: int = 0) -> Iterator[tuple[list[int], Attempt]]:
        """Yield for all updates but the last `keep`, if a replica was frozen in it or before, which ones were, and the update."""
        while len(self._pending) > keep:
            flags, arrived, attempt = self._pending.popleft()
            if arrived is not None:
                arrived.synchronize()
            replicas = [r for r, is_frozen in enumerate(flags.tolist()) if is_frozen]
            if replicas:
                yield replicas, attempt
