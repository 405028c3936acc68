"""Squared norms of the score of each trajectory, for the optimal control variate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Rows of the identity that are pulled back at once: memory is this many copies of the parameters.
CHUNK = 16


def trajectory_score_norms(log_prob: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return |d log_prob[r, b] / d parameters[r]|^2 of log_prob [R, B], exact and without graph: [R, B]; costs B backward passes.

    The replica axis comes first in every parameter and replicas share none, so one pull-back serves all replicas.
    """
    n_replicas, batch = log_prob.shape
    out = torch.zeros_like(log_prob)
    if not parameters or not log_prob.requires_grad:
        return out
    eye = torch.eye(batch, dtype=log_prob.dtype, device=log_prob.device)
    for start in range(0, batch, CHUNK):
        rows = eye[start : start + CHUNK, None, :].expand(-1, n_replicas, -1)
        grads = torch.autograd.grad(log_prob, list(parameters), rows, retain_graph=True, is_grads_batched=True, allow_unused=True)
        for grad in grads:
            if grad is not None:
                out[:, start : start + CHUNK] += grad.flatten(2).square().sum(2).T
    return out.detach()
