"""log P_F as a rollout of training evaluated it, with gradient, for the loss at the same parameters.

Sampling needs P_F at the states that a batch visits, and so does the loss. Without this, P_F is evaluated there twice. Values and
gradients are the same up to rounding: sums over states are added up in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.samplers.discrete.visited import Visited, take_rows


@dataclass(frozen=True)
class SharedLogProbs:
    """log P_F, not tilted and differentiable, at the states that a rollout evaluated.

    parts: log-probabilities [R, n, A] of one batch of states after the other. rows [R, S] long: where each listed state is among
    them, joined along n; -1 where it was not evaluated.
    """

    parts: list[Tensor]
    rows: Tensor

    def at(self, visited: Visited) -> Tensor | None:
        """Return log P_F at visited states, [R, N, A]; None where some were not evaluated, or evaluating them again costs less.

        A gradient costs two evaluations, and here it also goes through the states that the rollout evaluated in vain.
        """
        if visited.listed is None or 2 * sum(part.shape[1] for part in self.parts) > 3 * visited.listed.shape[1]:
            return None
        rows = self.rows.gather(1, visited.listed)
        # On an accelerator, where asking would stall the queue, a rollout keeps all states or nothing.
        if rows.device.type == "cpu" and bool((rows < 0).any()):
            return None
        return take_rows(torch.cat(self.parts, 1), rows)
