"""Training on DAGs that is timed: trajectory balance for the posterior of a random linear-Gaussian network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

DAG = "dag"
NODES, BATCHES = (5, 10, 20), (64, 256)
# Name on the command line -> choice of configs/sampler.
SAMPLERS: Mapping[str, str] = {"mlp": "mlp", "transformer": "dag_transformer"}
FORM = f"dag<nodes>x<batch>-{'|'.join(SAMPLERS)}"
# The same for every implementation; rows: of the table; token_width, layers and heads: of the transformer.
DAG_SETTINGS: Mapping[str, Any] = {
    "rows": 100,
    "width": 256,
    "token_width": 64,
    "layers": 2,
    "heads": 4,
    "rate": 1e-3,
    "rate_log_z": 0.1,
}
# Times as fast as the peer, with 1 replica and with 8, per replica.
DAG_GOALS = (1.0, 1.0)
# Updates that are timed by default: so many that about STEPS steps would be taken by trajectories of full length.
STEPS, FEWEST, MOST = 60_000, 3, 50


@dataclass(frozen=True)
class DagCase:
    """`batch` trajectories per update and replica on graphs of `n_nodes` nodes; sampler: one of SAMPLERS."""

    n_nodes: int
    batch: int
    sampler: str
    kind: ClassVar[str] = DAG
    measurement: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """Name on the command line."""
        return f"dag{self.n_nodes}x{self.batch}-{self.sampler}"

    @property
    def default_updates(self) -> int:
        """Number of timed updates by default: fewer where an update takes long.

        The number of replicas does not matter, so that all are as far trained.
        """
        horizon = self.n_nodes * (self.n_nodes - 1) // 2 + 1
        return min(MOST, max(FEWEST, round(STEPS / (self.batch * horizon))))


DAG_CASES = [DagCase(d, batch, sampler) for d in NODES for batch in BATCHES for sampler in SAMPLERS]


def parse_dag_case(name: str) -> DagCase | None:
    """Return the case of a name like `dag5x64-mlp`; None for any other name."""
    found = re.fullmatch(rf"dag(\d+)x(\d+)-({'|'.join(SAMPLERS)})", name)
    return DagCase(int(found[1]), int(found[2]), found[3]) if found else None
