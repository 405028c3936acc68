"""Objects that were drawn from a trained sampler, with what is known of each: for a program, as a table, in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfn_vi.core import user_files
from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.reliability import Weights, doubt, names_of
from gfn_vi.runs.files import ARRAYS, CONFIG, METRICS

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

SUFFIXES = (".csv", ".npz", ".parquet")


@dataclass(frozen=True, eq=False)
class Samples:
    """N objects of a target, in the order in which they were drawn, those of one replica after those of another.

    states [N, *state], as the target's methods take them; replica [N] long, who drew each; length [N] long, steps of its
    trajectory. In float64, with natural logarithms, each [N]:
    log_reward: log R(x); log_pf: log P_F of the trajectory that was drawn; log_pb: log P_B of that trajectory given x;
    log_pt: log P_T(x), the exact probability of the object (of a density, its log-density), None where nobody can sum over all
    trajectories that lead to it.
    """

    target: Any
    states: Tensor
    replica: Tensor
    length: Tensor
    log_reward: Tensor
    log_pf: Tensor
    log_pb: Tensor
    log_pt: Tensor | None

    def __len__(self) -> int:
        return len(self.states)

    @property
    def log_weight(self) -> Tensor:
        """Return log w = log R + log P_B - log P_F, [N]: w is worth Z in the mean over trajectories of P_F."""
        return self.log_reward + self.log_pb - self.log_pf

    @cached_property
    def weight(self) -> Tensor:
        """Return the weights of each replica's objects, which sum to 1, for means under the target: [N]."""
        weight = self.log_weight.clone()
        for of_replica in self._places():
            weight[of_replica] = self.log_weight[of_replica].softmax(0)
        return weight

    @cached_property
    def log_Z(self) -> Tensor:
        """Return the estimate log of the mean of w by each replica's objects, replicas in their order: [replicas drawn from]."""
        import math

        import torch

        found = [self.log_weight[place].logsumexp(0) - math.log(len(place)) for place in self._places()]
        return torch.stack(found)

    @cached_property
    def reliability(self) -> list[Weights]:
        """Return what the weights of each replica's objects are worth: effective number of samples and Pareto k."""
        from gfn_vi.evaluation.sampled.weights import worth

        effective, k = names_of("sampled")
        found = (worth("sampled", self.log_weight[place][None]) for place in self._places())
        return [Weights(float(one[effective]), float(one[k])) for one in found]

    @property
    def whose(self) -> str:
        """Return in words which replicas drew the objects: "replica 0", or "replicas 0, 2"."""
        return replicas_in_words([int(self.replica[place[0]]) for place in self._places()])

    @property
    def about_weights(self) -> str:
        """Return in one line what the weights are worth, and what to do where they carry no mean."""
        weak = doubt(self.reliability)
        if weak is not None:
            return f"weights {weak}: means under the target by them may be far off; draw more (n=...), or train longer"
        least = min(self.reliability, key=lambda weights: weights.n_effective)
        told = f"weights worth {least.n_effective:.0f} samples of {len(self) // len(self.reliability)}"
        return f"{told}, Pareto k {least.pareto_k:.2g}" if least.pareto_k > -float("inf") else told

    def table(self, weights: bool = False) -> pd.DataFrame:
        """Return a row for each object: what it is, as people write it, and log_reward, log_pf, log_pb, log_pt where it is exact.

        weights: add log_weight and weight.
        """
        import pandas as pd

        from gfn_vi.interface.objects import columns_of

        numbers = {name: values.cpu().numpy() for name, values in self._numbers(weights).items()}
        return pd.DataFrame(columns_of(self.target, self.states) | numbers)

    def save(self, path: str | os.PathLike[str], weights: bool = False) -> Path:
        """Write a .csv, .npz or .parquet file and return its path; equal samples make equal files.

        weights: with log_weight and weight. Raises ConfigError for another suffix, OSError where nothing can be written.
        """
        place = file_to_write(path)
        writers: dict[str, Callable[[Path], object]] = {
            ".csv": lambda temporary: self.table(weights).to_csv(temporary, index=False, lineterminator="\n"),
            ".npz": partial(self._write_arrays, weights),
            ".parquet": lambda temporary: self.table(weights).to_parquet(temporary, index=False),
        }
        from gfn_vi.analysis.reading.table import replace_file

        replace_file(place, writers[place.suffix])
        return place

    def __repr__(self) -> str:
        exact = "exact log P_T" if self.log_pt is not None else "no exact log P_T"
        few = f"{len(self)} objects of {type(self.target).__name__}, {self.whose}, {exact}"
        return f"<gfn_vi samples: {few}; .table() shows them, .save('samples.csv') writes them>"

    def _numbers(self, weights: bool) -> dict[str, Tensor]:
        found = {"replica": self.replica, "length": self.length}
        found |= {"log_reward": self.log_reward, "log_pf": self.log_pf, "log_pb": self.log_pb}
        found |= {} if self.log_pt is None else {"log_pt": self.log_pt}
        return found | ({"log_weight": self.log_weight, "weight": self.weight} if weights else {})

    def _write_arrays(self, weights: bool, path: Path) -> None:
        import numpy as np

        from gfn_vi.interface.objects import arrays_of

        numbers = {name: values.cpu().numpy() for name, values in self._numbers(weights).items()}
        content: dict[str, Any] = arrays_of(self.target, self.states) | numbers
        with open(path, "wb") as file:  # numpy would add a suffix to a name
            np.savez_compressed(file, **content)

    def _places(self) -> list[Tensor]:
        """Return the places of each replica's objects, in the order of the replicas."""
        return [(self.replica == one).nonzero()[:, 0] for one in self.replica.unique_consecutive()]


def replicas_in_words(replicas: Sequence[int]) -> str:
    """Return whose objects they are: "replica 0", "replicas 0, 2", or "replicas 0 to 4"; replicas: in ascending order."""
    if len(replicas) > 2 and replicas[-1] - replicas[0] == len(replicas) - 1:
        return f"replicas {replicas[0]} to {replicas[-1]}"
    return f"replica{'s' if len(replicas) > 1 else ''} {', '.join(map(str, replicas))}"


def file_to_write(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file for samples. Raises ConfigError in one line where none can be written there."""
    place = user_files.expanded(os.fspath(path), "out")
    require(place.suffix in SUFFIXES, "out", path, f"expected a name that ends in {', '.join(SUFFIXES)}")
    require(not place.is_dir(), "out", path, "this is a folder: expected the name of a file")
    of_a_run = place.name in (METRICS, ARRAYS) and (place.parent / CONFIG).exists()
    require(not of_a_run, "out", path, "this file is the run's own: choose another name")
    if not place.parent.is_dir():
        raise ConfigError("out", path, f"there is no folder {place.parent}: make it, or choose another one")
    return place
