"""Rates in the replica axis: runs that differ only in learning rates become one run, in which each rate has its replicas.

    optimizer.lr_forward=a,b replicas=2 seed=5    ->    optimizer.lr_forward=[a,a,b,b] replicas=4 seed=[5,6,5,6]

A replica's numbers are those of the separate run up to rounding, and tables have the same rows (analysis/table.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from gfn_vi.core.command_line import key_of
from gfn_vi.core.seeds import RATES, replica_seeds
from gfn_vi.sweeps.jobs import Job, identify

KEYS = tuple(f"optimizer.{name}" for name in RATES)
REPLACED = (*KEYS, "replicas", "seed")


def fused(loader: ConfigLoader, config: DictConfig, jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those that differ only in overrides of rates as one. loader and config: as in jobs.py."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(o for o in job.overrides if key_of(o) not in KEYS), []).append(job)
    return [_one_run(loader, config, group) if len(group) > 1 else group[0] for group in groups.values()]


def separated(job: Job) -> dict[tuple[str, ...], list[int]]:
    """Return overrides -> replicas for each combination of the run's rates; without the seed, of a joint run without replicas."""
    optimizer = job.config.get("optimizer") or {}
    rates = {key: rate for key, name in zip(KEYS, RATES, strict=True) if isinstance(rate := optimizer.get(name), list)}
    aside, found = ("seed", "replicas") if rates else ("seed",), dict[tuple[str, ...], list[int]]()
    for replica, own in enumerate(zip(*rates.values(), strict=False) if rates else [()]):  # the run refuses unequal lengths
        given = dict(zip(rates, own, strict=True))
        words = (f"{key}={given[key]}" if (key := key_of(o)) in given else o for o in job.overrides if key_of(o) not in aside)
        found.setdefault(tuple(words), []).append(replica)
    return found


def _one_run(loader: ConfigLoader, config: DictConfig, jobs: Sequence[Job]) -> Job:
    first = jobs[0].config
    replicas = first["replicas"]
    overrides = [o for o in jobs[0].overrides if key_of(o) not in REPLACED]
    overrides.append(f"replicas={len(jobs) * replicas}")
    overrides.append(f"seed={_listed(replica_seeds(first['seed'], replicas) * len(jobs))}")
    for key, name in zip(KEYS, RATES, strict=True):
        rates = [rate for job in jobs for rate in _of_replicas(job.config["optimizer"].get(name), replicas)]
        if len(set(map(repr, rates))) > 1 or any(key_of(o) == key for o in jobs[0].overrides):
            overrides.append(f"{key}={_listed(rates)}")
    return identify(loader, config, overrides)


def _of_replicas(rate: object, replicas: int) -> list[object]:
    return list(rate) if isinstance(rate, (list, tuple)) else [rate] * replicas


def _listed(values: Sequence[object]) -> str:
    return f"[{','.join(map(str, values))}]"
