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
    """Return what was reached, as medians over replicas with their range: the headline, then what metrics call their summary.

    A median is NaN where a replica became non-finite; the range is that of the others, and the line says how many they are.
    """
    headline, parts, behind = trainer.parts.headline, [], dict[int, list[Weights]]()  # replica -> weights
    n, diverged = trainer.n_replicas, set(trainer.divergences)
    summaries = [name for metric in trainer.parts.metrics for name in metric.summary]
    for name in dict.fromkeys([*([] if headline is None else [headline.metric]), *summaries]):
        if name in trainer.measured:
            sound = [v for r, v in enumerate(trainer.measured[name].tolist()) if r not in diverged and not math.isnan(v)]
            spread = (
                f" ({min(sound):.3g} to {max(sound):.3g})" if len(sound) > 1 else f" ({sound[0]:.3g})" if sound and n > 1 else ""
            )
            own = {r: found for r, found in trainer.weights_behind(name).items() if r not in diverged}
            for replica, found in own.items():
                behind.setdefault(replica, []).extend(found)
            mark = "" if all(worst(found).is_reliable for found in own.values()) else f" {MARK}"
            parts.append(f"{name} {statistics.median(sound) if len(sound) == n else math.nan:.3g}{spread}{mark}")
    replicas = f", {n} replicas: median (range)" if n > 1 else ""
    if diverged:
        replicas += f"; {len(diverged)} of {n} became non-finite" + (
            ", the range is that of the others" if len(diverged) < n else ""
        )
    reached = f"{', '.join(parts)}; " if parts else ""
    told = doubt(map(worst, behind.values()))
    doubts = "" if told is None else f"; {MARK} may be far off: importance weights {told}"
    return f"{label}: {reached}{trainer.seen} trajectories in {trainer.wall_seconds:.1f} s{replicas}{doubts}"


def divergence(trainer: Trainer) -> str | None:
    """Return which replicas became non-finite and why: a line for each of several, and a last one that sums up; None: none."""
    lines = list(trainer.divergences.values())
    if not lines:
        return None
    if trainer.n_replicas == 1:
        return lines[0]
    rest = "the others went on" if len(lines) < trainer.n_replicas else "that is all of them"
    summary = f"replicas {sorted(trainer.divergences)} became non-finite and were frozen; {rest}; the first: {lines[0]}"
    return "\n".join([*(lines if len(lines) > 1 else []), summary])


def frozen_words(trainer: Trainer) -> str:
    """Return how many replicas have become non-finite so far, as `2 of 5 replicas frozen`; "" for none."""
    return f"{len(trainer.divergences)} of {trainer.n_replicas} replicas frozen" if trainer.divergences else ""


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
