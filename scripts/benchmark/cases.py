"""What is timed: trajectory balance on hypergrids and DAGs, measurements of a sampler, and the collection of many runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from benchmark.dags import DAG, DAG_CASES, DAG_SETTINGS, FORM, DagCase, parse_dag_case

# The same for every implementation: rewards, networks, rates.
SETTINGS: Mapping[str, Any] = {"r0": 0.1, "r1": 0.5, "r2": 2.0, "width": 256, "rate": 1e-3, "rate_log_z": 0.1}
# Updates are timed in up to so many blocks: their median is reported, and their range as its spread.
BLOCKS = 5
WARMUP = 2  # updates before that, by default, for one that is timed
BAD_SETTINGS = 2  # exit status of a measurement that cannot be made
OUT_OF_MEMORY = 3  # of one that needs more memory than is free
HYPERGRID = "hypergrid"
EXACT_GOAL_MS = 50.0
LAST_CASE_GOAL_MB = 1000.0


class UsageError(ValueError):
    """A command line that cannot work, or a peer that cannot be installed; one message that says why."""


@dataclass(frozen=True)
class Case:
    """`batch` trajectories per update and replica on a grid of `side` ** `dims` states; measurement: time that instead."""

    dims: int
    side: int
    batch: int
    measurement: str = ""

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.measurement or f"{self.dims}x{self.side}x{self.batch}"

    @property
    def kind(self) -> str:
        """Name of what is trained on; a measurement trains on nothing and has its own."""
        return self.measurement or HYPERGRID

    @property
    def default_updates(self) -> int:
        """Number of timed updates by default."""
        return 50


# Name -> goals: how many times as fast as the faster peer an update is with 1 replica, and with 8, per replica.
GOALS: Mapping[str, tuple[float, float]] = {
    "2x8x64": (2.5, 7.0),
    "2x64x64": (3.0, 5.0),
    "2x128x64": (3.0, 5.0),
    "4x8x64": (2.0, 3.0),
    "4x8x512": (4.0, 5.0),
}
COLLECT = "collect"
COLLECT_GOAL_RUNS, COLLECT_GOAL_SECONDS = 10_000, 60.0
# Measurements of one sampler, by name; collect: of files on disk.
MEASUREMENTS: Mapping[str, Case] = {
    "exact": Case(2, 128, 64, "exact"),
    "exact_gradients": Case(2, 128, 64, "exact_gradients"),
    "gradient_statistics": Case(2, 32, 1024, "gradient_statistics"),
    COLLECT: Case(2, 8, 64, COLLECT),
}


def settings(case: Case | DagCase) -> dict[str, Any]:
    """Return the settings that all implementations share."""
    return dict(DAG_SETTINGS if isinstance(case, DagCase) else SETTINGS)


def parse_cases(text: str) -> list[Case | DagCase]:
    """Parse names with commas between: "all" (but collect and DAGs), "dag", a measurement, one of the five or others."""
    cases: list[Case | DagCase] = []
    for name in text.split(","):
        if name == "all":
            cases += [_hypergrid(grid) for grid in GOALS] + [case for case in MEASUREMENTS.values() if case.name != COLLECT]
        elif name == DAG:
            cases += DAG_CASES
        else:
            cases.append(MEASUREMENTS.get(name) or _dag(name) or _hypergrid(name))
    return cases


def _dag(name: str) -> DagCase | None:
    case = parse_dag_case(name)
    if case and (case.n_nodes < 2 or case.batch < 1):
        raise UsageError(f"case={name}: expected at least 2 nodes and batch 1")
    return case


def _hypergrid(name: str) -> Case:
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", name)
    if not found:
        known = ", ".join(["all", DAG, *MEASUREMENTS])
        five = ", ".join(GOALS)
        raise UsageError(f"case={name}: expected {known}, <dims>x<side>x<batch> (the five are {five}) or {FORM}")
    dims, side, batch = map(int, found.groups())
    case = Case(dims, side, batch)
    if case.dims < 1 or case.side < 2 or case.batch < 1:
        raise UsageError(f"case={name}: expected at least 1 dimension, side 2 and batch 1")
    return case


def block_sizes(updates: int) -> list[int]:
    """Split the timed updates into BLOCKS blocks of about the same size."""
    n_blocks = min(BLOCKS, updates)
    return [updates // n_blocks + (i < updates % n_blocks) for i in range(n_blocks)]


@dataclass(frozen=True)
class Job:
    """One measurement, in a process of its own; crosses to it as JSON."""

    case: Case | DagCase
    replicas: int
    updates: int
    warmup: int
    threads: int
    device: str
    runs: int = COLLECT_GOAL_RUNS  # that are collected
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a flat dictionary, which a peer's script reads too."""
        rest = {k: v for k, v in asdict(self).items() if k != "case"}
        return asdict(self.case) | rest | {"blocks": block_sizes(self.updates)} | settings(self.case)

    @staticmethod
    def from_dict(given: Mapping[str, Any]) -> Job:
        """Return the job that `to_dict` has written."""
        kind = DagCase if "n_nodes" in given else Case
        case = kind(**{field.name: given[field.name] for field in fields(kind)})
        names = ("replicas", "updates", "warmup", "threads", "device", "runs", "seed")
        return Job(case, *(given[name] for name in names))
