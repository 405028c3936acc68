"""Walks of many trajectories along a state graph by a table of the policy, on the CPU.

A step does a few operations on some hundred numbers, so that calling them is what it costs; NumPy is called three times as
fast as torch. The arrays share their memory with tensors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfn_vi.core.log_probability import cumulative
from gfn_vi.core.state_graph import StateGraph

# Asking whether all trajectories have ended costs a little; ask only every so many steps.
CHECK_EVERY = 8

Columns = NDArray[np.intp] | slice


def drawing_table(log_probs: Tensor) -> Tensor:
    """Return what an action is drawn by, log-probabilities [..., A] -> [..., A - 1]: it is the number of entries <= the noise.

    The cumulative probabilities without the last one. A row of NaN becomes -1, which takes the last action: stop.
    """
    cdf = cumulative(log_probs)
    share = cdf[..., :-1] / cdf[..., -1:]
    return share.where(~share.isnan(), -1.0)


def whole_table(log_probs: Tensor) -> Tensor:
    """Return drawing_table of all states of all replicas, with a row S of zeros for the end: [R, S, A] -> [R (S + 1), A - 1]."""
    return torch.nn.functional.pad(drawing_table(log_probs), (0, 0, 0, 1)).flatten(0, 1)


class TableWalk:
    """Trajectories as rows of a state graph: rows [T + 1, R B], actions [T, R B]; row S is the end, where they stay.

    The table may change, and some trajectories be walked again from some step on.
    """

    def __init__(self, graph: StateGraph, table: Tensor, noise: Tensor) -> None:
        """table: from whole_table, [R (S + 1), A - 1]; noise: [T, R, B], from sampling_noise."""
        horizon, n_replicas, batch = noise.shape
        self.end, self.following = graph.n_states, graph.walk_table.numpy()
        self.table, self.noise = table.numpy(), noise.reshape(horizon, -1, 1).numpy()
        self.offset = np.repeat(np.arange(n_replicas) * (self.end + 1), batch)
        self.rows = np.zeros((horizon + 1, n_replicas * batch), dtype=np.int64)
        self.actions = np.zeros((horizon, n_replicas * batch), dtype=np.int64)
        self.steps = 0
        self.walk(slice(None), 0)

    def walk(self, columns: Columns, start: int) -> None:
        """Walk these trajectories from step `start` on, as the table says now."""
        row, offset = self.rows[start, columns], self.offset[columns]
        for t in range(start, len(self.noise)):
            action = (self.table.take(row + offset, 0) <= self.noise[t, columns]).sum(1)
            row = self.following.take(action * (self.end + 1) + row)
            self.actions[t, columns], self.rows[t + 1, columns] = action, row
            if t % CHECK_EVERY == CHECK_EVERY - 1 and row.min() == self.end:
                break
        self.rows[t + 2 :, columns] = self.end
        self.steps = max(self.steps, t + 1)

    def places(self, columns: Columns, start: int) -> NDArray[np.intp]:
        """Return the rows of the table that these trajectories were at, from step `start` on: [steps - start, n]."""
        return self.rows[start : self.steps, columns] + self.offset[columns]

    def wrong(self, places: NDArray[np.intp], columns: Columns, start: int) -> NDArray[np.bool_]:
        """Return where the table as it is now says another action than was taken, [steps - start, n]."""
        actions = (self.table.take(places, 0) <= self.noise[start : self.steps, columns]).sum(2)
        return (actions != self.actions[start : self.steps, columns]) & (self.rows[start : self.steps, columns] != self.end)

    def tensors(self, n_replicas: int) -> tuple[Tensor, Tensor]:
        """Return rows [R, B, T + 1] and actions [R, B, T] up to the end of the longest trajectory."""
        alive = (self.rows[: self.steps] != self.end).any(1)
        steps = int(alive.sum())
        rows = torch.from_numpy(self.rows[: steps + 1]).view(steps + 1, n_replicas, -1).permute(1, 2, 0)
        return rows, torch.from_numpy(self.actions[:steps]).view(steps, n_replicas, -1).permute(1, 2, 0)
