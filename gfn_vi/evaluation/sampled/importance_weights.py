"""Importance weights of a behavior's trajectories towards P_F and towards the target: effective sample sizes and tails."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.log_probability import effective_sample_size, effective_sample_size_error
from gfn_vi.evaluation.gradients.batch_gradients import Chunk
from gfn_vi.evaluation.sampled.pareto import pareto_k

WEIGHT_STATISTICS = (
    *("ess_forward", "ess_forward_se", "pareto_k_forward"),
    *("ess_backward", "ess_backward_se", "pareto_k_backward"),
)


class WeightPool:
    """The log-weights log P_F - log pi and log R P_B - log pi of every trajectory of a pool."""

    def __init__(self, is_on_policy: bool) -> None:
        """is_on_policy: the weights towards P_F are then 1, not what rounding leaves of two evaluations of the same number."""
        self.is_on_policy = is_on_policy
        self._parts: dict[str, list[Tensor]] = {"forward": [], "backward": []}

    def add(self, chunk: Chunk) -> None:
        """Take in the weights of the trajectories of some batches."""
        evaluation = chunk.evaluation
        assert evaluation.log_behavior is not None
        forward = evaluation.log_behavior if self.is_on_policy else evaluation.trajectory_log_pf
        wanted = {"forward": forward, "backward": evaluation.trajectory_log_pb + evaluation.log_reward}
        for measure, log_density in wanted.items():
            self._parts[measure].append(chunk.per_trajectory(log_density - evaluation.log_behavior).double())

    def statistics(self) -> dict[str, Tensor]:
        """Return ess, with its standard error, and pareto_k towards each measure: name -> [R] float64."""
        found = {}
        for measure, parts in self._parts.items():
            log_weights = torch.cat(parts, 1)
            found[f"ess_{measure}"] = effective_sample_size(log_weights)
            found[f"ess_{measure}_se"] = effective_sample_size_error(log_weights)
            found[f"pareto_k_{measure}"] = pareto_k(log_weights)
        return found
