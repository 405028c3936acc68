"""Metrics on a sampler as it is now, as an evaluation of a run would call them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement


def measured(metrics: BaseMetric | list[BaseMetric], sampler: Any, target: Any, rng: ReplicaGenerators) -> dict[str, Tensor]:
    """What the metrics say of one moment, together."""
    together = metrics if isinstance(metrics, list) else [metrics]
    exact = any(metric.kind == "exact" for metric in together)
    sizes = [metric.n_samples for metric in together if metric.n_samples is not None]
    moment = Measurement(sampler, target, rng, exact, max(sizes, default=None))
    return {name: value for metric in together for name, value in metric(moment).items()}
