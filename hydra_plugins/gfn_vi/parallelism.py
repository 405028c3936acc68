"""How many jobs a launcher runs at once: the size of a search's batches."""

from __future__ import annotations

import os

from omegaconf import DictConfig


def jobs_at_a_time(launcher: DictConfig) -> int:
    """joblib: n_jobs; submitit: array_parallelism; Ray: one for each CPU here; else, as with Hydra's own launcher, one."""
    n_cpus = len(os.sched_getaffinity(0))
    if "n_jobs" in launcher:
        return int(launcher.n_jobs) if launcher.n_jobs > 0 else max(1, n_cpus + 1 + launcher.n_jobs)
    if "array_parallelism" in launcher:
        return int(launcher.array_parallelism)
    return n_cpus if "ray" in launcher else 1
