"""What a trained run has to show at its end: a line, the replicas that froze, the arrays that pictures are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from gfn_vi.core.protocols import Arrays
from gfn_vi.core.reliability import MARK, Weights, doubt, worst
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.training.trainer import Trainer


def result_line(trainer: Trainer, label: str) -> str:
    """Return what was reached, as medians over replicas with their range: the headline, then what metrics call their summary."""
    headline, parts, behind = trainer.parts.headline, [], dict[int, list[Weights]]()  # replica -> weights
    summaries = [name for metric in trainer.parts.metrics for name in metric.summary]
    for name in dict.fromkeys([*([] if headline is None else [headline.metric]), *summaries]):
        if name in trainer.measured:
            values = [value for value in trainer.measured[name].tolist() if not math.isnan(value)] or [math.nan]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            own = trainer.weights_behind(name)
            for replica, found in own.items():
                behind.setdefault(replica, []).extend(found)
            mark = "" if all(worst(found).is_reliable for found in own.values()) else f" {MARK}"
            parts.append(f"{name} {statistics.median(values):.3g}{spread}{mark}")
    n = trainer.n_replicas
    replicas = f", {n} replicas: median (range)" if n > 1 else ""
    reached = f"{', '.join(parts)}; " if parts else ""
    told = doubt(map(worst, behind.values()))
    doubts = "" if told is None else f"; {MARK} may be far off: importance weights {told}"
    return f"{label}: {reached}{trainer.seen} trajectories in {trainer.wall_seconds:.1f} s{replicas}{doubts}"


def frozen_replicas(trainer: Trainer) -> str | None:
    """Return a line that names the replicas that became non-finite; None if all are sound."""
    frozen = trainer.parts.optimizer.frozen.nonzero().squeeze(1).tolist()
    if not frozen:
        return None
    rest = "the others went on" if len(frozen) < trainer.n_replicas else "that is all of them"
    return f"replicas {frozen} became non-finite and were frozen; {rest}"


def final_arrays(trainer: Trainer, seed: int | Sequence[int], n_samples: int) -> Arrays:
    """Return what the metrics, and those observers that have arrays, have to show of the finished run.

    seed: of the run; n_samples: trajectories per replica where states cannot be listed, from generators of their own.
    """
    rng = trainer.metric_rng
    moment = trainer.parts.moment(ReplicaGenerators(seed, trainer.n_replicas, "arrays", rng.device, rng.dtype))
    moment.n_samples = n_samples
    shown: list[Any] = [
        *trainer.parts.metrics,
        *(observer for observer in trainer.parts.observers if hasattr(observer, "arrays")),
    ]
    return {name: value for part in shown for name, value in part.arrays(moment).items()}
