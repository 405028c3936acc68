"""arrays.npz of a finished run: what pictures need of the distribution that it learned. Names and shapes: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gfn_vi.core.protocols import EnumerableTarget, GraphTarget
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.evaluation.dags.arrays import exact_graph_arrays, sampled_graph_arrays
from gfn_vi.evaluation.exact.metrics import terminating_distribution
from gfn_vi.training.trainer import Trainer


def save_arrays(trainer: Trainer, seed: int | Sequence[int], n_samples: int, path: Path) -> None:
    """Write `path`; nothing where states can neither be listed nor are graphs.

    seed: of the run; n_samples: trajectories per replica where states cannot be listed, from a generator of their own.
    """
    target, sampler = trainer.parts.target, trainer.parts.sampler
    arrays: dict[str, Tensor] = {}
    if isinstance(target, EnumerableTarget) and target.enumerable:
        graph = target.state_graph()
        learned = terminating_distribution(sampler, graph)  # type: ignore[arg-type]
        arrays = {"states": graph.states, "target": graph.log_target.exp(), "learned": learned}
        if isinstance(target, GraphTarget):
            arrays |= exact_graph_arrays(target, graph, learned)
    elif isinstance(target, GraphTarget):
        metrics = trainer.metric_rng
        rng = ReplicaGenerators(seed, trainer.n_replicas, "arrays", metrics.device, metrics.dtype)
        arrays = sampled_graph_arrays(target, sampler.rollout(n_samples, rng).terminal_states())
    content: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
    if isinstance(target, GraphTarget):
        content["names"] = np.array(target.node_names)
    if content:
        np.savez_compressed(path, **content)
