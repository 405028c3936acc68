"""The graphs that a run has found, read from its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_arrays

NEEDED = ("names", "edges_learned", "top_graphs", "top_learned", "top_log_reward")
OPTIONAL = ("edges_target", "edges_learned_se", "true_graph", "top_target")


@dataclass(frozen=True)
class Graphs:
    """d nodes, R replicas, the K most probable graphs of each; [i, j] of a matrix is about the edge i -> j."""

    names: tuple[str, ...]
    learned: np.ndarray  # [R, d, d] probability of each edge
    standard_error: np.ndarray | None  # [R, d, d] of learned, where that is a mean over samples
    exact: np.ndarray | None  # [d, d] under the posterior, where all graphs can be listed
    true: np.ndarray | None  # [d, d] bool, where it is known
    top: np.ndarray  # [R, K, d, d] bool
    top_learned: np.ndarray  # [R, K] probability; of samples: frequency
    top_exact: np.ndarray | None  # [R, K]
    top_log_reward: np.ndarray  # [R, K]
    replicas: tuple[int, ...]  # which ones these are: those with finite numbers
    n_replicas: int  # of the run
    digest: str  # of the file that all this is from

    @property
    def mean(self) -> np.ndarray:
        """[d, d] over replicas."""
        return np.asarray(self.learned.mean(0))

    @property
    def standard_error_of_mean(self) -> np.ndarray | None:
        """[d, d] of samples, else None."""
        if self.standard_error is None:
            return None
        return np.asarray(np.sqrt((self.standard_error**2).sum(0)) / len(self.replicas))


def read_graphs(directory: Path) -> Graphs:
    """Read arrays.npz of a run directory; TableError where it has none, or none of a run over graphs."""
    content, digest = read_arrays(directory)
    arrays = {name: content[name] for name in (*NEEDED, *OPTIONAL) if name in content}
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise TableError(f"{directory / ARRAYS} holds no graphs (it lacks {', '.join(missing)}): expected a run with target=dag")
    return _of_finite_replicas(arrays, directory, digest)


def _of_finite_replicas(arrays: Mapping[str, np.ndarray], directory: Path, digest: str) -> Graphs:
    learned = arrays["edges_learned"]
    kept = np.isfinite(learned).all((1, 2)).nonzero()[0]
    if not len(kept):
        raise TableError(f"{directory}: every replica became non-finite, there is no learned distribution to show")
    se, true, top_exact = (arrays.get(name) for name in ("edges_learned_se", "true_graph", "top_target"))
    return Graphs(
        names=tuple(map(str, arrays["names"])),
        learned=learned[kept].astype(np.float64),
        standard_error=None if se is None else se[kept].astype(np.float64),
        exact=arrays.get("edges_target"),
        true=None if true is None else true.astype(bool),
        top=arrays["top_graphs"][kept].astype(bool),
        top_learned=arrays["top_learned"][kept],
        top_exact=None if top_exact is None else top_exact[kept],
        top_log_reward=arrays["top_log_reward"][kept],
        replicas=tuple(kept.tolist()),
        n_replicas=len(learned),
        digest=digest,
    )


def agreement(learned: np.ndarray, exact: np.ndarray) -> str:
    """Root mean square and largest difference over ordered pairs."""
    difference = learned - exact
    rmse = np.sqrt((difference[~np.eye(len(exact), dtype=bool)] ** 2).mean())
    return f"RMSE {rmse:.2g}, largest difference {np.abs(difference).max():.2g}"
