"""The graphs that a run has found, read from its arrays.

    learned(i -> j) = mean over replicas of  sum over graphs G with the edge i -> j of P_T(G)

The range over replicas tells how far training can be trusted, the exact posterior (where all graphs can be listed) how far the
learned one can. Of samples there is a standard error besides, that of the mean, the replicas' own being independent, and the
range goes from the lowest bound to the highest one of 95% intervals of the replicas' frequencies (Clopper & Pearson 1934): an
edge in all of n samples has a probability between 1 - 3.7 / n and 1, not one of 1.000 +- 0.000. Frequencies are those of the
sampler. Whether they are those of the posterior, importance weights tell, as far as weights can (core/reliability.py). A
replica that became NaN is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfn_vi.core.reliability import Weights, doubt, names_of
from gfn_vi.runs.files import ARRAYS
from gfn_vi.runs.folders import TableError
from gfn_vi.runs.reading import read_arrays

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("names", "edges_learned", "top_graphs", "top_learned", "top_log_reward")
OPTIONAL = ("edges_target", "edges_learned_se", "true_graph", "top_target", "n_drawn", *names_of("sampled"))
LEVEL = 0.95


@dataclass(frozen=True)
class Graphs:
    """d nodes, R replicas, the K most probable graphs of each; [i, j] of a matrix is about the edge i -> j."""

    names: tuple[str, ...]
    learned: np.ndarray  # [R, d, d] probability of each edge
    standard_error: np.ndarray | None  # [d, d] of the mean over replicas, where each of them is a mean over samples
    exact: np.ndarray | None  # [d, d] under the posterior, where all graphs can be listed
    true: np.ndarray | None  # [d, d] bool, where it is known
    top: np.ndarray  # [R, K, d, d] bool
    top_learned: np.ndarray  # [R, K] probability; of samples: frequency
    top_exact: np.ndarray | None  # [R, K]
    top_log_reward: np.ndarray  # [R, K]
    replicas: tuple[int, ...]  # which ones these are: those with finite numbers
    n_replicas: int  # of the run
    n_drawn: int | None  # samples of each replica that frequencies are of; None where all graphs are listed
    weights: tuple[Weights, ...]  # of the replicas; () where all graphs are listed
    digest: str  # of the file that all this is from

    @property
    def mean(self) -> np.ndarray:
        """[d, d] over replicas."""
        return np.asarray(self.learned.mean(0))

    @property
    def doubt(self) -> str | None:
        """Return in words how little the importance weights are worth; None where frequencies are the posterior's."""
        return doubt(self.weights)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """[d, d] smallest and largest replica, of samples with their intervals; None of a single replica without samples."""
        if self.n_drawn is None:
            return (self.learned.min(0), self.learned.max(0)) if len(self.replicas) > 1 else None
        from scipy.stats import beta

        times, tail = np.rint(self.learned * self.n_drawn), (1 - LEVEL) / 2
        rest = self.n_drawn - times
        low = np.where(times > 0, beta.ppf(tail, np.maximum(times, 1), rest + 1), 0.0)
        high = np.where(rest > 0, beta.ppf(1 - tail, times + 1, np.maximum(rest, 1)), 1.0)
        return low.min(0), high.max(0)

    @property
    def agreement(self) -> str:
        """Root mean square and largest difference between learned and exact over ordered pairs."""
        assert self.exact is not None
        difference = self.mean - self.exact
        rmse = np.sqrt((difference[~np.eye(len(difference), dtype=bool)] ** 2).mean())
        return f"RMSE {rmse:.2g}, largest difference {np.abs(difference).max():.2g}"


def read_graphs(directory: Path) -> Graphs:
    """Read arrays.npz of a run directory; TableError where it has none, or none of a run over graphs."""
    content, digest = read_arrays(directory)
    arrays = {name: content[name] for name in (*NEEDED, *OPTIONAL) if name in content}
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise TableError(f"{directory / ARRAYS} holds no graphs (it lacks {', '.join(missing)}): expected a run with target=dag")
    kept = np.isfinite(arrays["edges_learned"]).all((1, 2)).nonzero()[0]
    if not len(kept):
        raise TableError(f"{directory}: every replica became non-finite, there is no learned distribution to show")
    return _of_replicas(kept, arrays, digest)


def _of_replicas(kept: np.ndarray, arrays: Mapping[str, np.ndarray], digest: str) -> Graphs:
    def of_kept(name: str, dtype: Any = np.float64) -> Any:
        return arrays[name][kept].astype(dtype) if name in arrays else None

    error, true = of_kept("edges_learned_se"), arrays.get("true_graph")
    effective, k = (of_kept(name) for name in names_of("sampled"))
    return Graphs(
        names=tuple(map(str, arrays["names"])),
        learned=of_kept("edges_learned"),
        standard_error=None if error is None else np.sqrt((error**2).sum(0)) / len(kept),
        exact=arrays.get("edges_target"),
        true=None if true is None else true.astype(bool),
        top=of_kept("top_graphs", bool),
        top_learned=of_kept("top_learned"),
        top_exact=of_kept("top_target"),
        top_log_reward=of_kept("top_log_reward"),
        replicas=tuple(kept.tolist()),
        n_replicas=len(arrays["edges_learned"]),
        n_drawn=int(arrays["n_drawn"]) if "n_drawn" in arrays else None,
        weights=() if effective is None else tuple(map(Weights, effective.tolist(), k.tolist())),
        digest=digest,
    )


def edge_table(graphs: Graphs) -> pd.DataFrame:
    """One row per ordered pair of columns, the most probable first, equal ones in the order of the columns.

    source, target; learned: mean over replicas, with learned_low and learned_high (smallest and largest replica, of samples with
    their 95% intervals) if there are more or samples, and of samples learned_se; exact; true (0 or 1): as far as they are known.
    """
    import pandas as pd

    low, high = graphs.bounds or (None, None)
    columns = {
        "learned": graphs.mean,
        "learned_low": low,
        "learned_high": high,
        "learned_se": graphs.standard_error,
        "exact": graphs.exact,
        "true": None if graphs.true is None else graphs.true.astype(int),
    }
    pairs = (~np.eye(len(graphs.names), dtype=bool)).nonzero()
    ends = dict(zip(("source", "target"), np.array(graphs.names, dtype=object)[np.stack(pairs)], strict=True))
    table = pd.DataFrame(ends | {name: values[pairs] for name, values in columns.items() if values is not None})
    return table.sort_values("learned", ascending=False, kind="stable", ignore_index=True)
