"""log P_F as a rollout of training evaluated it, with gradient, for the loss at the same parameters.

Sampling needs P_F at the states that a batch visits, and so does the loss. Without this, P_F is evaluated there twice. Values and
gradients are the same up to rounding: sums over states are added up in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfn_vi.samplers.discrete.visited import Visited, take_rows

# Evaluated states per visited one up to which this saves time. The gradient goes through all that were evaluated, in the parts in
# which they were, and costs two evaluations of each.
MOST_EVALUATED = 1.1


@dataclass(frozen=True)
class SharedLogProbs:
    """log P_F, not tilted and differentiable, at the states that a rollout evaluated.

    parts: log-probabilities [R, n, A] of one batch of states after the other. rows [R, S] long: where each listed state is among
    them, joined along n; -1 where it was not evaluated.
    """

    parts: list[Tensor]
    rows: Tensor

    def at(self, visited: Visited) -> Tensor | None:
        """Return log P_F at visited states, [R, N, A]; None where evaluating again is cheaper, or needed.

        It is needed where a visited state was not evaluated, and where another one has a value that is not finite: its gradient,
        which is 0, would not be finite either.
        """
        if visited.listed is None:
            return None
        if sum(part.shape[1] for part in self.parts) > MOST_EVALUATED * visited.listed.shape[1]:
            return None
        rows = self.rows.gather(1, visited.listed)
        log_probs = torch.cat(self.parts, 1)
        # On an accelerator, where asking would stall the queue, all listed states are kept, and all count as visited.
        if rows.device.type == "cpu" and (bool((rows < 0).any()) or not bool(log_probs.isfinite().all())):
            return None
        return take_rows(log_probs, rows)
