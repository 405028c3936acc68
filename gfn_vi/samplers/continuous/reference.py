"""Linear reference processes from the source: what a sampler is at initialization, and the backward kernels that reverse it.

x_{k+1} = a_k x_k + q_k noise from x_0 = 0 has marginals N(0, v_k I) with v_{k+1} = a_k^2 v_k + q_k^2, and reversed
x_k given x_{k+1} ~ N(a_k v_k / v_{k+1} x_{k+1}, v_k q_k^2 / v_{k+1} I). With a = 1 that is a Brownian bridge from the source,
with a^2 = 1 - b and q^2 = s^2 b, started from N(0, s^2 I), the variance-preserving process, which is its own reverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LinearReference(nn.Module):
    """shrinkage a, noise q [T]; variance v [T + 1]; backward_shrinkage, backward_std [T], meaningless at step 0."""

    shrinkage: Tensor
    noise: Tensor
    variance: Tensor
    backward_shrinkage: Tensor
    backward_std: Tensor

    def __init__(self, shrinkage: Sequence[float], noise: Sequence[float]) -> None:
        """shrinkage: a_k; noise: q_k > 0, one for each step."""
        super().__init__()
        a, q = (torch.tensor(values, dtype=torch.float64) for values in (shrinkage, noise))
        variance = [0.0]
        for k in range(len(a)):
            variance.append(float(a[k] ** 2 * variance[-1] + q[k] ** 2))
        v = torch.tensor(variance, dtype=torch.float64)
        tables = {
            "shrinkage": a,
            "noise": q,
            "variance": v,
            "backward_shrinkage": a * v[:-1] / v[1:],
            "backward_std": (v[:-1] / v[1:]).sqrt() * q,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
